"""Boxes of random resized crops for a whole batch, keyed by (seed, epoch, step), on any device the same."""

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.seeding import generator
from oltr_cli.recipe.specs import DataSpec

TRIES = 10
Boxes = NDArray[np.int64]  # (B, 4): top, left, height, width


def crop_boxes(shapes: NDArray[np.int64], spec: DataSpec, key: tuple[int | str, ...], rows: int, share: slice) -> Boxes:
    """RandomResizedCrop (Szegedy et al. 2015): area in ``crop_scale``, aspect ratio in ``crop_ratio``.

    Of ten tries the first that fits is taken; where none does, the largest square in the middle.

    Args:
        shapes: height and width (B, 2) of the images in rows ``share`` of a batch of ``rows``.
        key: of the batch; the draws of a row do not depend on how the batch is shared.
    """
    draws = generator(*key).random((rows, TRIES, 4))[share]
    height, width = shapes.T[..., None].astype(np.float64)  # (B, 1) each
    low, high = spec.crop_scale
    area = height * width * (low + (high - low) * draws[..., 0])
    low, high = np.log(spec.crop_ratio)
    ratio = np.exp(low + (high - low) * draws[..., 1])
    h, w = np.rint(np.sqrt(area / ratio)), np.rint(np.sqrt(area * ratio))  # (B, TRIES)
    fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
    first = fits.argmax(axis=1)
    row = np.arange(len(first))
    h, w = h[row, first], w[row, first]
    top = np.floor(draws[row, first, 2] * (height[:, 0] - h + 1))
    left = np.floor(draws[row, first, 3] * (width[:, 0] - w + 1))
    boxes = np.stack([top, left, h, w], axis=1).astype(np.int64)
    none = ~fits.any(axis=1)
    if none.any():
        side = shapes[none].min(axis=1)
        boxes[none] = np.stack([(shapes[none, 0] - side) // 2, (shapes[none, 1] - side) // 2, side, side], axis=1)
    return boxes
