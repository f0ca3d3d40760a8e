"""Figure 8 (a): closed-set accuracy against the power value α of the training set's Pareto tail.

Only a set that can be drawn again at every α can show this: the built-in glyphs. A smaller α alone would also mean more
images, so the scale is adapted to keep their number that of the recipe, and no maximum cuts the head. Classes keep
their rank from head to tail, and validation and test are the same at every α. Each α is a separate dataset,
``NAME-alpha-A``, with its own plain model; the paper, with frozen backbone weights, shares one.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from oltr_cli.base.text import counted
from oltr_cli.data.longtail import pareto_counts
from oltr_cli.errors import UsageProblem
from oltr_cli.figures.curves import Curve, panel, rows_of
from oltr_cli.figures.request import FigureSpec, Gathered, Request, Table, method_rows, missing_rows
from oltr_cli.planning.plan import plan
from oltr_cli.runs.folder import Run, finished_runs
from oltr_cli.runs.result import RunResult
from oltr_cli.tables.rows import RowSpec

if TYPE_CHECKING:
    from oltr_cli.data.glyphs.splits import GlyphsSpec

ALPHAS = (1.0, 1.5, 2.0, 3.0, 6.0)
MAXIMUM = 10_000  # training images of a class: the most that a recipe allows
METRIC = "closed/overall"


@dataclass(frozen=True)
class Tail:
    """The training set at one α: scale of its Pareto tail, and the images of its classes."""

    alpha: float
    scale: float
    images: int
    largest: int
    median: float
    smallest: int


@dataclass(frozen=True)
class Data:
    """One curve per method over α, in percent."""

    curves: tuple[Curve, ...]
    tails: tuple[Tail, ...]

    def table(self) -> Table:
        by_alpha = {tail.alpha: tail for tail in self.tails}
        facts = ["scale", "images", "largest", "median", "smallest"]
        columns = ["method", "alpha", "accuracy_percent", "std", "seeds", *facts]
        return columns, [row + [getattr(by_alpha[row[1]], f) for f in facts] for row in rows_of(self.curves)]  # type: ignore[index]


def make_tail(spec: "GlyphsSpec", alpha: float) -> Tail:
    """The tail of exponent ``alpha`` with the number of images of ``spec``, as close as four digits allow."""
    wanted = int(_counts(spec, spec.tail_alpha, spec.tail_scale, spec.tail_max).sum())
    low, high = 0.0, 1e6
    for _ in range(60):  # the number of images grows with the scale
        middle = (low + high) / 2
        low, high = (middle, high) if _counts(spec, alpha, middle).sum() < wanted else (low, middle)
    scale = float(f"{high:.4g}")
    counts = _counts(spec, alpha, scale)
    return Tail(alpha, scale, int(counts.sum()), int(counts.max()), float(np.median(counts)), int(counts.min()))


def _counts(spec: "GlyphsSpec", alpha: float, scale: float, maximum: int = MAXIMUM) -> np.ndarray:
    return pareto_counts(spec.known_classes, floor=spec.tail_floor, alpha=alpha, scale=scale, maximum=maximum)


def tails(request: Request) -> list[Tail]:
    """The training sets to compare, by rising α.

    Raises:
        UsageProblem: the dataset is not drawn here, or an α is out of range.
    """
    alphas = request.alphas or ALPHAS
    bad = [alpha for alpha in alphas if not 0.1 <= alpha <= 100]
    if bad:
        raise UsageProblem(f"--alphas: {bad[0]:g} is not within 0.1 and 100")
    data = plan("plain", request.source, [], 0)[0].link.recipe.data if request.source else None
    if data is None or data.kind != "glyphs":
        raise UsageProblem(
            f"needs one dataset at several α, but the lists of {request.dataset} have a fixed one; "
            "draw it for the built-in set: oltr figure 8a --dataset glyphs-lt"
        )
    return [make_tail(data.glyphs, alpha) for alpha in sorted(set(alphas))]


def rows(request: Request) -> list[RowSpec]:
    """A row for each method and α."""
    return [row for row, _, _ in _points(request)]


def gather(request: Request) -> Gathered[Data]:
    points = _points(request)
    assert request.source is not None  # tails checks it
    runs = {row: _runs(row, request, _dataset(request, tail)) for row, tail, _ in points}
    missing = [row for row, found in runs.items() if not found]
    if missing:
        raise missing_rows(request, missing)
    by_method: dict[str, list[tuple[float, list[float]]]] = {}
    for row, tail, method in points:
        values = [100 * (result.metrics.get(METRIC) or float("nan")) for _, result in runs[row]]
        by_method.setdefault(method, []).append((tail.alpha, values))
    curves = []
    for method, measured in by_method.items():
        alphas, values_at = zip(*measured, strict=True)
        n = min(len(values) for values in values_at)
        curves.append(Curve.over(method, np.array(alphas), np.array([values[:n] for values in values_at]).T))
    shown = tuple({tail.alpha: tail for _, tail, _ in points}.values())
    note = f"closed-set accuracy; every α has {counted(shown[0].images, 'training image')}, give or take rounding"
    return Gathered(Data(tuple(curves), shown), tuple(run for found in runs.values() for run, _ in found), (note,))


def _points(request: Request) -> list[tuple[RowSpec, Tail, str]]:
    """Row, tail and method's name of every point."""
    points = []
    for method in method_rows(request, ("plain", "dme")):
        for tail in tails(request):
            sets = (
                *method.sets,
                f"data.name={_dataset(request, tail)}",
                f"data.glyphs.tail_alpha={tail.alpha:g}",
                f"data.glyphs.tail_scale={tail.scale:g}",
                f"data.glyphs.tail_max={MAXIMUM}",
            )
            key = f"{method.key}, α = {tail.alpha:g}"
            row = RowSpec(key, key, method.method, method.asked, (), method.heading, sets, method.equal_budget)
            points.append((row, tail, method.key))
    return points


def _dataset(request: Request, tail: Tail) -> str:
    return f"{request.dataset}-alpha-{tail.alpha:g}"


def _runs(row: RowSpec, request: Request, dataset: str) -> list[tuple[Run, RunResult]]:
    """The finished runs of a row by seed; found only by their exact hash."""
    wanted = row.hash(str(request.source))
    pairs = finished_runs(dataset).get(row.method, [])
    found = [(run, result) for run, result in pairs if run.hash == wanted and request.seed in (None, run.seed)]
    return sorted(found, key=lambda pair: pair[0].seed)


def draw(data: Data) -> Figure:
    figure, axes = panel(data.curves, "power value α (images of the largest class)", "closed-set accuracy [%]")
    alphas = [tail.alpha for tail in data.tails]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(alphas))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(alphas, [f"{tail.alpha:g}\n({tail.largest:,})" for tail in data.tails])
    axes.margins(x=0.05)
    axes.annotate("← more imbalanced", (0.02, 0.03), xycoords="axes fraction", fontsize=8, color="#444444")
    axes.yaxis.set_major_formatter("{x:g}")
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.1 * (high - low), high)  # room for the arrow below the curves
    return figure


FIGURE = FigureSpec("8a", "accuracy against the power value α", rows, gather, draw)
