"""Pictures of a run that are drawn, but saved empty: laying out the seven of them takes longer than a tiny training.

Runs that tests make have these. ``tests/drawing`` and whatever starts a fresh interpreter have the real ones.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from oltr_cli.drawing import run_plots, style


def use() -> None:
    run_plots.save_pngs = save_empty


def save_empty(folder: Path, drawings: Mapping[str, Callable[[], Figure]]) -> list[Path]:
    paths = [folder / f"{name}.png" for name in drawings]
    folder.mkdir(parents=True, exist_ok=True)
    for path, draw in zip(paths, drawings.values(), strict=True):
        with rc_context(style.RC):
            draw()
        Image.new("L", (1, 1)).save(path)
    return paths
