"""Rare or unknown: how well each shot group is told from open samples, what τ throws away, and calibration.

A sample belongs to the group of its true class. Its AUROC and FPR95 are those of the group's samples alone against all
open samples, so 95 % are 95 % of the group; the rejected share is that of the group's samples with confidence < τ.

Calibration is that of the softmax of the logits, whatever the confidence is (a detector's need not be a probability):

- ECE with B = 15 bins of equal mass (Nguyen & O'Connor 2015; Nixon et al. 2019): samples in the order of their largest
  probability, cut into B parts that differ by at most one sample; Σ_b n_b/N · |accuracy_b − mean probability_b|. Equal
  probabilities are ordered by whether they are right, so that the value does not depend on the order of samples.
- Brier score (Brier 1950), over all K classes: the mean of Σ_k (p_k − [y = k])², between 0 and 2.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oltr_cli.protocol.catalogue import BY_GROUP, OF_A_SET
from oltr_cli.protocol.metrics import Threshold, accepted, all_metrics, rank_curve, ranking_metrics
from oltr_cli.protocol.shots import ClassCounts, shot_groups
from oltr_cli.runs.scores import SavedScores

BINS = 15
_BLOCK = 2**22  # logits in float64 at a time
Masks = Mapping[str, NDArray[np.bool_]]


def every_metric(
    known: SavedScores,
    open_: SavedScores | None,
    class_counts: ClassCounts,
    threshold: Threshold,
    shots: str = "paper",
    sets: Mapping[str, SavedScores] | None = None,
) -> dict[str, float | None]:
    """``all_metrics``, those of groups against open samples, and calibration; arguments as for ``all_metrics``.

    Args:
        sets: further open sets by split, as ``open_far``; each adds the metrics ``open_far/…``.
    """
    groups = shot_groups(class_counts, shots)
    return {
        **_uncalibrated(known, open_, class_counts, threshold, shots),
        **calibration_metrics(known, groups),
        **set_metrics(known, sets or {}, class_counts, threshold, shots),
    }


def set_metrics(
    known: SavedScores,
    sets: Mapping[str, SavedScores],
    class_counts: ClassCounts,
    threshold: Threshold,
    shots: str = "paper",
) -> dict[str, float | None]:
    """``open_far/auroc`` and so on: what ``open/auroc`` would be with that set alone as the open samples."""
    results: dict[str, float | None] = {}
    for split, scores in sets.items():
        found = _uncalibrated(known, scores, class_counts, threshold, shots)
        results |= {f"{split}/{name}": found[f"open/{name}"] for name in OF_A_SET}
    return results


def _uncalibrated(
    known: SavedScores, open_: SavedScores | None, class_counts: ClassCounts, threshold: Threshold, shots: str
) -> dict[str, float | None]:
    return {
        **dict.fromkeys(BY_GROUP),
        **all_metrics(known, open_, class_counts, threshold, shots),
        **group_metrics(known, open_, shot_groups(class_counts, shots), threshold),
    }


def group_metrics(
    known: SavedScores, open_: SavedScores | None, groups: Masks, threshold: Threshold
) -> dict[str, float]:
    """``open/auroc_few`` and the like, for groups that have samples; nothing without open samples.

    Args:
        known: test samples of known classes; ``open_``: open ones, or None.
        groups: masks (K,) over the classes.
    """
    if open_ is None or not len(open_) or not len(known):
        return {}
    kept = accepted(known, threshold)
    results = {"open/rejected": float(1 - kept.mean())}
    for name, mask in groups.items():
        members = np.flatnonzero(mask[known.labels])
        if not len(members):
            continue
        ranked = ranking_metrics(rank_curve(_plain(known, members), open_))
        for metric in ("open/auroc", "open/fpr95"):
            if (value := ranked[metric]) is not None:
                results[f"{metric}_{name}"] = value
        results[f"open/rejected_{name}"] = float(1 - kept[members].mean())
    return results


def _plain(scores: SavedScores, rows: NDArray[np.integer]) -> SavedScores:
    return SavedScores(scores.prediction[rows], scores.confidence[rows], scores.labels[rows])


@dataclass(frozen=True)
class Probabilities:
    """Of N samples of known classes: the largest probability (N,), whether it is the true class's, and Brier's sum."""

    largest: NDArray[np.float64]
    right: NDArray[np.bool_]
    brier: NDArray[np.float64]

    @classmethod
    def of(cls, known: SavedScores) -> "Probabilities | None":
        """From the logits; None without them."""
        if known.logits is None or not len(known):
            return None
        samples, classes = known.logits.shape
        largest, brier = np.empty(samples), np.empty(samples)
        step = max(1, _BLOCK // classes)
        for start in range(0, samples, step):
            rows = slice(start, start + step)
            p = np.exp(known.logits[rows].astype(np.float64) - known.logits[rows].max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            largest[rows] = p.max(axis=1)
            true = p[np.arange(len(p)), known.labels[rows]]
            brier[rows] = np.square(p).sum(axis=1) - 2 * true + 1
        return cls(largest, known.logits.argmax(axis=1) == known.labels, brier)

    def bins(self, rows: NDArray[np.integer] | slice = slice(None)) -> tuple[NDArray, NDArray, NDArray]:
        """Samples (B,), mean probability (B,) and accuracy (B,) of the bins of equal mass that have samples."""
        largest, right = self.largest[rows], self.right[rows]
        order = np.lexsort((right, largest))
        edges = np.linspace(0, len(order), BINS + 1).round().astype(np.int64)
        size = np.diff(edges)
        first = edges[:-1][size > 0]
        sums = [np.add.reduceat(values[order].astype(np.float64), first) for values in (largest, right)]
        size = size[size > 0]
        return size, sums[0] / size, sums[1] / size

    def ece(self, rows: NDArray[np.integer] | slice = slice(None)) -> float:
        """The expected calibration error of some of the samples, at least one."""
        size, confidence, accuracy = self.bins(rows)
        return float((size * np.abs(accuracy - confidence)).sum() / size.sum())


def calibration_metrics(known: SavedScores, groups: Masks) -> dict[str, float]:
    """``closed/ece`` and ``closed/brier``, of all samples and of each group (``closed/ece_few``), from the logits."""
    found = Probabilities.of(known)
    if found is None:
        return {}
    results = {"closed/ece": found.ece(), "closed/brier": float(found.brier.mean())}
    for name, mask in groups.items():
        members = np.flatnonzero(mask[known.labels])
        if len(members):
            results[f"closed/ece_{name}"] = found.ece(members)
            results[f"closed/brier_{name}"] = float(found.brier[members].mean())
    return results
