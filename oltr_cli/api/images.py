"""Images as a program has them: paths, Pillow images and arrays, checked before anything is decoded."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oltr_cli.errors import UsageProblem
from oltr_cli.inference.image_paths import Source, source_at

ImageLike = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]

_WANTED = "uint8 (H, W, 3) or (H, W)"


def sources(images: Iterable[ImageLike]) -> Iterator[Source]:
    """One source for each image, in order; those that are no file are named ``images[0]`` and so on.

    A list is checked as a whole before the first source is given; anything else image by image.

    Raises:
        UsageProblem: ``images`` is one image and not a list; or an item is none, whose position is in the message.
    """
    single = isinstance(images, str | bytes | os.PathLike | Image.Image)
    if single or (isinstance(images, np.ndarray) and _is_one(images)):
        raise UsageProblem(f"images: {_told(images)} is not a list of images; put one image into a list: [image]")
    if not isinstance(images, Iterable) or isinstance(images, dict | set | frozenset):
        raise UsageProblem(f"images: {_told(images)} is not a list of images")
    if isinstance(images, list | tuple | np.ndarray):
        for position, one in enumerate(images):
            _check(one, position)
    return (_source(one, position) for position, one in enumerate(images))


def _is_one(array: NDArray[Any]) -> bool:
    """Whether it is one image, or one of something else, and not a batch or an array of paths."""
    return array.ndim == 0 or (array.dtype.kind in "biufc" and array.ndim != 4)


def _check(one: Any, position: int) -> None:
    """Refuse what is no image, by its type, shape and dtype."""
    if isinstance(one, str | os.PathLike | Image.Image):
        if isinstance(one, os.PathLike) and isinstance(os.fspath(one), bytes):
            raise UsageProblem(f"images[{position}]: a path of bytes; use os.fsdecode")
        if isinstance(one, Image.Image) and 0 in one.size:
            raise UsageProblem(f"images[{position}]: a Pillow image of {one.width} × {one.height} has no pixels")
        return
    if not isinstance(one, np.ndarray):
        raise UsageProblem(
            f"images[{position}]: {_told(one)} is not an image; give a path, a Pillow image or an array, {_WANTED}"
        )
    if isinstance(one, np.ma.MaskedArray):
        raise UsageProblem(f"images[{position}]: a masked array is not an image; give it without: array.filled(255)")
    if one.dtype != np.uint8 or one.ndim not in (2, 3) or one.shape[2:] not in ((), (3,)) or not one.size:
        raise UsageProblem(f"images[{position}]: {_told(one)} is not an image; arrays are {_WANTED}{_remedy(one)}")


def _source(one: ImageLike, position: int) -> Source:
    _check(one, position)
    if isinstance(one, np.ndarray):
        pixels = np.asarray(one)  # np.repeat of a np.matrix writes beyond its memory
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        return Source(f"images[{position}]", image=pixels)
    if isinstance(one, Image.Image):
        return Source(f"images[{position}]", image=one)
    return source_at(os.fspath(one))


def _told(value: Any) -> str:
    """What ``value`` is: its type, and of an array dtype and shape."""
    name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return name if shape is None or dtype is None else f"{name} of {dtype} {tuple(shape)}"


def _remedy(array: NDArray[Any]) -> str:
    """How to make an image of a wrong array, where its shape or dtype tells."""
    if not array.size:
        return ""
    if array.ndim == 4:
        return "; give each image of a batch by itself: [*batch]"
    if array.ndim == 3 and array.shape[2] == 4:
        return "; give RGBA as Image.fromarray(array)"
    if array.ndim == 3 and array.shape[2] == 1:
        return "; drop the last axis: array[..., 0]"
    if array.ndim == 3 and array.shape[0] == 1:
        return "; drop the first axis: array[0]"
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        return "; move the channels to the end: array.transpose(1, 2, 0)"
    if array.dtype.kind == "f":
        return "; of values from 0 to 1: (255 * array).round().astype('uint8')"
    return ""
