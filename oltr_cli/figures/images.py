"""Photographs in figures: maps laid over them, patches side by side, and names below them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from PIL import Image

from oltr_cli.drawing.contact_sheet import fit
from oltr_cli.drawing.lettering import Lettering
from oltr_cli.drawing.style import BLUES
from oltr_cli.figures.curves import Floats

MOST = 100  # characters of a name that any number of lines can hold
LUMA = np.array([0.299, 0.587, 0.114])
FEW_CELLS = 9  # up to this many, each cell's value is written into it
SCALE = ScalarMappable(Normalize(-1.0, 1.0), BLUES)  # of ``octaves``: white ½× the mean cell, dark 2×
SCALE_TICKS = {-1.0: "½×", 0.0: "mean of the map", 1.0: "2×"}


def plain_text(text: str, most: int = 60) -> str:
    """Text that matplotlib prints unchanged (no $…$ formulas), on one line of at most ``most`` characters.

    A longer one is shortened in the middle: names of classes differ at their ends as often as at their starts.
    """
    return _literal(_shortened(" ".join(text.split()), most))


def wrapped(text: str, width: float, size: float, lines: int = 2, first: str = "", last: str = "") -> str:
    """``first`` + ``text`` + ``last`` in at most ``lines`` lines, with ``text`` shortened in the middle if need be.

    Args:
        width, size: of a line and of the letters, in points.
    """
    lettering = Lettering(round(10 * size))  # tenths of a point: pixels are whole
    text = " ".join(text.split())
    for most in range(max(1, min(len(text), MOST)), 0, -1):
        broken = lettering.wrap(f"{first}{_shortened(text, most)}{last}", 10 * width, most=lines + 1)
        if len(broken) <= lines:
            break
    return _literal("\n".join(broken[:lines]))


def _shortened(line: str, most: int) -> str:
    if len(line) <= most:
        return line
    tail = (most - 1) // 2
    return f"{line[: most - 1 - tail].rstrip(' ,')}…{line[len(line) - tail :].lstrip(' ,')}"


def _literal(text: str) -> str:
    return text.replace("$", r"\$")


def bare(axes: Axes) -> None:
    """Only the picture: neither ticks nor grid nor frame."""
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def overlay(axes: Axes, image: NDArray[np.uint8], cells: Floats) -> None:
    """The image (S, S, 3) in grey under the map of its cells (h, w): the darker the blue, the larger the value.

    Shades show a cell relative to the mean of its map, see ``SCALE``, so that an even map looks even. They are
    interpolated between the cells' centres; in a map with few cells the numbers are written into them.
    """
    side = image.shape[0]
    grey = (image @ LUMA / 255)[..., None]
    shade = SCALE.to_rgba(enlarge(octaves(cells), side))[..., :3]
    axes.imshow(0.4 * (0.2 + 0.8 * grey) + 0.6 * shade, interpolation="nearest")
    h, w = cells.shape
    for edge in range(1, h):
        axes.axhline(edge * side / h - 0.5, color="white", lw=0.6)
    for edge in range(1, w):
        axes.axvline(edge * side / w - 0.5, color="white", lw=0.6)
    if cells.size <= FEW_CELLS:
        for y, x in np.ndindex(h, w):
            axes.text(
                (x + 0.5) * side / w - 0.5,
                (y + 0.5) * side / h - 0.5,
                f"{cells[y, x]:#.2g}".rstrip("."),
                ha="center",
                va="center",
                fontsize=8,
                color="black",
                path_effects=[withStroke(linewidth=2.0, foreground="white")],
            )


def octaves(cells: Floats) -> Floats:
    """log₂ of each value (≥ 0) over the mean of all, cut at ½× and 2×; 0 where all are 0."""
    mean = cells.mean()
    if not mean > 0:
        return np.zeros_like(cells)
    return np.log2(np.clip(cells / mean, 0.5, 2.0))


def enlarge(cells: Floats, side: int) -> Floats:
    """(h, w) → (side, side), linear between the cells' centres."""
    picture = Image.fromarray(cells.astype(np.float32), mode="F")
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR), np.float64)


def tiled(patches: Sequence[NDArray[np.uint8]], columns: int, side: int = 96, gap: int = 5) -> NDArray[np.uint8]:
    """Square patches (s, s, 3) of any sizes in rows of ``columns`` on white, each ``side`` pixels wide."""
    lines = -(-len(patches) // columns)
    sheet = np.full((lines * (side + gap) - gap, columns * (side + gap) - gap, 3), 255, np.uint8)
    for place, patch in enumerate(patches):
        top, left = ((side + gap) * k for k in divmod(place, columns))
        sheet[top : top + side, left : left + side] = np.asarray(fit(Image.fromarray(patch), side))
    return sheet
