"""What goes wrong as plain values, for ``--json``; null stands for what cannot be said."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from oltr_cli.base.text import shortest
from oltr_cli.protocol.confusions import Confusions
from oltr_cli.protocol.mislabelled import METHOD, Suspect
from oltr_cli.protocol.mistakes import Mistake
from oltr_cli.protocol.per_class import PerClass
from oltr_cli.protocol.shots import GROUPS


def classes_json(shown: PerClass, names: Sequence[str]) -> list[dict[str, Any]]:
    """One object a class, the worst first."""
    return [
        {
            "label": label,
            "class": names[label],
            "train_images": int(shown.train[label]),
            "group": GROUPS[shown.group[label]],
            "test_images": int(shown.test[label]),
            "accuracy": _number(shown.closed[label]),
            "accuracy_at_threshold": _number(shown.open[label]),
            "rejected": _number(shown.rejected[label]),
            "taken_for": names[shown.taken_for[label]] if shown.taken_for[label] >= 0 else None,
            "taken_for_share": _number(shown.share[label]),
            "open_taken_for_it": None if shown.open_as is None else int(shown.open_as[label]),
        }
        for label in shown.worst_first().tolist()
    ]


def confusions_json(shown: Confusions, names: Sequence[str]) -> list[dict[str, Any]]:
    """The fifty most frequent mistakes."""
    true_names, decided_names = [*names, "open"], [*names, "unknown"]
    return [
        {
            "true": true_names[shown.true[place]],
            "decided": decided_names[shown.decided[place]],
            "count": int(shown.count[place]),
            "share": float(shown.share[place]),
        }
        for place in shown.largest().tolist()
    ]


def mistakes_json(shown: Sequence[Mistake], names: Sequence[str]) -> list[dict[str, Any]]:
    """One object a sample, by kind, the most confident first."""
    return [
        {
            **asdict(one),
            "path": one.path or None,
            "class": names[one.label] if one.label >= 0 else None,
            "taken_for": names[one.prediction],
            "confidence": shortest(one.confidence),
        }
        for one in shown
    ]


def mislabelled_json(shown: Sequence[Suspect], names: Sequence[str]) -> dict[str, Any]:
    """The method's name and one object a sample, the likeliest first."""
    samples = [
        {**asdict(one), "path": one.path or None, "class": names[one.label], "suggested_class": names[one.suggested]}
        for one in shown
    ]
    return {"method": METHOD, "samples": samples}


def _number(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)
