"""Boxes of random crops for a whole batch, keyed by (seed, epoch, step), on any device the same."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.seeding import generator
from oltr_cli.recipe.data import DataSpec

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


ERASED_AREA, ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)  # torchvision's defaults, which are the paper's but for the area


def erased_boxes(side: int, probability: float, key: tuple[int | str, ...], share: slice) -> Boxes:
    """Random erasing (Zhong et al. 2020) of images of ``side`` pixels in rows ``share`` of a batch.

    Of ten tries the first that fits is taken.

    Returns:
        boxes, of no height or width in images that stay whole.
    """
    drawn = generator(*key).random((share.stop, 1 + 4 * TRIES))[share]
    erased, draws = drawn[:, 0] < probability, drawn[:, 1:].reshape(-1, TRIES, 4)
    low, high = ERASED_AREA
    area = side**2 * (low + (high - low) * draws[..., 0])
    low, high = np.log(ERASED_RATIO)
    ratio = np.exp(low + (high - low) * draws[..., 1])
    h, w = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))  # (B, TRIES)
    fits = (h < side) & (w < side)
    first, row = fits.argmax(axis=1), np.arange(len(fits))
    h, w = h[row, first], w[row, first]
    top = np.floor(draws[row, first, 2] * (side - h + 1))
    left = np.floor(draws[row, first, 3] * (side - w + 1))
    boxes = np.stack([top, left, h, w], axis=1).astype(np.int64)
    boxes[~(erased & fits.any(axis=1))] = 0
    return boxes


@dataclass(frozen=True)
class Windows:
    """Random crops of padded images (``data.crop_padding``): which square of the resized image, or beside it, is shown.

    Attributes:
        sizes: (B, 2), height and width to which the images are resized; the shorter one is ``eval_resize``.
        corners: (B, 2), row and column of the square's corner in the resized image, from −padding on.
    """

    sizes: NDArray[np.int64]
    corners: NDArray[np.int64]


def padded_windows(
    shapes: NDArray[np.int64], spec: DataSpec, key: tuple[int | str, ...], rows: int, share: slice
) -> Windows:
    """A random square of ``image_size`` in each image of ``shapes`` (B, 2), resized as for evaluation and padded.

    Args:
        key, rows, share: see ``crop_boxes``.
    """
    assert spec.crop_padding is not None
    draws = generator(*key).random((rows, 2))[share]
    # As torchvision resizes: the shorter side to eval_resize, the longer one in proportion, rounded down.
    sizes = spec.eval_resize * shapes // shapes.min(axis=1, keepdims=True)
    places = sizes + 2 * spec.crop_padding - spec.image_size + 1
    return Windows(sizes, np.floor(draws * places).astype(np.int64) - spec.crop_padding)
