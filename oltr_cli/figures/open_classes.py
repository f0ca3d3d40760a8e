"""Figure 8 (c): F-measure at each run's τ against the number of open classes in the test, from saved scores.

Open classes are added one by one in a random order, so that the subsets of a draw are nested; the mean is taken over
draws and seeds.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from oltr_cli.base.seeding import generator
from oltr_cli.figures.curves import Curve, Floats, panel, rows_of
from oltr_cli.figures.request import FigureSpec, Gathered, Request, Table, find, method_rows
from oltr_cli.figures.scores import classes_of_open, known_and_open, open_classes
from oltr_cli.protocol.metrics import Threshold, accepted, f_measure
from oltr_cli.runs.scores import SavedScores
from oltr_cli.tables.rows import RowSpec

DRAWS = 20
POINTS = 11


@dataclass(frozen=True)
class Data:
    """One curve per method over the number of open classes; ``thresholds``: rule or value of τ, as text."""

    curves: tuple[Curve, ...]
    threshold: str

    def table(self) -> Table:
        return ["method", "open_classes", "f_measure", "std", "draws_and_seeds"], rows_of(self.curves)


def rows(request: Request) -> list[RowSpec]:
    return method_rows(request, ("plain", "range", "dme"))


def gather(request: Request) -> Gathered[Data]:
    found, notes = find(request, rows(request), usable=classes_of_open)
    curves = []
    for one in found:
        values = []
        for run, tau in zip(one.runs, one.thresholds, strict=True):
            known, open_ = known_and_open(run)
            class_of, names = open_classes(open_, str(run.scores("open")))
            orders = class_orders(len(names), request.lot)
            values.append(by_open_classes(known, open_, class_of, orders, tau))
        measured = np.concatenate(values)
        curves.append(Curve.over(one.label, sizes(len(names)).astype(np.float64), measured))
    rules = {str(one.row.threshold_rule) for one in found}
    threshold = rules.pop() if len(rules) == 1 else "each method's own"
    notes += (f"τ by {threshold}; mean over {DRAWS} nested orders of the open classes and the seeds",)
    return Gathered(Data(tuple(curves), threshold), tuple(run for one in found for run in one.runs), notes)


def sizes(classes: int) -> NDArray[np.int64]:
    """Numbers of open classes to evaluate, evenly from none to all."""
    return np.unique(np.linspace(0, classes, POINTS).round().astype(np.int64))


def class_orders(classes: int, lot: int) -> NDArray[np.int64]:
    """Permutations (DRAWS, C); the same for every method and seed."""
    return np.stack([generator(lot, "figure 8c", draw).permutation(classes) for draw in range(DRAWS)])


def by_open_classes(
    known: SavedScores, open_: SavedScores, class_of: NDArray[np.int64], orders: NDArray[np.int64], tau: Threshold
) -> Floats:
    """F-measures (draws, P) when only the first ``sizes`` classes of each order are in the test.

    Args:
        class_of: class of each open sample (N_o,), 0 … C−1.
        orders: (draws, C).
    """
    right = int(((known.prediction == known.labels) & accepted(known, tau)).sum())
    wrong_by_class = np.bincount(class_of[accepted(open_, tau)], minlength=orders.shape[1])
    wrong = np.concatenate([np.zeros((len(orders), 1), np.int64), wrong_by_class[orders].cumsum(axis=1)], axis=1)
    return f_measure(right, len(known) - right, wrong[:, sizes(orders.shape[1])])


def draw(data: Data) -> Figure:
    figure, axes = panel(data.curves, "number of open classes in the test", f"F-measure, {_tau(data.threshold)}")
    axes.margins(y=0.15)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _tau(threshold: str) -> str:
    value = threshold.removeprefix("fixed:")
    return f"τ by {threshold}" if value == threshold else f"τ = {value}"


FIGURE = FigureSpec("8c", "F-measure against the number of open classes", rows, gather, draw)
