"""Two kinds of pictures of a study: the best value over time, and the value against each tuned key."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from oltr_cli.drawing.style import INKS, legend_below, one_plot, plain_log, save_pngs
from oltr_cli.tuning.space import Dimension, shown
from oltr_cli.tuning.study import Study

BEST, OTHER = INKS[2], INKS[1]
NOISE = 0.02  # chance alone, with a few thousand validation images


def save_pictures(study: Study) -> list[Path]:
    """Draw history.png and slice-KEY.png for each tuned key into the study's folder; returns what was written."""
    drawings = {"history": lambda: history(study)}
    drawings |= {f"slice-{d.key}": lambda d=d: slice_of(study, d) for d in study.about.space}  # type: ignore[misc]
    return save_pngs(study.path, drawings)


def history(study: Study) -> Figure:
    """The value of each trial by number, the best so far, and a mark at the foot for each trial without a value."""
    figure, axes = one_plot()
    numbers, values = zip(*((t.number, t.values[0]) for t in study.finished()), strict=True)
    best = np.maximum.accumulate(values) if study.about.maximize else np.minimum.accumulate(values)
    last = study.trials()[-1].number
    axes.step([*numbers, last], [*best, best[-1]], where="post", color=BEST, label="best so far")
    axes.plot(numbers, values, ls="", marker="o", color=OTHER, label="trial")
    low, high = _span(values)
    room = 0.08 * (high - low)
    for state, marker, label in (("PRUNED", "|", "cut short"), ("FAIL", "x", "failed")):
        at = [t.number for t in study.trials() if t.state.name == state]
        axes.plot(at, [low - 1.5 * room] * len(at), ls="", marker=marker, color="#555555", label=label if at else None)
    axes.set(ylim=(low - 2.2 * room, high + room), title=study.name, xlabel="trial")
    axes.set_ylabel(f"{study.about.objective} on validation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend_below(figure, axes, 4)
    return figure


def slice_of(study: Study, d: Dimension) -> Figure:
    """The value of each finished trial against its setting of ``d``; trials are independent, so no line joins them."""
    figure, axes = one_plot()
    done = study.finished()
    tried = np.array([d.choices.index(t.params[d.key]) if d.choices else t.params[d.key] for t in done], np.float64)
    values = np.array([t.values[0] for t in done])
    axes.plot(tried, values, ls="", marker="o", color=OTHER, label="trial")
    best = study.best()
    assert best is not None
    axes.plot(
        tried[[t.number for t in done].index(best.number)],
        best.values[0],
        ls="",
        marker="*",
        ms=16,
        color=BEST,
        label=f"best: {d.name} = {shown(best.params[d.key])}, trial {best.number}",
    )
    if d.choices:
        axes.set_xticks(range(len(d.choices)), [shown(choice) for choice in d.choices])
        axes.set_xlim(-0.5, len(d.choices) - 0.5)
    elif d.log:
        axes.set_xscale("log")
        plain_log(axes.xaxis)
        axes.set_xlim(d.low / 1.1, d.high * 1.1)
    low, high = _span(values)
    axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    axes.set(title=study.name, xlabel=d.key + (" (log scale)" if d.log else ""))
    axes.set_ylabel(f"{study.about.objective} on validation")
    legend_below(figure, axes, 2)
    return figure


def _span(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Lowest and highest, at least ``NOISE`` apart: chance should not look like a curve."""
    low, high = min(values), max(values)
    room = max(0.0, NOISE - (high - low)) / 2
    return low - room, high + room
