"""τ from confidences: the F-measure's optimum, and quantiles, for all classes or for each."""

import math

import numpy as np
from numpy.typing import NDArray

from oltr_cli.protocol.metrics import Threshold, accepted, f_measure, rank_curve
from oltr_cli.protocol.shots import ClassCounts, shot_groups
from oltr_cli.runs.choices import Pooled
from oltr_cli.runs.scores import SavedScores


class FMeasureCurve:
    """open/f_measure of N_k known and N_o open samples at any τ: one sort to build, O(log N) per query."""

    def __init__(self, known: SavedScores, open_: SavedScores) -> None:
        self._curve = rank_curve(known, open_)
        right = self._curve.right
        self._values = f_measure(right, len(known) - right, self._curve.open)

    def at(self, tau: float) -> float:
        """The F-measure if confidences below ``tau`` are rejected."""
        return float(self._values[self._curve.accepted_at(tau)])

    def best(self) -> tuple[float, float]:
        """(τ, F) of the exact optimum over all thresholds, the lowest such τ if several are equal.

        Only observed confidences need to be tried. If rejecting nothing is best, τ is 0 (or the lowest confidence, if
        that is negative), so that future samples are not rejected either.
        """
        confidence = self._curve.confidence
        if not len(confidence):
            return 0.0, 0.0
        values = self._values[1:]
        position = int(np.flatnonzero(values == values.max())[-1])
        tau = float(confidence[position])
        return (min(0.0, tau) if position == len(confidence) - 1 else tau), float(values[position])


def f_measure_at(known: SavedScores, open_: SavedScores, tau: Threshold) -> float:
    """open/f_measure at τ, which may be one for each predicted class (K,)."""
    right = int(((known.prediction == known.labels) & accepted(known, tau)).sum())
    return float(f_measure(right, len(known) - right, int(accepted(open_, tau).sum())))


def best_f_measure(known: SavedScores, open_: SavedScores) -> tuple[float, float]:
    """(τ, F): the threshold that maximises open/f_measure, and its value there; see ``FMeasureCurve.best``."""
    return FMeasureCurve(known, open_).best()


def quantile_threshold(known: SavedScores, share: float) -> float:
    """The largest τ that accepts at least ``share`` (0 < share ≤ 1) of N ≥ 1 samples: an observed confidence."""
    total = len(known)
    kept = min(max(math.ceil(share * total), 1), total)
    # share · total can round to just above a whole number; the share itself decides.
    if kept > 1 and (kept - 1) / total >= share:
        kept -= 1
    return float(np.partition(known.confidence, total - kept)[total - kept])


def quantile_thresholds(
    known: SavedScores, share: float, class_counts: ClassCounts, shots: str, each_class: bool
) -> tuple[NDArray[np.float64], Pooled | None]:
    """The τ of each predicted class (K,) that accepts at least ``share`` of N ≥ 1 samples that were predicted as it.

    Args:
        class_counts, shots: they define the shot groups.
        each_class: whether each class has its own τ, or that of its group.

    Returns:
        τ (K,), and the classes that have too few samples for one of their own; None if there are none.
    """
    masks = {name: mask for name, mask in shot_groups(class_counts, shots).items() if mask.any()}
    group_of_class = np.select(list(masks.values()), range(len(masks)))
    groups = _cell_quantiles(known.confidence, group_of_class[known.prediction], len(masks), share)
    tau = np.where(np.isnan(groups), quantile_threshold(known, share), groups)[group_of_class]
    pooled = Pooled(groups=[name for name, one in zip(masks, groups, strict=True) if np.isnan(one)])
    if each_class:
        own = _cell_quantiles(known.confidence, known.prediction, len(tau), share)
        tau = np.where(np.isnan(own), tau, own)
        # A class of a group that has no τ is said with its group.
        pooled = Pooled(groups=pooled.groups, classes=int((np.isnan(own) & ~np.isnan(groups)[group_of_class]).sum()))
    return tau, pooled if pooled.groups or pooled.classes else None


def _cell_quantiles(
    confidence: NDArray[np.floating], cell: NDArray[np.integer], cells: int, share: float
) -> NDArray[np.float64]:
    """``quantile_threshold`` of the samples of each cell (cells,), NaN for one with too few."""
    least = 1 if share == 1 else math.ceil(round(1 / (1 - share), 6))
    samples = np.bincount(cell, minlength=cells)
    kept = np.maximum(np.ceil(share * samples).astype(np.int64), 1)
    kept -= (kept > 1) & ((kept - 1) / np.maximum(samples, 1) >= share)
    end = np.cumsum(samples)
    found = np.full(cells, np.nan)
    enough = samples >= least
    found[enough] = confidence[np.lexsort((confidence, cell))][(end - kept)[enough]]
    return found
