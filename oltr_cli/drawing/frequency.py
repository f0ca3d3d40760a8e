"""Test accuracy of classes against their numbers of training images."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oltr_cli.drawing.style import (
    BANDS,
    PERCENT,
    legend_below,
    one_plot,
    plain_log,
    tau_text,
)
from oltr_cli.protocol.metrics import Threshold, per_class_accuracy
from oltr_cli.protocol.shots import ClassCounts, shot_groups
from oltr_cli.runs.scores import SavedScores

BINS = 10  # about as many steps of log count, over each of which the mean accuracy of classes is drawn


def accuracy_by_frequency(
    test: SavedScores, class_counts: ClassCounts, title: str, shots: str = "paper", tau: Threshold | None = None
) -> Figure:
    """Test accuracy of each class against its training images: one dot per class, and the mean over about ten bins.

    A bin holds classes of one shot group; its mark is as wide as their counts. Marks are not joined: a line would show
    a course between groups that was not measured.

    Args:
        tau: if given, a second mark shows the mean when samples below τ are rejected.
    """
    counts = np.asarray(class_counts)
    accuracy = per_class_accuracy(test, len(counts))
    shown = np.isfinite(accuracy) & (counts > 0)  # a class without training images has no place on a log axis
    figure, axes = one_plot()
    axes.set_xscale("log")
    low, high = (counts[shown].min() / 1.2, counts[shown].max() * 1.2) if shown.any() else (1.0, 1000.0)
    axes.scatter(counts[shown], accuracy[shown], s=22, color="#888888", alpha=0.55, linewidths=0, label="class")
    bin_of = _bins(counts[shown], shots)
    _mark_bins(axes, counts[shown], accuracy[shown], bin_of, "#000000", "-", "o", "mean, closed set")
    if tau is not None:
        rejecting = per_class_accuracy(test, len(counts), tau)[shown]
        label = f"mean, rejecting below {tau_text(tau)}"
        _mark_bins(axes, counts[shown], rejecting, bin_of, "#D55E00", "--", "D", label)
    _shade_groups(axes, shots, low, high)
    axes.set(xlim=(low, high), ylim=(-0.03, 1.1), yticks=np.arange(6) / 5, title=title)
    axes.set_xlabel("training images of the class (log scale)")
    axes.set_ylabel("test accuracy [%]")
    plain_log(axes.xaxis)
    axes.yaxis.set_major_formatter(PERCENT)
    legend_below(figure, axes, 3)
    return figure


def _bins(counts: np.ndarray, shots: str) -> np.ndarray:
    """The bin of each class (K,): each shot group is cut into equal steps of log count, together about ``BINS``.

    Bins without a class have no number, so that the numbers run from 0 without gaps.
    """
    logs = np.log(counts)
    bin_of = np.zeros(len(counts), np.int64)
    for place, group in enumerate(shot_groups(counts, shots).values()):
        if group.any():
            low, high = logs[group].min(), logs[group].max()
            steps = max(1, round(BINS * (high - low) / max(np.ptp(logs), 1e-12)))
            step = ((logs[group] - low) / max(high - low, 1e-12) * steps).astype(np.int64)
            bin_of[group] = place * (BINS + 1) + np.minimum(step, steps - 1)
    return np.unique(bin_of, return_inverse=True)[1].reshape(-1)


def _mark_bins(
    axes: Axes,
    counts: np.ndarray,
    accuracy: np.ndarray,
    bin_of: np.ndarray,
    ink: str,
    dashes: str,
    marker: str,
    label: str,
) -> None:
    """The mean accuracy of each bin, marked at the geometric mean of its counts, as wide as they are."""
    if not len(counts):
        return
    classes = np.bincount(bin_of)
    at, mean = (np.bincount(bin_of, values) / classes for values in (np.log(counts), accuracy))
    low, high = np.full(len(classes), np.inf), np.zeros(len(classes))
    np.minimum.at(low, bin_of, counts)
    np.maximum.at(high, bin_of, counts)
    axes.hlines(mean, low, high, color=ink, ls=dashes, lw=2.0)
    axes.plot(np.exp(at), mean, color=ink, ls="", marker=marker, ms=9 if marker == "o" else 6, label=label)


def _shade_groups(axes: Axes, shots: str, low: float, high: float) -> None:
    """Shade and name the shot groups between two training counts; the bounds come from their definition."""
    groups = shot_groups(np.arange(1, 1001), shots)
    few, medium = int(groups["few"].sum()) + 0.5, int((groups["few"] | groups["medium"]).sum()) + 0.5
    for name, start, end in (("few", low, few), ("medium", few, medium), ("many", medium, high)):
        left, right = max(start, low), min(end, high)
        if left >= right:
            continue
        axes.axvspan(left, right, color=BANDS[name], zorder=-2, linewidth=0)
        if left > low:
            axes.axvline(left, color="#999999", lw=1.0, zorder=-1)
        if np.log(right / left) > 0.1 * np.log(high / low):  # room for the name
            axes.text(np.sqrt(left * right), 1.055, name, ha="center", va="center", color="#444444")
