"""All metrics of open long-tailed recognition, from saved scores: one sort, a few counts, no loop over samples.

Names, units and the like are in ``oltr_cli.protocol.catalogue``. The protocol is that of Liu et al., CVPR 2019,
section 4, with the definitions of its authors' code. y = −1 is an open sample, and ŷ = −1 a rejected one: a sample is
rejected if confidence < τ, so one with confidence exactly τ is accepted. Confidences are ranked in the precision they
have, float32 for all that oltr saves, and τ is rounded to it: a threshold picked from observed confidences accepts the
sample it was picked from, and a τ typed as 0.7 equals a confidence saved from 0.7.

Accuracies are fractions (0 … 1). What cannot be computed is None, never NaN: a shot group without test samples, and
all open-set metrics if there are no open samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oltr_cli.protocol.catalogue import BY_GROUP, METRICS
from oltr_cli.protocol.shots import GROUPS, ClassCounts, shot_groups
from oltr_cli.runs.scores import SavedScores

Floats = NDArray[np.float64]
Threshold = float | Floats  # τ, or one for each predicted class (K,)
Counts = NDArray[np.int64]


def all_metrics(
    known: SavedScores,
    open_: SavedScores | None,
    class_counts: ClassCounts,
    threshold: Threshold,
    shots: str = "paper",
) -> dict[str, float | None]:
    """The metrics of ``oltr_cli.protocol.catalogue`` by name, but those of ``oltr_cli.protocol.by_group``.

    Args:
        known: scores of the N_k test samples of known classes, labels in 0 … K−1.
        open_: scores of the N_o open test samples (their labels are not read); None or empty when there are none.
        class_counts: training images of each class (K,), which define the shot groups.
        threshold: τ, or one for each predicted class (K,); confidence < τ is rejected. Only
            the open-set metrics depend on it.
        shots: the definition of the shot groups, see ``oltr_cli.protocol.shots``.
    """
    groups = shot_groups(class_counts, shots)
    results: dict[str, float | None] = {name: None for name in METRICS if name not in BY_GROUP}
    results |= _accuracies("closed", known, groups, None)
    if open_ is None or not len(open_) or not len(known):
        return results
    results |= _accuracies("open", known, groups, threshold)
    right = int(_right(known, threshold).sum())
    accepted_known = int(accepted(known, threshold).sum())
    accepted_open = int(accepted(open_, threshold).sum())
    results["open/f_measure"] = float(f_measure(right, len(known) - right, accepted_open))
    results["open/f_measure_2019"] = float(f_measure(right, accepted_known - right, accepted_open))
    results |= ranking_metrics(rank_curve(known, open_))
    return results | _classes_with_open(known, open_, len(class_counts), threshold)


def accepted(scores: SavedScores, threshold: Threshold | None) -> NDArray[np.bool_]:
    """Samples (N,) that are not rejected at τ, that of their predicted class if each has one; all if τ is None."""
    if threshold is None:
        return np.ones(len(scores), np.bool_)
    tau = np.asarray(threshold, scores.confidence.dtype)
    return ~(scores.confidence < (tau[scores.prediction] if tau.ndim else tau))


def per_class_accuracy(scores: SavedScores, num_classes: int, threshold: Threshold | None = None) -> Floats:
    """Accuracy of each known class (K,), with rejected samples as wrong; NaN for a class without samples."""
    samples = np.bincount(scores.labels, minlength=num_classes)
    right = np.bincount(scores.labels[_right(scores, threshold)], minlength=num_classes)
    return np.divide(right, samples, out=np.full(num_classes, np.nan), where=samples > 0)


def f_measure(true_positive: ArrayLike, false_positive: ArrayLike, false_negative: ArrayLike) -> Floats:
    """2PR/(P+R) = 2TP/(2TP+FP+FN) elementwise; 0 where TP = 0 (Bendale & Boult 2016, section 4).

    TP = #{y ≠ −1, ŷ = y} and FN = #{y = −1, ŷ ≠ −1}. FP = #{y ≠ −1, ŷ ≠ y}, rejections included, gives the F-measure of
    OpenMax and of the authors' code since 2020; without the rejections it is the lenient ``f_measure_2019``.
    """
    twice = 2 * np.asarray(true_positive, np.int64)
    return twice / np.maximum(twice + np.asarray(false_positive) + np.asarray(false_negative), 1)


@dataclass(frozen=True)
class RankCurve:
    """What is accepted as τ falls through the P distinct confidences: one sort for all threshold-free metrics.

    ``confidence`` (P,) falls; the counts (P + 1,) rise from 0 (everything rejected) to all samples; entry i + 1 is
    what τ = ``confidence[i]`` accepts, so samples of equal confidence are always accepted together.
    """

    confidence: NDArray[np.floating]
    known: Counts  # known samples accepted
    right: Counts  # known samples accepted and classified right
    open: Counts  # open samples accepted

    def accepted_at(self, tau: ArrayLike) -> NDArray[np.int64]:
        """Positions of given thresholds in the counts, of the shape of ``tau``."""
        rising = self.confidence[::-1]
        return len(rising) - np.searchsorted(rising, np.asarray(tau, rising.dtype), side="left")


def rank_curve(known: SavedScores, open_: SavedScores) -> RankCurve:
    """The curve of N_k known and N_o open samples, by one sort."""
    confidence = np.concatenate([known.confidence, open_.confidence])
    order = np.argsort(-confidence)
    confidence = confidence[order]
    last_of_tie = np.ones(len(confidence), np.bool_)
    last_of_tie[:-1] = confidence[1:] != confidence[:-1]
    is_open = np.arange(len(confidence)) >= len(known)
    is_right = np.concatenate([_right(known, None), np.zeros(len(open_), np.bool_)])

    def counted(mask: NDArray[np.bool_]) -> Counts:
        return np.concatenate([[0], np.cumsum(mask[order])[last_of_tie]]).astype(np.int64)

    return RankCurve(confidence[last_of_tie], counted(~is_open), counted(is_right), counted(is_open))


def threshold_curve(
    known: SavedScores, open_: SavedScores | None, groups: Mapping[str, NDArray[np.bool_]], points: int = 201
) -> dict[str, Floats | None]:
    """The open-set metrics by τ: "tau", "f_measure", "f_measure_2019", "overall" and each group, all (points,).

    τ runs evenly from 0 (or the lowest confidence, if that is negative) to the highest confidence. "overall" and the
    groups are accuracies of the known samples under rejection, as in ``all_metrics`` at the same τ. The F-measures are
    None if there are no open samples, and so is a group without test samples.
    """
    nothing = SavedScores(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64))
    curve = rank_curve(known, nothing if open_ is None else open_)
    if not len(curve.confidence):
        return {
            "tau": np.linspace(0.0, 1.0, points),
            **dict.fromkeys(("f_measure", "f_measure_2019", "overall", *groups)),
        }
    lowest, highest = min(0.0, float(curve.confidence[-1])), float(curve.confidence[0])
    tau = np.linspace(lowest, highest, points)
    at = curve.accepted_at(tau)
    right, has_open = curve.right[at], curve.open[-1] > 0
    result: dict[str, Floats | None] = {
        "tau": tau,
        "f_measure": f_measure(right, len(known) - right, curve.open[at]) if has_open else None,
        "f_measure_2019": f_measure(right, curve.known[at] - right, curve.open[at]) if has_open else None,
        "overall": right / len(known) if len(known) else None,
    }
    # A group's accuracy is a sum over its right, accepted samples, each weighing 1 / (samples of its class · classes).
    kept = np.flatnonzero(_right(known, None))
    kept = kept[np.argsort(known.confidence[kept])]
    first_accepted = np.searchsorted(known.confidence[kept], tau.astype(known.confidence.dtype), side="left")
    for name, mask in groups.items():
        samples = np.bincount(known.labels, minlength=len(mask))
        classes = np.count_nonzero(mask & (samples > 0))
        weight = np.where(mask, 1.0 / np.maximum(samples * classes, 1), 0.0)[known.labels[kept]]
        from_here_on = np.concatenate([np.cumsum(weight[::-1])[::-1], [0.0]])
        result[name] = from_here_on[first_accepted] if classes else None
    return result


def group_confusion(
    known: SavedScores,
    open_: SavedScores | None,
    class_counts: ClassCounts,
    threshold: Threshold,
    shots: str = "paper",
) -> Floats:
    """Fractions (4, 4) of the samples of a true group (row) with a prediction in a group (column).

    Both are in the order many, medium, few, open; a rejected sample counts as open. Rows sum to 1, and a group without
    samples is a row of zeros.
    """
    groups = shot_groups(class_counts, shots)
    group_of_class = np.select([groups[name] for name in GROUPS], range(3))
    counts = np.zeros(16, np.int64)
    for scores, true_group in ((known, group_of_class), (open_, None)):
        if scores is not None:
            landed = np.where(accepted(scores, threshold), group_of_class[scores.prediction], 3)
            row = np.full(len(scores), 3) if true_group is None else true_group[scores.labels]
            counts += np.bincount(4 * row + landed, minlength=16)
    table = counts.reshape(4, 4)
    return table / np.maximum(table.sum(axis=1, keepdims=True), 1)


def _right(scores: SavedScores, threshold: Threshold | None) -> NDArray[np.bool_]:
    return (scores.prediction == scores.labels) & accepted(scores, threshold)


def _accuracies(
    half: str, known: SavedScores, groups: Mapping[str, NDArray[np.bool_]], threshold: Threshold | None
) -> dict[str, float | None]:
    """Accuracy over samples, and the mean over each group's classes of the accuracies of those with test samples."""
    by_class = per_class_accuracy(known, len(groups["many"]), threshold)
    has_samples = ~np.isnan(by_class)
    results: dict[str, float | None] = {f"{half}/overall": _mean(_right(known, threshold))}
    return results | {f"{half}/{name}": _mean(by_class[groups[name] & has_samples]) for name in GROUPS}


