"""Figure 5: the ablation, from the runs of table 5 (recipes/tables/5.toml) and their own results.

Open-set accuracy by shot group: (a) modulated attention switched off and on, (b) the parts of the meta-embedding added
one by one, (c) spatial against modulated attention.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from oltr_cli.errors import UsageProblem
from oltr_cli.figures.request import FigureSpec, Gathered, Request, Table, find
from oltr_cli.protocol.shots import DEFINITIONS, GROUPS
from oltr_cli.runs.folder import finished_runs
from oltr_cli.tables.filled import Cell
from oltr_cli.tables.paper import load_table
from oltr_cli.tables.rows import RowSpec, table_rows

TABLE = "5"
COLUMNS = (*GROUPS, "overall")
# Panels by the keys of the table's rows, with the names of the paper's legends; the last is the paper's method.
PANELS: tuple[tuple[str, dict[str, str]], ...] = (
    ("(a) modulated attention", {"attention-none": "without", "attention-modulated": "with (ours)"}),
    (
        "(b) dynamic meta-embedding",
        {
            "direct-feature": "direct feature",
            "memory-feature": "+ memory feature",
            "concept-selector": "+ concept selector",
            "calibrator": "+ calibrator (ours)",
        },
    ),
    ("(c) kind of attention", {"attention-spatial": "spatial", "attention-modulated": "modulated (ours)"}),
)
# From pale to dark, hatched differently; the paper's method is always full blue.
_FILLS = (("#FFFFFF", ""), ("#D9D9D9", "///"), ("#9CC3DF", "..."))
_OURS = ("#0072B2", "")


@dataclass(frozen=True)
class Bar:
    """Accuracies in percent of one variant over many, medium, few, all: mean and std (4,), NaN if there is none."""

    panel: str
    label: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seeds: int


@dataclass(frozen=True)
class Data:
    """The bars, panel by panel."""

    bars: tuple[Bar, ...]
    shots: str

    def table(self) -> Table:
        columns = ["panel", "variant", "group", "open_set_accuracy_percent", "std", "seeds"]
        return columns, [
            [bar.panel, bar.label, group, *(None if np.isnan(v) else v for v in (mean, std)), bar.seeds]
            for bar in self.bars
            for group, mean, std in zip(COLUMNS, bar.mean, bar.std, strict=True)
        ]


def rows(request: Request) -> list[RowSpec]:
    if request.methods:
        raise UsageProblem("shows variants of dme; leave out --methods")
    wanted = {key for _, panel in PANELS for key in panel}
    return [row for row in table_rows(load_table(TABLE), finished_runs(request.dataset)) if row.key in wanted]


def gather(request: Request) -> Gathered[Data]:
    found, notes = find(request, rows(request), TABLE)
    metrics = [column.metric for column in load_table(TABLE).columns]
    at = [metrics.index(f"open/{name}") for name in COLUMNS]
    by_key = {}
    for one in found:
        # The cells hold one value per seed; with --seed only one is drawn.
        kept = [one.row.seeds.index(run.seed) for run in one.runs]
        by_key[one.label] = [_cell(one.row.cells[i], kept, len(one.row.seeds)) for i in at]
    bars = tuple(
        Bar(
            title,
            label,
            tuple(_nan(cell.mean) for cell in by_key[key]),
            tuple(_nan(cell.std) for cell in by_key[key]),
            max(cell.n for cell in by_key[key]),
        )
        for title, panel in PANELS
        for key, label in panel.items()
    )
    runs = tuple(dict.fromkeys(run for one in found for run in one.runs))
    rules = {str(one.row.threshold_rule) for one in found}
    return Gathered(Data(bars, request.shots), runs, (*notes, f"τ: {', '.join(sorted(rules))}"))


def _cell(cell: Cell, kept: list[int], seeds: int) -> Cell:
    """Only the seeds at the positions ``kept``; a cell with gaps (an empty shot group) has them for all seeds."""
    return Cell(cell.paper, tuple(cell.values[i] for i in kept)) if cell.n == seeds else cell


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def draw(data: Data) -> Figure:
    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    panels = [(title, [bar for bar in data.bars if bar.panel == title]) for title, _ in PANELS]
    grid = figure.subplots(1, 3, sharey=True, width_ratios=[1.6 + len(bars) for _, bars in panels])
    for axes, (title, bars) in zip(grid, panels, strict=True):
        width = 0.8 / len(bars)
        for place, bar in enumerate(bars):
            fill, hatch = _OURS if place == len(bars) - 1 else _FILLS[place]
            x = np.arange(len(COLUMNS)) + (place - (len(bars) - 1) / 2) * width
            axes.bar(x, bar.mean, width, color=fill, hatch=hatch, edgecolor="black", linewidth=0.7, label=bar.label)
            spread = np.nan_to_num(np.array(bar.std))
            if spread.any():
                axes.errorbar(x, bar.mean, spread, fmt="none", ecolor="black", elinewidth=0.9, capsize=2.0)
            for at, value, more in zip(x, bar.mean, spread, strict=True):
                if np.isfinite(value):
                    axes.annotate(
                        f"{value:.1f}",
                        (at, value + more),
                        (0, 2),
                        textcoords="offset points",
                        ha="center",
                        fontsize=6,
                    )
        names = [f"{name}\n({bound})" for name, bound in zip(GROUPS, DEFINITIONS[data.shots], strict=True)]
        axes.set_xticks(range(len(COLUMNS)), [*names, "overall\n(all classes)"])
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.margins(y=0.08)
        axes.set_title(title, pad=8)
        columns = 2 if len(bars) > 2 else len(bars)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=columns, columnspacing=1.2, handlelength=1.8)
    grid[0].set_ylabel("open-set accuracy [%]")
    return figure


FIGURE = FigureSpec("5", "ablation of attention and meta-embedding", rows, gather, draw)
