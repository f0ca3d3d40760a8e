"""Labels that are perhaps wrong: confident learning (Northcutt, Jiang & Chuang 2021) by the library cleanlab.

The probabilities are the softmax of the saved logits. A class's threshold is the mean probability that its own samples
give it. The number of samples that are probably of another class than their label is the number of predictions other
than the label that reach the threshold of the predicted class; so many of those with the lowest probability of their
label ("self-confidence") are named (cleanlab's ``filter_by="low_self_confidence"``, computed by its ``LabelInspector``
in blocks, without a table of K × K). A sample whose label has the largest probability is never named.

Probabilities must be of samples that the network was not trained on: val and test are taken together. Those of the
training set are counted apart, since a network has learnt its labels, wrong ones too; there only what it refused to
learn is found.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.runs.scores import SavedScores

SPLITS = ("val", "test", "train")
TOGETHER = (("val", "test"), ("train",))
METHOD = "confident learning (cleanlab, low_self_confidence)"
INSTALL = "pip install 'oltr[cleanlab]'"
_BLOCK = 2**22  # probabilities in float64 at a time


@dataclass(frozen=True)
class Suspect:
    """A sample whose label is perhaps wrong.

    Attributes:
        split, row: where its scores are; ``path``: its name in the lists, "" if the scores have none.
        label, suggested: its label, and the class that the network gives it.
        quality: probability of its label; the lower, the more likely the label is wrong.
    """

    split: str
    row: int
    path: str
    label: int
    suggested: int
    quality: float


def check_cleanlab() -> None:
    """Say how to install the library if it is missing.

    Raises:
        UsageProblem: it is.
    """
    if importlib.util.find_spec("cleanlab") is None:
        raise UsageProblem(f"labels that are perhaps wrong are found with cleanlab: {INSTALL}")


def perhaps_mislabelled(splits: Mapping[str, SavedScores], num_classes: int, most: int | None = None) -> list[Suspect]:
    """Samples of known classes whose labels are perhaps wrong, the most likely first.

    Args:
        splits: scores by split; those without logits are passed over.
        most: at most so many; None for all.

    Raises:
        UsageProblem: cleanlab is not installed.
        DataProblem: no split has logits, or some contain NaN or infinity.
    """
    check_cleanlab()
    usable = {name: splits[name] for name in SPLITS if name in splits and splits[name].logits is not None}
    if not usable:
        raise DataProblem("labels that are perhaps wrong are found by logits, and the scores have none")
    for name, scores in usable.items():
        logits, labels = scores.logits, scores.labels
        if logits is not None and logits.shape[1] != num_classes:
            raise DataProblem(f"scores of {name}: logits of {logits.shape[1]} classes, not of {num_classes}")
        if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
            raise DataProblem(f"scores of {name}: a label is out of range, 0 … {num_classes - 1}")
    suspects: list[Suspect] = []
    for names in TOGETHER:
        parts = {name: usable[name] for name in names if name in usable and len(usable[name])}
        if parts and num_classes > 1:
            suspects += _suspects(parts, num_classes)
    suspects.sort(key=lambda one: one.quality)  # stable: equal ones stay in the order of splits and rows
    return suspects[:most]


def _suspects(parts: Mapping[str, SavedScores], num_classes: int) -> list[Suspect]:
    from cleanlab.experimental.label_issues_batched import LabelInspector

    inspector = LabelInspector(num_class=num_classes, verbose=False, n_jobs=1)
    for labels, probabilities in _blocks(parts):
        inspector.update_confident_thresholds(labels, probabilities)
    suggested, agreed = [], []
    for labels, probabilities in _blocks(parts):
        inspector.score_label_quality(labels, probabilities)
        best = probabilities.argmax(axis=1)
        suggested.append(best)
        agreed.append(probabilities[np.arange(len(labels)), labels] == probabilities[np.arange(len(labels)), best])
    best, agrees = np.concatenate(suggested), np.concatenate(agreed)
    quality = inspector.get_quality_scores()
    # Sorted here, in a stable way; cleanlab's own order of equal qualities is arbitrary.
    rows = np.argsort(quality, kind="stable")[: int(inspector.get_num_issues(silent=True))]
    rows = np.sort(rows[~agrees[rows]])
    starts = np.cumsum([0, *map(len, parts.values())])
    names = list(parts)
    found = []
    for row, which in zip(rows.tolist(), (np.searchsorted(starts, rows, side="right") - 1).tolist(), strict=True):
        scores, own = parts[names[which]], row - int(starts[which])
        path = "" if scores.paths is None else str(scores.paths[own])
        found.append(Suspect(names[which], own, path, int(scores.labels[own]), int(best[row]), float(quality[row])))
    return found


def _blocks(parts: Mapping[str, SavedScores]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Labels (n,) and probabilities (n, K) of the splits, in order, block by block."""
    for name, scores in parts.items():
        assert scores.logits is not None
        size = max(1, _BLOCK // scores.logits.shape[1])
        for start in range(0, len(scores), size):
            block = scores.logits[start : start + size].astype(np.float64)
            if not np.isfinite(block).all():
                raise DataProblem(f"scores of {name}: logits contain NaN or infinity")
            block -= block.max(axis=1, keepdims=True)
            np.exp(block, out=block)
            block /= block.sum(axis=1, keepdims=True)
            yield scores.labels[start : start + size], block
