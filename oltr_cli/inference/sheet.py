"""Verdicts as a contact sheet: the images as the network saw them, framed by known and unknown."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.files import write_atomically
from oltr_cli.base.text import number
from oltr_cli.drawing.contact_sheet import Tile, contact_sheet, fit
from oltr_cli.errors import UsageProblem
from oltr_cli.inference.image_stream import ImageBatch
from oltr_cli.inference.verdicts import Verdict

ON_SHEET = 100  # images on a contact sheet
SHEET_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_KNOWN_FRAME, _UNKNOWN_FRAME = "#0072B2", "#D55E00"


class Sheet:
    """A contact sheet of the first ``ON_SHEET`` images, as the network saw them."""

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in SHEET_SUFFIXES:
            raise UsageProblem(f"--contact-sheet {path}: give an image file: {', '.join(SHEET_SUFFIXES)}")
        self.path = path
        self.tiles: list[Tile] = []

    def add(self, verdicts: list[Verdict], batch: ImageBatch) -> None:
        """Add images while there is room; ``batch`` holds the images of the verdicts."""
        crops = iter(batch.crops)
        for verdict, source in zip(verdicts, batch.sources, strict=True):
            if len(self.tiles) == ON_SHEET:
                return
            self.tiles.append(_tile(verdict, None if source.problem else next(crops)))

    def save(self, title: str, images: int) -> str:
        """Write the sheet; returns a message about it."""
        page = contact_sheet(self.tiles, title=title)
        kind = {".png": "PNG", ".webp": "WEBP"}.get(self.path.suffix.lower(), "JPEG")
        write_atomically(self.path, lambda file: page.save(file, format=kind))
        return f"{self.path}, the first {ON_SHEET} of {images:,} images" if images > ON_SHEET else str(self.path)


def _tile(verdict: Verdict, crop: NDArray[np.uint8] | None) -> Tile:
    name = Path(verdict.path).name
    if verdict.error:
        return Tile(None if crop is None else fit(crop), (verdict.error, name))
    caption = [f"{verdict.label}  {number(verdict.confidence)}", name]
    if verdict.unknown:
        caption.insert(1, f"{verdict.top[0][0]}?")
    return Tile(None if crop is None else fit(crop), caption, _UNKNOWN_FRAME if verdict.unknown else _KNOWN_FRAME)