def _mean(values: NDArray) -> float | None:
    return float(values.mean()) if len(values) else None


def ranking_metrics(curve: RankCurve) -> dict[str, float | None]:
    """The metrics that need no threshold; known is the positive class unless stated otherwise."""
    known, open_ = curve.known, curve.open
    true_positive_rate, false_positive_rate = known / known[-1], open_ / open_[-1]
    error = 0.5 * (1.0 - true_positive_rate) + 0.5 * false_positive_rate
    # The first operating point that accepts 95 % of the known samples; in integers, as 0.95 is not a binary fraction.
    at_95 = int(np.argmax(20 * known >= 19 * known[-1]))
    return {
        "open/auroc": _area(open_, known) / float(known[-1] * open_[-1]),
        "open/aupr_in": _average_precision(known, open_),
        # Open is positive here, and the score is −confidence: the same counts from the other end.
        "open/aupr_out": _average_precision((open_[-1] - open_)[::-1], (known[-1] - known)[::-1]),
        "open/fpr95": float(false_positive_rate[at_95]),
        "open/detection_error_tpr95": float(error[at_95]),
        "open/detection_error_min": float(error.min()),
        # Dhamija et al. 2018: the correct classification rate against the false positive rate, from (0, 0) on.
        "open/oscr": _area(open_, curve.right) / float(known[-1] * open_[-1]),
    }


