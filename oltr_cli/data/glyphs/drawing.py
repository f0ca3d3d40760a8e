"""Drawing of glyphs-lt: one clean mask per character and typeface, then warped, inked and degraded in batches."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageFont

from oltr_cli.base.seeding import generator
from oltr_cli.errors import DataProblem

_FILL = 0.7  # of a mask's side that the longer side of its glyph takes; the rest is room to rotate in
_BEND_GRID, _TEXTURE_GRID, _STROKES = 4, 5, 2
# Uniform draws of one image, by what they are for; append new ones, so that the old ones keep their meaning.
_DRAWS = (
    "rotation", "shear", "height", "aspect", "across", "down", "weight", "sharpness", "background", "contrast",
    "invert", "ramp", "ramp_angle", "texture", "blur", "noise",
)  # fmt: skip


def font_files(faces: tuple[str, ...]) -> list[Path]:
    """The typeface files in the installed matplotlib.

    Raises:
        DataProblem: one is missing.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = [folder / f"{face}.ttf" for face in faces]
    for file in files:
        if not file.is_file():
            raise DataProblem(f"{file}: no such typeface; glyphs-lt needs those shipped with matplotlib: reinstall it")
    return files


def glyph_mask(font: ImageFont.FreeTypeFont, character: str, side: int) -> NDArray[np.uint8]:
    """A character as coverage (side, side), centred and scaled so that its longer side takes 70 %, slightly softened.

    Position and size in the line are gone: what is left to recognise is the shape.
    """
    ink = font.getmask(character, mode="L")
    image = Image.frombytes("L", ink.size, bytes(ink))
    image = image.crop(image.getbbox())
    scale = _FILL * side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    # Twice the image's resolution and a blur of that scale: bilinear sampling at single resolution does not alias.
    mask = Image.new("L", (side, side))
    mask.paste(image.resize((width, height), Image.Resampling.BOX), ((side - width) // 2, (side - height) // 2))
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(side / 53)))


def glyph_masks(characters: str, faces: tuple[str, ...], side: int) -> NDArray[np.uint8]:
    """Masks (characters, faces, side, side).

    Raises:
        DataProblem: a typeface is missing, or has no shape for a character and would draw an empty box.
    """
    from matplotlib.ft2font import FT2Font

    masks = np.empty((len(characters), len(faces), side, side), dtype=np.uint8)
    for column, file in enumerate(font_files(faces)):
        charmap = FT2Font(str(file)).get_charmap()
        missing = [c for c in characters if not charmap.get(ord(c))]
        if missing:
            raise DataProblem(
                f"{file}: no shape for {' '.join(missing)}; glyphs-lt needs another version of matplotlib"
            )
        font = ImageFont.truetype(str(file), 2 * side, layout_engine=ImageFont.Layout.BASIC)
        for row, character in enumerate(characters):
            masks[row, column] = glyph_mask(font, character, side)
    return masks


