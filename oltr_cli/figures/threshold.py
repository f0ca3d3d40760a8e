"""Figure 8 (b): F-measure against the threshold τ, from saved scores."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from oltr_cli.drawing.style import mark
from oltr_cli.figures.curves import Curve, Floats, panel, rows_of
from oltr_cli.figures.request import FigureSpec, Gathered, Request, Table, find, method_rows
from oltr_cli.figures.scores import known_and_open
from oltr_cli.protocol.best_threshold import FMeasureCurve
from oltr_cli.tables.rows import RowSpec

POINTS = 201
PAPER = 0.1  # the threshold that the paper starts with


@dataclass(frozen=True)
class Data:
    """One curve per method on one axis of thresholds."""

    curves: tuple[Curve, ...]

    def table(self) -> Table:
        return ["method", "threshold", "f_measure", "std", "seeds"], rows_of(self.curves)


def rows(request: Request) -> list[RowSpec]:
    return method_rows(request, ("plain", "range", "dme"))


def gather(request: Request) -> Gathered[Data]:
    found, notes = find(request, rows(request), usable=known_and_open)
    scores = {one.label: [known_and_open(run) for run in one.runs] for one in found}
    confidences = [s.confidence for pairs in scores.values() for pair in pairs for s in pair]
    grid = thresholds(
        min(float(c.min()) for c in confidences if len(c)), max(float(c.max()) for c in confidences if len(c))
    )
    curves = [
        Curve.over(label, grid, np.stack([f_measures(FMeasureCurve(*pair), grid) for pair in pairs]))
        for label, pairs in scores.items()
    ]
    return Gathered(Data(tuple(curves)), tuple(run for one in found for run in one.runs), notes)


def thresholds(lowest: float, highest: float) -> Floats:
    """Evenly spaced τ (POINTS,): 0 … 1 if all confidences are probabilities, else from lowest to highest."""
    if 0 <= lowest <= highest <= 1:
        lowest, highest = 0.0, 1.0
    return np.linspace(lowest, highest, POINTS)


def f_measures(curve: FMeasureCurve, grid: Floats) -> Floats:
    """F at each τ of ``grid`` (P,)."""
    return np.array([curve.at(float(tau)) for tau in grid])


def draw(data: Data) -> Figure:
    figure, axes = panel(data.curves, "threshold τ on the confidence", "F-measure", marked=20)
    axes.set_ylim(0.0, None)
    low, high = axes.get_xlim()
    if low <= PAPER <= high and high <= 1.1:
        mark(axes, PAPER, None)
        axes.annotate(f"τ = {PAPER}", (PAPER, 0.03), (4, 0), ("data", "axes fraction"), "offset points", fontsize=8)
    return figure


FIGURE = FigureSpec("8b", "F-measure against the threshold", rows, gather, draw)
