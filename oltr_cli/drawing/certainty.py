"""How sure a run is: whether its probabilities are right as often as they say, and who has which confidence."""

import numpy as np
from matplotlib.figure import Figure

from oltr_cli.drawing.style import PERCENT, STYLES, legend_below, mark, one_plot
from oltr_cli.protocol.by_group import Probabilities
from oltr_cli.protocol.shots import GROUPS, ClassCounts, shot_groups
from oltr_cli.runs.scores import SavedScores

CELLS = 40


def reliability(
    test: SavedScores, probabilities: Probabilities, class_counts: ClassCounts, title: str, shots: str
) -> Figure:
    """Accuracy against the mean largest probability in the bins of the ECE, of all samples and of each shot group.

    A bin below the diagonal is right less often than its probabilities say.

    Args:
        test: N ≥ 1 samples of known classes; ``probabilities``: of them.
    """
    groups = shot_groups(class_counts, shots)
    rows = {"overall": np.arange(len(test))} | {name: np.flatnonzero(groups[name][test.labels]) for name in GROUPS}
    figure, axes = one_plot()
    axes.plot([0, 1], [0, 1], color="#555555", lw=1.3, label="as often as it says")
    for name, members in rows.items():
        if len(members):
            _, confidence, accuracy = probabilities.bins(members)
            color, dashes, marker = STYLES[name]
            label = f"{name} (n = {len(members):,}), ECE {probabilities.ece(members):.3f}"
            axes.plot(confidence, accuracy, color=color, ls=dashes, marker=marker, label=label)
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.03), title=title)
    axes.set_xlabel("mean largest probability of a bin, by the softmax of the logits")
    axes.set_ylabel("right predictions [%]")
    axes.yaxis.set_major_formatter(PERCENT)
    legend_below(figure, axes, 2)
    return figure


def confidence_histograms(
    test: SavedScores,
    open_: SavedScores | None,
    class_counts: ClassCounts,
    title: str,
    shots: str,
    tau: float | None,
) -> Figure:
    """The share of each shot group, and of open samples, in equal cells of confidence.

    Args:
        test: N ≥ 1 samples of known classes; ``open_``: open ones, None without any.
        tau: marked where it lies among the confidences; None for no mark.
    """
    groups = shot_groups(class_counts, shots)
    every = test.confidence if open_ is None else np.concatenate([test.confidence, open_.confidence])
    low, high = np.float64(every.min()), np.float64(every.max())
    edges = np.linspace(low, high if high > low else low + 1.0, CELLS + 1)
    figure, axes = one_plot()

    def shares(values: np.ndarray) -> np.ndarray:
        return np.histogram(values.astype(np.float64), edges)[0] / len(values)

    if open_ is not None:
        label = f"open (n = {len(open_):,})"
        axes.stairs(shares(open_.confidence), edges, fill=True, color="#CCCCCC", label=label)
    for name in GROUPS:
        members = np.flatnonzero(groups[name][test.labels])
        if len(members):
            color, dashes, _ = STYLES[name]
            label = f"{name} (n = {len(members):,})"
            axes.stairs(shares(test.confidence[members]), edges, color=color, ls=dashes, lw=2.0, label=label)
    if tau is not None and edges[0] <= tau <= edges[-1]:
        mark(axes, tau, f"τ = {tau:.3g}")
    axes.set_title(title)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("confidence")
    axes.set_ylabel("samples of the group [%]")
    axes.yaxis.set_major_formatter(lambda share, position: f"{100 * share:g}")
    legend_below(figure, axes, 2)
    return figure
