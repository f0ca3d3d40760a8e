"""Who is thrown out: the share of each shot group, and of open samples, that a threshold rejects."""

import numpy as np
from matplotlib.figure import Figure

from oltr_cli.drawing.style import PERCENT, STYLES, legend_below, mark, one_plot
from oltr_cli.protocol.metrics import rank_curve, ranking_metrics
from oltr_cli.protocol.shots import GROUPS, ClassCounts, shot_groups
from oltr_cli.runs.scores import SavedScores

POINTS = 401


def rejected_by_threshold(
    test: SavedScores, open_: SavedScores, class_counts: ClassCounts, title: str, shots: str, tau: float | None
) -> Figure:
    """The share of samples with a confidence below τ, against τ: three shot groups and the open samples.

    The open samples' curve is to lie far above the others. A group's AUROC is 0.5 where the two curves are the same,
    and below where open samples are accepted sooner than that group.
    """
    groups = shot_groups(class_counts, shots)
    confidence = np.concatenate([test.confidence, open_.confidence])
    taus = np.linspace(min(0.0, float(confidence.min())), float(confidence.max()), POINTS)
    figure, axes = one_plot()

    def share(values: np.ndarray) -> np.ndarray:
        return np.searchsorted(np.sort(values), taus.astype(values.dtype), side="left") / len(values)

    axes.fill_between(taus, share(open_.confidence), color="#CCCCCC", lw=0, alpha=0.6)
    axes.plot(taus, share(open_.confidence), color="#555555", label=f"open (n = {len(open_):,})")
    for name in GROUPS:
        members = test.take(np.flatnonzero(groups[name][test.labels]))
        if len(members):
            color, dashes, _ = STYLES[name]
            auroc = ranking_metrics(rank_curve(members, open_))["open/auroc"]
            label = f"{name}, AUROC against open {auroc:.3f}"
            axes.plot(taus, share(members.confidence), color=color, ls=dashes, label=label)
    if tau is not None and np.isfinite(tau):
        mark(axes, tau, f"τ = {tau:.3g}")
    axes.set(ylim=(0.0, 1.03), title=title)
    axes.margins(x=0.02)
    axes.set_xlabel("threshold τ on the confidence")
    axes.set_ylabel("rejected samples [%]")
    axes.yaxis.set_major_formatter(PERCENT)
    legend_below(figure, axes, 2)
    return figure
