"""Results by class: accuracy without and with rejection, and the class it is most often mistaken for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oltr_cli.protocol.metrics import Floats, per_class_accuracy
from oltr_cli.runs.scores import SavedScores


def class_numbers(known: SavedScores, num_classes: int, tau: float | None) -> dict[str, list[Any]]:
    """``{"test", "closed", "open", "as", "share"}``, each with one value per class (K,).

    ``closed`` and ``open`` are accuracies before and after rejection at τ; ``as`` is the most frequent wrong class
    before rejection, and ``share`` the fraction of the test samples so classified. None without test samples or
    without mistakes.
    """
    tested = np.bincount(known.labels, minlength=num_classes)
    taken_for, share = most_confused(known, num_classes)
    return {
        "test": tested.tolist(),
        "closed": _listed(per_class_accuracy(known, num_classes)),
        "open": _listed(per_class_accuracy(known, num_classes, tau)) if tau is not None else [None] * num_classes,
        "as": [label if label >= 0 else None for label in taken_for.tolist()],
        "share": _listed(share),
    }


def most_confused(known: SavedScores, num_classes: int) -> tuple[NDArray[np.int64], Floats]:
    """The most frequent wrong prediction for each class (K,), −1 for none, and its share of the samples (K,).

    Of several equally frequent ones it is the lowest label. No (K, K) matrix: there may be thousands of classes.
    """
    wrong = known.prediction != known.labels
    pairs, counts = np.unique(known.labels[wrong] * num_classes + known.prediction[wrong], return_counts=True)
    label, taken_for = pairs // num_classes, pairs % num_classes
    order = np.lexsort((taken_for, -counts, label))
    _, first = np.unique(label[order], return_index=True)
    best = order[first]
    result = np.full(num_classes, -1, np.int64)
    share = np.full(num_classes, np.nan)
    result[label[best]] = taken_for[best]
    share[label[best]] = counts[best] / np.bincount(known.labels, minlength=num_classes)[label[best]]
    return result, share


def _listed(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else round(value, 4) for value in values.tolist()]
