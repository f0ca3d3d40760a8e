"""Figure 6: how much F1 a method gains over the plain model, for many, medium, few and open; from saved scores.

With open as class K, each of the K + 1 classes has an F1 = 2TP / (2TP + FP + FN) at the run's τ; a group's is the mean
over its classes. Gains are taken seed by seed, since a run starts from the plain run of its own seed.
"""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from oltr_cli.errors import DataProblem
from oltr_cli.figures.curves import Floats, legend_columns, looks
from oltr_cli.figures.request import FigureSpec, Found, Gathered, Request, Table, find, method_rows
from oltr_cli.figures.scores import class_counts, known_and_open
from oltr_cli.protocol.metrics import Threshold, accepted
from oltr_cli.protocol.shots import DEFINITIONS, GROUPS, ClassCounts, shot_groups
from oltr_cli.runs.scores import SavedScores
from oltr_cli.tables.rows import RowSpec

ALL_GROUPS = (*GROUPS, "open")
_HATCHES = ("", "///", "...", "\\\\\\", "xxx")


@dataclass(frozen=True)
class Gain:
    """One method against the base: F1 (seeds, 4) of both over many, medium, few, open; NaN for an empty group."""

    method: str
    base: Floats
    own: Floats

    @property
    def mean(self) -> Floats:
        """Gain of each group (4,)."""
        return (self.own - self.base).mean(axis=0)

    @property
    def std(self) -> Floats:
        """Sample standard deviation of the gain (4,) over the seeds; NaN for one seed."""
        difference = self.own - self.base
        return difference.std(axis=0, ddof=1) if len(difference) > 1 else np.full(4, np.nan)


@dataclass(frozen=True)
class Data:
    """Gains over the method ``base``."""

    base: str
    gains: tuple[Gain, ...]
    shots: str

    def table(self) -> Table:
        columns = ["method", "group", f"f1_{self.base}", "f1_method", "gain", "std", "seeds"]
        return columns, [
            [gain.method, group, *(_number(value) for value in values), len(gain.own)]
            for gain in self.gains
            for group, *values in zip(
                ALL_GROUPS, gain.base.mean(axis=0), gain.own.mean(axis=0), gain.mean, gain.std, strict=True
            )
        ]


def rows(request: Request) -> list[RowSpec]:
    return method_rows(request, ("plain", "dme"), least=2)


def gather(request: Request) -> Gathered[Data]:
    (base, *others), notes = find(request, rows(request), usable=known_and_open)
    seeds = {run.seed for run in base.runs}.intersection(*({run.seed for run in one.runs} for one in others))
    if not seeds:
        raise DataProblem(
            f"{base.label} and {', '.join(o.label for o in others)} have no seed in common (their runs have "
            f"seeds {'; '.join(_seeds(one) for one in (base, *others))}); a gain compares runs of the same seed"
        )
    f1 = {
        one.label: np.stack(
            [
                group_f1(*known_and_open(run), class_counts(run), tau, request.shots)
                for run, tau in zip(one.runs, one.thresholds, strict=True)
                if run.seed in seeds
            ]
        )
        for one in (base, *others)
    }
    gains = tuple(Gain(one.label, f1[base.label], f1[one.label]) for one in others)
    runs = tuple(run for one in (base, *others) for run in one.runs if run.seed in seeds)
    rules = ", ".join(f"{one.label} {one.row.threshold_rule}" for one in (base, *others))
    return Gathered(Data(base.label, gains, request.shots), runs, (*notes, f"τ: {rules}"))


def group_f1(
    known: SavedScores, open_: SavedScores, counts: ClassCounts, tau: Threshold, shots: str = "paper"
) -> Floats:
    """F1 (4,) of many, medium, few and open at τ; NaN for a group without a class that occurs.

    As in ``open/macro_f1``, a class that occurs neither as label nor as decision has no F1.
    """
    classes = len(counts)
    labels = np.concatenate([known.labels, np.full(len(open_), classes)])
    decided = np.concatenate([np.where(accepted(s, tau), s.prediction, classes) for s in (known, open_)])
    right = np.bincount(labels[labels == decided], minlength=classes + 1)
    both = np.bincount(labels, minlength=classes + 1) + np.bincount(decided, minlength=classes + 1)
    f1 = np.divide(2 * right, both, out=np.full(classes + 1, np.nan), where=both > 0)
    groups = shot_groups(counts, shots)
    parts = [f1[:classes][groups[name] & (both[:classes] > 0)] for name in GROUPS] + [f1[classes:][both[classes:] > 0]]
    return np.array([part.mean() if len(part) else np.nan for part in parts])


def signed(value: float) -> str:
    """A gain with its sign and three decimals, more if they would all be 0; ``0.000`` for none."""
    if abs(value) < 1e-9:  # rounding errors of a mean of ratios
        return "0.000"
    digits = max(3, -math.floor(math.log10(abs(value))))
    return f"{value:+.{digits}f}".replace("-", "−")


def draw(data: Data) -> Figure:
    figure = Figure(figsize=(2.8 + 1.6 * len(data.gains), 3.2), layout="constrained")
    axes = figure.subplots()
    width = 0.7 / len(data.gains)
    empty = [not any(np.isfinite(gain.mean[group]) for gain in data.gains) for group in range(4)]
    for place, (gain, (color, _, _)) in enumerate(zip(data.gains, looks([g.method for g in data.gains]), strict=True)):
        x = np.arange(4) + (place - (len(data.gains) - 1) / 2) * width
        hatch = _HATCHES[place % len(_HATCHES)]
        fill = color if not hatch else "white"
        axes.bar(x, gain.mean, 0.92 * width, color=fill, edgecolor=color, hatch=hatch, label=gain.method)
        spread = np.nan_to_num(gain.std)
        if spread.any():
            axes.errorbar(x, gain.mean, spread, fmt="none", ecolor="#333333", elinewidth=1.0, capsize=2.5)
        for group, (at, value, more) in enumerate(zip(x, gain.mean, spread, strict=True)):
            if np.isfinite(value):
                up = value >= 0
                end = value + more if up else value - more
                axes.annotate(
                    signed(float(value)),
                    (at, end),
                    (0, 3 if up else -3),
                    textcoords="offset points",
                    ha="center",
                    va="bottom" if up else "top",
                    fontsize=8 if len(data.gains) == 1 else 7,
                )
            elif place == 0 or not empty[group]:
                middle = group if empty[group] else at  # once, if it holds for all methods
                axes.annotate("no class", (middle, 0), (0, 3), textcoords="offset points", ha="center", fontsize=8)
    axes.axhline(0, color="black", lw=0.8)
    bounds = [*DEFINITIONS[data.shots], "unknown"]
    axes.set_xticks(range(4), [f"{name}\n({bound})" for name, bound in zip(ALL_GROUPS, bounds, strict=True)])
    axes.set_xlim(-0.5, 3.5)  # a group without a class has no bar, but keeps its place
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.15)
    of = f" of {data.gains[0].method}" if len(data.gains) == 1 else ""
    axes.set_ylabel(f"F1 gain{of} over {data.base}")
    axes.set_xlabel("shot group (training images of the class)")
    if len(data.gains) > 1:
        columns = legend_columns([gain.method for gain in data.gains], figure.get_figwidth())
        figure.legend(loc="outside upper center", ncols=columns)
    return figure


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _seeds(one: Found) -> str:
    return ", ".join(str(run.seed) for run in one.runs)


FIGURE = FigureSpec("6", "F1 gain over the plain model by shot group", rows, gather, draw)
