"""What a decoding process does: sources to the network's crops, many small images at a time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from oltr_cli.data.feed.transforms import evaluation_crop
from oltr_cli.data.images import decode_image, decode_pixels
from oltr_cli.errors import DataProblem
from oltr_cli.inference.image_paths import Source
from oltr_cli.recipe.data import DataSpec

SMALL = 512 * 512  # pixels of an image: larger ones are cropped as they come, so that only one is in memory
Pixels = Image.Image | NDArray[np.uint8]
Part = tuple[list[str], NDArray[np.uint8], bool]  # of ``decoded``


def decoded(sources: Sequence[Source], spec: DataSpec) -> Part:
    """The problem of each source, "" for none, crops (n, S, S, 3) of the others, and whether all of them are small.

    Small images of one size are resized by one call: for one of 64 px, calling takes longer than resizing. Their pixels
    are those that each would have by itself.
    """
    problems = [source.problem for source in sources]
    side = spec.image_size
    crops = np.empty((len(sources), side, side, 3), np.uint8)
    together: dict[tuple[int, ...], tuple[list[int], list[NDArray[np.uint8]]]] = {}
    small = True
    for i, source in enumerate(sources):
        if source.problem:
            continue
        try:
            pixels = _pixels(source)
            if pixels.shape[0] * pixels.shape[1] > SMALL:
                small = False
                crops[i] = _crops(pixels[None], spec)[0]
                continue
        except (DataProblem, RuntimeError, ValueError, MemoryError) as error:
            problems[i] = _problem(source, error)
            continue
        places, alike = together.setdefault(pixels.shape, ([], []))
        places.append(i)
        alike.append(pixels)
    for places, alike in together.values():
        try:
            crops[places] = _crops(np.stack(alike), spec)
        except (RuntimeError, ValueError, MemoryError) as error:  # of a shape that nothing can be made of
            for i in places:
                problems[i] = _problem(sources[i], error)
    good = [i for i, problem in enumerate(problems) if not problem]
    return problems, crops if len(good) == len(sources) else crops[good], small


def unpacked(source: Source) -> Source:
    """A Pillow image as its pixels: what ``Image.open`` read of a file does not go to another process unchanged."""
    if not isinstance(source.image, Image.Image):
        return source
    try:
        return Source(source.path, image=decode_image(source.image))
    except DataProblem as problem:
        return Source(source.path, str(problem))


def one_thread() -> None:
    """For a process that decodes."""
    torch.set_num_threads(1)


def _pixels(source: Source) -> NDArray[np.uint8]:
    """uint8 (H, W, 3)."""
    image = source.image
    if image is None:
        return decode_pixels(Path(source.path))
    pixels = decode_image(image) if isinstance(image, Image.Image) else image
    return np.require(pixels, requirements=["C", "W"])


def _crops(pixels: NDArray[np.uint8], spec: DataSpec) -> NDArray[np.uint8]:
    """Crops (n, S, S, 3) of images (n, H, W, 3)."""
    return evaluation_crop(torch.from_numpy(pixels).permute(0, 3, 1, 2), spec).permute(0, 2, 3, 1).numpy()


def _problem(source: Source, error: Exception) -> str:
    if isinstance(error, DataProblem):
        return str(error).removeprefix(f"{Path(source.path)}: ")
    return f"cannot be decoded ({str(error) or type(error).__name__})"
