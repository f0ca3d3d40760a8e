"""How pictures look: colours, dashes, markers and hatches that plots and figures share.

Colours are those of Okabe & Ito, which colour-blind readers can tell apart; lines also differ in dashes and markers,
and bars in hatches, so that grey prints stay readable. Figures are plain objects: pyplot and its global state are not
used.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

from oltr_cli.base.files import write_atomically

# Colour, dashes and marker of what appears in several pictures.
STYLES: dict[str, tuple[str, str, str]] = {
    "overall": ("#000000", "-", "o"),
    "many": ("#0072B2", "--", "s"),
    "medium": ("#009E73", "-.", "^"),
    "few": ("#D55E00", ":", "D"),
}
BANDS = {"few": "#F6E3D7", "medium": "#FFFFFF", "many": "#DCE9F3"}
LINES = ("-", "--", "-.", ":")
INKS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
DPI = 150
RC = {
    "font.size": 12,
    "axes.titlesize": 14,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.8,
}
PERCENT = PercentFormatter(1.0, symbol="")
# White to dark blue with steadily falling lightness: it looks the same in grey.
BLUES = LinearSegmentedColormap.from_list("blues", ["#FFFFFF", "#9CC3DF", "#0072B2", "#00304C"])


def save_pngs(folder: Path, drawings: Mapping[str, Callable[[], Figure]]) -> list[Path]:
    """Draw each into ``folder/NAME.png``; returns the files written."""
    paths = [folder / f"{name}.png" for name in drawings]
    for path, draw in zip(paths, drawings.values(), strict=True):
        with rc_context(RC):
            figure = draw()
            write_atomically(path, lambda file, figure=figure: figure.savefig(file, format="png", dpi=DPI))  # type: ignore[misc]
    return paths


def one_plot() -> tuple[Figure, Axes]:
    """A figure with one plot, in the size that all of them share."""
    figure = Figure(figsize=(8.0, 5.4), layout="constrained")
    return figure, figure.subplots()


def mark(axes: Axes, x: float, label: str | None) -> None:
    """A dashed vertical line at ``x``."""
    axes.axvline(x, color="#555555", lw=1.3, ls=(0, (2, 2)), zorder=1, label=label)


def tau_text(tau: "float | np.ndarray") -> str:
    """``τ = 0.1``, or what it is if each class has its own."""
    return "a τ by class" if isinstance(tau, np.ndarray) else f"τ = {tau:.3g}"


def plain_log(axis: Axis) -> None:
    """1, 2, 5, 10, 20 … on a log axis, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(lambda x, position: f"{x:g}")
    axis.set_minor_formatter(NullFormatter())


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """The legend outside, so that it covers no data."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, fontsize=11)