def _area(x: Counts, y: Counts) -> float:
    """Trapezoids under y(x), in integers until the end: exact for any number of samples."""
    return float((np.diff(x) * (y[1:] + y[:-1])).sum()) / 2.0


def _average_precision(positive: Counts, negative: Counts) -> float:
    """Σ (R_i − R_{i−1}) P_i over cumulative counts (P + 1,) that start at 0, as scikit-learn defines it."""
    precision = positive[1:] / (positive[1:] + negative[1:])
    return float((np.diff(positive) * precision).sum() / positive[-1])


def _classes_with_open(
    known: SavedScores, open_: SavedScores, num_classes: int, threshold: Threshold
) -> dict[str, float | None]:
    """Macro F1 and balanced accuracy over the K + 1 classes, open being class K.

    As in scikit-learn, classes that occur neither as label nor as prediction have no F1, and those that do not occur as
    label no recall.
    """
    labels = np.concatenate([known.labels, np.full(len(open_), num_classes)])
    decided = [np.where(accepted(scores, threshold), scores.prediction, num_classes) for scores in (known, open_)]
    predicted = np.concatenate(decided)
    right = np.bincount(labels[labels == predicted], minlength=num_classes + 1)
    actual = np.bincount(labels, minlength=num_classes + 1)
    sum_of_both = actual + np.bincount(predicted, minlength=num_classes + 1)
    return {
        "open/macro_f1": _mean((2 * right)[sum_of_both > 0] / sum_of_both[sum_of_both > 0]),
        "open/balanced_accuracy": _mean(right[actual > 0] / actual[actual > 0]),
    }
