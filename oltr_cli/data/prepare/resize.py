"""A folder of images resized once and kept as PNG: resumable, and never mixed with images of another origin."""

import hashlib
import os
from pathlib import Path

from PIL import Image, ImageOps

from oltr_cli.base.display import Display
from oltr_cli.base.files import read_json, write_json
from oltr_cli.base.text import counted
from oltr_cli.data.images import decode_pixels
from oltr_cli.errors import DataProblem, OltrError


def resize_images(
    sources: dict[str, Path], folder: Path, side: int, resampling: Image.Resampling, display: Display
) -> int:
    """Write what is missing in ``folder``: shorter side to ``side``, the middle of the longer one.

    ``folder/origin.json`` records which files (by name and size) the images were made from, and how.

    Args:
        sources: path of each PNG below ``folder`` → the file it is made of.
        resampling: the filter; Pillow's antialias.
    Returns:
        How many images were written.
    Raises:
        DataProblem: ``folder`` holds other images, or sources cannot be decoded (the others are written).
        OltrError: the disk is full or the folder cannot be written.
    """
    listed = "".join(f"{name} {path.stat().st_size}\n" for name, path in sources.items())
    origin = {"sources": hashlib.sha256(listed.encode()).hexdigest(), "side": side, "filter": resampling.name.lower()}
    if not folder.is_dir() or not any(folder.iterdir()):
        write_json(folder / "origin.json", origin)
    elif read_json(folder / "origin.json") != origin:
        raise DataProblem(f"{folder}: holds images that were made from other sources; delete it and its lists first")
    missing = [name for name in sources if not is_written(folder / name)]
    problems: list[DataProblem] = []
    with display.bar(f"resize to {side}×{side}", len(missing)) as bar:
        for name in missing:
            try:
                pixels = decode_pixels(sources[name])
            except DataProblem as problem:
                problems.append(problem)
            else:
                save_png(ImageOps.fit(Image.fromarray(pixels), (side, side), resampling), folder / name)
            bar.advance()
    if problems:
        raise DataProblem(f"{len(problems):,} of {counted(len(sources), 'image')} damaged, the first: {problems[0]}")
    return len(missing)


def is_written(path: Path) -> bool:
    """Whether ``save_png`` wrote it: a power failure may leave a name without its content."""
    return path.is_file() and path.stat().st_size > 0


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG in one step. Not flushed to disk one by one: that would take minutes for 60,000 images.

    Raises:
        OltrError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(temporary, "PNG")
        temporary.replace(path)
    except OSError as error:
        raise OltrError(
            f"cannot write {path}: {error.strerror or error}; the same command resumes from here"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
