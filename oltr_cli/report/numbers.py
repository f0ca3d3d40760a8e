"""The open-set metrics of a run by τ, in few enough points to be embedded in a page."""

from typing import Any

import numpy as np

from oltr_cli.base.text import shortest
from oltr_cli.protocol.confusions import Confusions
from oltr_cli.protocol.metrics import Floats, all_metrics, rank_curve, threshold_curve
from oltr_cli.protocol.per_class import PerClass
from oltr_cli.protocol.shots import GROUPS, ClassCounts, shot_groups
from oltr_cli.runs.scores import SavedScores

POINTS = 401  # evenly spaced τ; the named ones are added to them
NUMBERS = ("f_measure", "f_measure_2019", "overall", *GROUPS)  # open/…
REJECTED = ("known_rejected", "open_rejected")
DIGITS = 5


def class_numbers(shown: PerClass) -> dict[str, list[Any]]:
    """``{"test", "closed", "open", "rejected", "as", "share"}``, each with a value a class (K,).

    ``closed`` and ``open`` are accuracies before and after rejection at τ; ``as`` is the class that it is most often
    wrongly taken for, before rejection, and ``share`` the part of its test samples that are. None where there is no
    test sample, no mistake or no open sample.
    """
    return {
        "test": shown.test.tolist(),
        "closed": _listed(shown.closed),
        "open": _listed(shown.open),
        "rejected": _listed(shown.rejected),
        "as": [label if label >= 0 else None for label in shown.taken_for.tolist()],
        "share": _listed(shown.share),
    }


def confusion_numbers(shown: Confusions) -> list[list[float]]:
    """The fifty most frequent mistakes: true class, decision, images, share; label K is open and unknown."""
    places = shown.largest()
    columns = (shown.true[places], shown.decided[places], shown.count[places], np.round(shown.share[places], 4))
    return [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _listed(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else round(value, 4) for value in values.tolist()]


def threshold_numbers(
    known: SavedScores, open_: SavedScores, counts: ClassCounts, shots: str, named: dict[str, float]
) -> dict[str, list[float] | None]:
    """``{"tau", *NUMBERS, *REJECTED}``: each (P,), None if it cannot be computed.

    τ rises and includes every threshold of ``named``, so that the run's own metrics are included. τ are float32 in
    their shortest decimals: read back, they reject exactly the same samples.

    Args:
        known, open_: test samples, neither of them empty.
        named: finite thresholds by the rule that chose them.
    """
    curve = threshold_curve(known, open_, shot_groups(counts, shots), POINTS)
    grid = _shortest(curve.pop("tau"))
    values = {name: numbers for name in NUMBERS if (numbers := curve[name]) is not None}
    extra = _shortest(np.unique(np.array(list(named.values()), np.float64)))
    for tau in extra:
        metrics = all_metrics(known, open_, counts, float(tau), shots)
        values = {name: np.append(numbers, metrics[f"open/{name}"] or 0.0) for name, numbers in values.items()}
    # Of equal τ either may be used: both have the same metrics.
    tau, first = np.unique(np.append(grid, extra), return_index=True)
    ranks = rank_curve(known, open_)
    at = ranks.accepted_at(tau)
    table: dict[str, list[float] | None] = {"tau": tau.tolist(), **dict.fromkeys(NUMBERS)}
    table |= {name: _rounded(numbers[first]) for name, numbers in values.items()}
    for name, accepted in zip(REJECTED, (ranks.known, ranks.open), strict=True):
        table[name] = _rounded(1.0 - accepted[at] / accepted[-1])
    return table


def _shortest(values: Any) -> np.ndarray:
    return np.array([shortest(value) for value in values], np.float64)


def _rounded(values: np.ndarray) -> list[float]:
    return np.round(values.astype(np.float64), DIGITS).tolist()
