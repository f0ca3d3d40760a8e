"""Curves of several methods in one panel: what Figures 8 (a), (b) and (c) have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oltr_cli.drawing.style import INKS, LINES

Floats = NDArray[np.float64]

# Colour, dashes and marker of the paper's methods; others follow by position.
METHODS: dict[str, tuple[str, str, str]] = {
    "plain": ("#000000", "--", "s"),
    "range": ("#D55E00", ":", "^"),
    "dme": ("#0072B2", "-", "o"),
}
WIDTH = 4.4  # inches of a panel
_MARKERS = ("D", "v", "P", "X", "<", ">", "*")


@dataclass(frozen=True)
class Curve:
    """One method's line.

    Attributes:
        x, mean: (P,).
        std: sample standard deviation (P,) over the ``n`` measurements behind each point; zeros for n = 1.
    """

    label: str
    x: Floats
    mean: Floats
    std: Floats
    n: int

    @classmethod
    def over(cls, label: str, x: Floats, values: Floats) -> "Curve":
        """From measurements (n, P)."""
        n = len(values)
        std = values.std(axis=0, ddof=1) if n > 1 else np.zeros(values.shape[1])
        return cls(label, np.asarray(x, np.float64), values.mean(axis=0), std, n)


def rows_of(curves: Sequence[Curve]) -> list[list[object]]:
    """One row (label, x, mean, std, n) per point; std is None for a single measurement."""
    return [
        [curve.label, float(x), float(mean), float(std) if curve.n > 1 else None, curve.n]
        for curve in curves
        for x, mean, std in zip(curve.x, curve.mean, curve.std, strict=True)
    ]


def looks(labels: Sequence[str]) -> list[tuple[str, str, str]]:
    """Colour, dashes and marker for each label, different ones for different labels."""
    free = [i for i in INKS if i not in {METHODS[x][0] for x in labels if x in METHODS}] or list(INKS)
    others = 0
    chosen = []
    for label in labels:
        if label in METHODS:
            chosen.append(METHODS[label])
        else:
            chosen.append((free[others % len(free)], LINES[(others + 3) % 4], _MARKERS[others % len(_MARKERS)]))
            others += 1
    return chosen


def legend_columns(labels: Sequence[str], width: float) -> int:
    """How many entries of a legend fit side by side into ``width`` inches, four at most."""
    entry = 0.65 + 0.075 * max(map(len, labels), default=0)  # its line and its letters
    return max(1, min(len(labels), 4, int(width / entry)))


def panel(curves: Sequence[Curve], x_label: str, y_label: str, *, marked: int = 1) -> tuple[Figure, Axes]:
    """The curves with a band of ± one standard deviation, the legend above; a marker at every ``marked``-th point."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    spread = any(curve.n > 1 for curve in curves)
    for place, (curve, (color, dashes, marker)) in enumerate(
        zip(curves, looks([c.label for c in curves]), strict=True)
    ):
        every = (place * marked // max(len(curves), 1), marked) if marked > 1 else 1
        axes.plot(
            curve.x,
            curve.mean,
            color=color,
            ls=dashes,
            marker=marker,
            markevery=every,
            label=curve.label,
            clip_on=False,
        )
        if curve.n > 1:
            low, high = curve.mean - curve.std, curve.mean + curve.std
            axes.fill_between(curve.x, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.margins(x=0.02)
    title = "mean ± standard deviation" if spread else None
    columns = legend_columns([curve.label for curve in curves], WIDTH)
    figure.legend(loc="outside upper center", ncols=columns, title=title, title_fontsize=8)
    return figure, axes