def draw_batch(
    masks: NDArray[np.uint8], which: NDArray[np.int64], keys: list[tuple[int | str, ...]], size: int, strength: float
) -> NDArray[np.uint8]:
    """Images (B, size, size): mask ``which[b]`` under distortions drawn from ``keys[b]`` alone.

    Args:
        masks: (M, side, side).
        which: (B,) indices into ``masks``.
        keys: one key per image; the same key draws the same image in any batch.
        strength: of all distortions: 0 draws clean upright glyphs, 1 is the data set.
    """
    count, strokes = len(which), 7 * _STROKES
    rngs = [generator(*key) for key in keys]
    uniform = np.array([rng.random(len(_DRAWS) + strokes) for rng in rngs])
    u = dict(zip(_DRAWS, uniform.T, strict=False))
    bend = np.array([rng.standard_normal((2, _BEND_GRID, _BEND_GRID)) for rng in rngs])
    texture = np.array([rng.standard_normal((_TEXTURE_GRID, _TEXTURE_GRID)) for rng in rngs])
    grain = np.array([rng.standard_normal((size, size)) for rng in rngs])
    spread = {name: strength * (2 * value - 1) for name, value in u.items()}  # (B,) within ± strength

    axis = (np.arange(size) + 0.5) * 2 / size - 1  # pixel centres in a frame of −1 … 1
    x, y = axis[None, None, :], axis[None, :, None]
    coverage = _sample(masks, which, *_where_from(x, y, spread, _smooth(bend, size) * 0.05 * strength))
    # Strokes grow or thin by moving the threshold on the soft mask; a low slope leaves them soft.
    threshold = 0.45 + 0.17 * spread["weight"]
    slope = 2.6 + 1.2 * spread["sharpness"]
    ink = np.clip((coverage - _each(threshold)) * _each(slope) + 0.5, 0, 1)

    contrast = 0.75 - 0.5 * strength * u["contrast"]
    sign = np.where(u["invert"] < 0.5 * min(strength, 1), -1.0, 1.0)
    paper = 0.5 - sign * contrast / 2 + (0.5 - contrast / 2) * spread["background"]
    angle = 2 * np.pi * u["ramp_angle"]
    picture = _each(paper) + _each(0.2 * strength * u["ramp"]) * (_each(np.cos(angle)) * x + _each(np.sin(angle)) * y)
    picture += _each(0.12 * strength * u["texture"]) * _smooth(texture, size)
    lines = uniform[:, len(_DRAWS) :].reshape(count, _STROKES, 7)
    # The first stray stroke runs beneath the character, the second one over it.
    picture = _stray_stroke(picture, lines[:, 0], x, y, strength)
    picture += ink * _each(sign * contrast)
    picture = _stray_stroke(picture, lines[:, 1], x, y, strength)

    softened = _box_blur(picture)
    picture += _each(np.minimum(strength * u["blur"], 1)) * (softened - picture)
    picture += _each(strength * (0.02 + 0.11 * u["noise"])) * grain
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def _where_from(
    x: NDArray[np.float64], y: NDArray[np.float64], spread: dict[str, NDArray[np.float64]], bend: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Inverse of move ∘ rotate ∘ shear ∘ scale: where in the mask (B, S, S) each pixel of the image comes from."""
    x = x - _each(0.16 * spread["across"]) + bend[:, 0]
    y = y - _each(0.16 * spread["down"]) + bend[:, 1]
    angle = np.deg2rad(24) * spread["rotation"]
    cos, sin = _each(np.cos(angle)), _each(np.sin(angle))
    x, y = cos * x + sin * y, cos * y - sin * x
    x = x - _each(0.3 * spread["shear"]) * y
    height = np.exp(-0.05 + 0.27 * spread["height"])
    stretch = np.exp(0.17 * spread["aspect"])
    return x / _each(height * stretch), y / _each(height / stretch)


def _sample(
    masks: NDArray[np.uint8], which: NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bilinear samples (B, S, S) of the masks in 0 … 1 at frame coordinates; outside the mask there is no ink."""
    side = masks.shape[-1]
    # Masks are empty along their edge, so that clipping to it reads as "outside".
    column = np.clip((x + 1) * side / 2 - 0.5, 0, side - 1.001)
    row = np.clip((y + 1) * side / 2 - 0.5, 0, side - 1.001)
    left, top = column.astype(np.int64), row.astype(np.int64)
    right, below = column - left, row - top
    flat = masks.reshape(-1)
    at = which[:, None, None] * (side * side) + top * side + left
    upper = flat[at] * (1 - right) + flat[at + 1] * right
    lower = flat[at + side] * (1 - right) + flat[at + side + 1] * right
    return (upper * (1 - below) + lower * below) / 255


def _stray_stroke(
    picture: NDArray[np.float64], draws: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64], s: float
) -> NDArray[np.float64]:
    """Draw a straight stroke of random grey across about half of the images; ``draws`` (B, 7) uniform."""
    there, place, angle, length, along, width, grey = draws.T
    angle = 2 * np.pi * angle
    cos, sin = _each(np.cos(angle)), _each(np.sin(angle))
    across = cos * x + sin * y - _each(1.4 * place - 0.7)
    lengthwise = cos * y - sin * x - _each(1.6 * along - 0.8)
    outside = np.maximum(np.abs(lengthwise) - _each(0.2 + 0.5 * length), 0)
    distance = np.hypot(across, outside)
    size = x.shape[-1]
    cover = np.clip((_each(0.03 + 0.05 * width) - distance) * size / 2 + 0.5, 0, 1)  # an edge of one pixel
    cover *= _each((there < 0.5 * s) * 0.8)
    return picture + cover * (_each(grey) - picture)


def _smooth(grid: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Coarse values (..., G, G) interpolated bilinearly to (..., size, size), corner to corner."""
    coarse = grid.shape[-1]
    place = np.linspace(0, coarse - 1, size)
    weights = np.clip(1 - np.abs(place[:, None] - np.arange(coarse)), 0, 1)  # (size, G)
    # einsum without optimize sums in one fixed order: a BLAS product may round otherwise on another machine.
    rows = np.einsum("sg,...gh->...sh", weights, grid)
    return np.einsum("...sh,th->...st", rows, weights)


def _box_blur(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over 3 × 3 pixels, the edge repeated."""
    padded = np.pad(picture, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9


def _each(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) as (B, 1, 1)."""
    return values[:, None, None]
