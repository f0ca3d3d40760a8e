"""Drawn images kept on disk: one folder per dataset, complete or absent, checked whenever it is opened."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.arrays import load_npy
from oltr_cli.base.files import new_folder, read_json, write_json
from oltr_cli.base.locks import Lock
from oltr_cli.data.glyphs import alphabets
from oltr_cli.data.glyphs.drawing import font_files
from oltr_cli.errors import OltrError

Images = dict[str, NDArray[np.uint8]]
Digests = dict[str, str]


def cached(
    cache: Path, key: str, shapes: dict[str, tuple[int, int, int]], draw: Callable[[], Images]
) -> tuple[Images, Digests]:
    """The images that ``draw`` makes, memory-mapped from ``cache`` if they are stored there under ``key``.

    The folder's name is a hash of ``key`` and of the font files, since another matplotlib may ship other outlines.
    Processes that need the same folder wait for the one that draws; a damaged folder is drawn again; if nothing can be
    written, the images stay in memory.

    Args:
        shapes: shape of each split's images, checked against what is read.
    Returns:
        Images by split, and the SHA-256 of their pixels by split.
    """
    folder = cache / f"glyphs-{_hash(key)}"
    if found := _read(folder, shapes):
        return found
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = Lock(f"{folder}.lock")
        lock.acquire()
    except (OSError, NotImplementedError):  # read-only, or a file system without locks
        return _with_digests(draw())
    try:
        if found := _read(folder, shapes):  # another process drew it while this one waited
            return found
        images, digests = _with_digests(draw())
        try:
            _write(folder, images, digests)
        except (OSError, OltrError):  # a full disk
            return images, digests
        return _read(folder, shapes) or (images, digests)
    finally:
        lock.release()


def _hash(key: str) -> str:
    digest = hashlib.sha256(key.encode())
    faces = sorted({*alphabets.TRAIN_FACES, *alphabets.VAL_FACES, *alphabets.TEST_FACES})
    for file in font_files(tuple(faces)):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _with_digests(images: Images) -> tuple[Images, Digests]:
    return images, {
        split: hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() for split, array in images.items()
    }


def _read(folder: Path, shapes: dict[str, tuple[int, int, int]]) -> tuple[Images, Digests] | None:
    """What ``_write`` stored, or None if anything about it has changed."""
    manifest = read_json(folder / "manifest.json")
    images: Images = {}
    for split, shape in shapes.items():
        try:
            array = load_npy(folder / f"{split}.npy", "r")
        except (OSError, ValueError):
            return None
        if array.shape != shape or array.dtype != np.uint8:
            return None
        images[split] = array
    _, digests = _with_digests(images)
    return (images, digests) if manifest == {"pixels": digests} else None


def _write(folder: Path, images: Images, digests: Digests) -> None:
    """Put images and digests into ``folder``; the caller holds the lock."""
    with new_folder(folder) as new:
        for split, array in images.items():
            with (new / f"{split}.npy").open("wb") as file:
                np.save(file, array, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        write_json(new / "manifest.json", {"pixels": digests})
