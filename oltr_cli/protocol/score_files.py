"""Scores from anywhere: files and arrays in which known and open samples are mixed, checked against the classes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.text import counted
from oltr_cli.errors import DataProblem
from oltr_cli.runs.scores import SavedScores, read_npz


def known_and_open(scores: SavedScores) -> tuple[SavedScores, SavedScores]:
    """The samples of known classes and the open ones (label −1), each in their order."""
    is_open = scores.labels == -1
    if not is_open.any():
        return scores, scores.take(slice(0, 0))  # without a copy of all logits
    known, open_ = (scores.take(np.flatnonzero(mask)) for mask in (~is_open, is_open))
    return known, open_


def read_scores(path: Path, num_classes: int) -> SavedScores:
    """The samples of a file of scores, known and open ones (label −1), checked against the number of classes.

    Args:
        path: .npz with ``labels`` (N,), −1 = open, and either ``logits`` (N, K), whose maximum softmax is the
            confidence, or ``prediction`` (N,) and ``confidence`` (N,).

    Raises:
        DataProblem: the file is missing or broken, arrays are missing, contain NaN or do not fit the classes.
    """
    return scores_of_arrays(read_npz(path), num_classes, path)


def scores_of_arrays(arrays: dict[str, np.ndarray], num_classes: int, where: Path) -> SavedScores:
    """``read_scores`` of arrays as in such a file; ``where`` names them in errors."""
    logits = arrays.get("logits")
    if logits is not None and logits.ndim == 2:
        if logits.shape[1] != num_classes:
            raise DataProblem(
                f"{where}: logits have {counted(logits.shape[1], 'class')}, "
                f"but {counted(num_classes, 'class count')} were given"
            )
        if "confidence" not in arrays and np.issubdtype(logits.dtype, np.floating):
            _refuse(~np.isfinite(logits).all(axis=1), where, "logits contain NaN or infinity")
    scores = SavedScores.from_arrays(arrays, where)
    check_scores(scores, num_classes, str(where), None)
    return scores


def check_scores(scores: SavedScores, num_classes: int, where: str, allowed: int | None) -> None:
    """Reject labels and predictions out of range; ``allowed``: −1 = open samples, 0 = known, None = both."""
    classes = f"there are {counted(num_classes, 'known class')}, 0 … {num_classes - 1}"
    if allowed == -1:
        _refuse(scores.labels != -1, where, "open samples are labelled −1, but this label is not", scores.labels)
    else:
        lowest = -1 if allowed is None else 0
        wrong = (scores.labels < lowest) | (scores.labels >= num_classes)
        _refuse(wrong, where, f"a label is out of range: {classes}", scores.labels)
    wrong = (scores.prediction < 0) | (scores.prediction >= num_classes)
    _refuse(
        wrong,
        where,
        f"a prediction is out of range (predictions are made before rejection): {classes}",
        scores.prediction,
    )
    _refuse(~np.isfinite(scores.confidence), where, "a confidence is not finite", scores.confidence)
    if scores.logits is not None and scores.logits.size:
        # Calibration reads them, whatever the confidence is; −∞ alone is a probability of 0.
        _refuse(~np.isfinite(scores.logits.max(axis=1)), where, "logits contain NaN or infinity")


def _refuse(wrong: NDArray[np.bool_], where: str | Path, problem: str, values: NDArray | None = None) -> None:
    if wrong.any():
        first = int(wrong.argmax())
        value = "" if values is None else f" ({values[first]})"
        raise DataProblem(f"{where}: {problem}; sample {first}{value} is the first of {int(wrong.sum())}")
