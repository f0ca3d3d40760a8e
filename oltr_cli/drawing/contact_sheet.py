"""A contact sheet: many small images on one page, each with a caption and a coloured frame, in titled blocks.

Small images are enlarged by whole factors, pixel by pixel, so that they stay sharp; large ones are shrunk. The frame's
colour only repeats the caption: grey prints and colour-blind readers lose nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from oltr_cli.drawing.lettering import Lettering

SIDE = 128  # pixels of the longer side of an image on the sheet
FRAME, GAP, MARGIN = 4, 16, 28
INK, FAINT, LINE, MAT = "#1A1A1A", "#666666", "#C8C8C8", "#F2F2F2"

Pixels = Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class Tile:
    """One image on a contact sheet.

    Attributes:
        image: Pillow image, uint8 array (C, H, W) with C = 1 or 3 as datasets give it, or None for one that cannot be
            read. For many large photographs pass ``fit(image)``, which is all that is shown.
        caption: lines below it, the first one darker; each takes up to two lines and then ends in "…".
        frame: colour such as "#0072B2"; None draws a thin grey line.
        group: title of its block; tiles of one group follow each other.
    """

    image: Pixels | None
    caption: Sequence[str] = ()
    frame: str | None = None
    group: str = ""


def contact_sheet(tiles: Sequence[Tile], columns: int = 8, title: str = "") -> Image.Image:
    """The tiles in rows of ``columns``, one block per group, below ``title``; RGB.

    A sheet without tiles is only its title.
    """
    heading, block, caption = Lettering(22, bold=True), Lettering(16, bold=True), Lettering(13)
    columns = max(1, min(columns, len(tiles)) if tiles else columns)
    cell = SIDE + 2 * FRAME
    width = 2 * MARGIN + columns * cell + (columns - 1) * GAP
    page = _Page(width, cell, caption)
    if title:
        page.text(title, heading, after=10)
    for group, members in groupby(tiles, key=lambda tile: tile.group):
        if group:
            page.text(group, block, before=12, after=8)
        row: list[Tile] = []
        for tile in members:
            row.append(tile)
            if len(row) == columns:
                page.row(row)
                row = []
        if row:
            page.row(row)
    return page.finished()


def fit(image: Pixels, side: int = SIDE) -> Image.Image:
    """The image in RGB with its longer side at ``side`` pixels."""
    picture = image if isinstance(image, Image.Image) else _from_array(image)
    picture = picture.convert("RGB")
    longer = max(picture.size)
    if longer == side:
        return picture
    size = tuple(max(1, round(length * side / longer)) for length in picture.size)
    if 2 * longer <= side:
        # Pixels stay squares with sharp edges, even if the factor is not a whole number.
        factor = math.ceil(side / longer)
        large = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
        return large if large.size == size else large.resize(size, Image.Resampling.BOX)  # type: ignore[arg-type]
    return picture.resize(size, Image.Resampling.LANCZOS)  # type: ignore[arg-type]


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    pixels = np.asarray(array)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


class _Page:
    """A page that grows downwards; drawing waits until its height is known."""

    def __init__(self, width: int, cell: int, caption: Lettering) -> None:
        self.width, self.cell, self.caption = width, cell, caption
        self.y = MARGIN
        self.waiting: list = []

    def text(self, text: str, lettering: Lettering, before: int = 0, after: int = 0) -> None:
        self.y += before
        for line in lettering.wrap(text, self.width - 2 * MARGIN, most=3):
            self.waiting.append((MARGIN, self.y, line, lettering))
            self.y += lettering.line_height
        self.y += after

    def row(self, tiles: Sequence[Tile]) -> None:
        captions = [self._wrapped(tile) for tile in tiles]
        for column, (tile, lines) in enumerate(zip(tiles, captions, strict=True)):
            self.waiting.append((MARGIN + column * (self.cell + GAP), self.y, tile, lines))
        lines_high = max(map(len, captions))
        self.y += self.cell + 5 + lines_high * self.caption.line_height + GAP - 4

    def _wrapped(self, tile: Tile) -> list[tuple[str, str]]:
        """(line, ink); a caption may reach a little into the gaps beside its image."""
        room = self.cell + GAP - 8
        return [
            (line, FAINT if number else INK)
            for number, text in enumerate(tile.caption)
            for line in self.caption.wrap(text, room)
        ]

    def finished(self) -> Image.Image:
        sheet = Image.new("RGB", (self.width, self.y + MARGIN - GAP), "white")
        draw = ImageDraw.Draw(sheet)
        for x, y, what, how in self.waiting:
            if isinstance(what, Tile):
                self._tile(sheet, draw, x, y, what, how)
            else:
                how.draw(draw, x, y, what, INK)
        return sheet

    def _tile(
        self, sheet: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, tile: Tile, lines: list[tuple[str, str]]
    ) -> None:
        right, bottom = x + self.cell - 1, y + self.cell - 1
        draw.rectangle((x, y, right, bottom), fill=tile.frame or LINE)
        inset = FRAME if tile.frame else 1
        draw.rectangle((x + inset, y + inset, right - inset, bottom - inset), fill=MAT)
        if tile.image is None:
            draw.line((x + FRAME, y + FRAME, right - FRAME, bottom - FRAME), fill=LINE, width=2)
            draw.line((x + FRAME, bottom - FRAME, right - FRAME, y + FRAME), fill=LINE, width=2)
        else:
            picture = fit(tile.image, self.cell - 2 * FRAME)
            sheet.paste(picture, (x + (self.cell - picture.width) // 2, y + (self.cell - picture.height) // 2))
        top = bottom + 6
        for line, ink in lines:
            self.caption.draw(draw, x + (self.cell - self.caption.width(line)) / 2, top, line, ink)
            top += self.caption.line_height
