"""One shard of a store: decoded images one after the other in a file, and an index that is written last.

``NAME.pixels`` has the images as uint8 (H, W, 3), row by row. ``NAME.npz`` says of each image where it is, its size,
the CRC-32 of its pixels, and size and modification time of the file it came from; of an undecodable file, why.
A shard without an index does not exist: whatever kills the process that writes it, nothing incomplete is read.
"""

import hashlib
import mmap
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.files import write_atomically
from oltr_cli.data.images import decode_file
from oltr_cli.errors import DataProblem

PIXELS, INDEX = ".pixels", ".npz"
FORMAT = 1  # raise it when other bytes are written for the same image
# Columns of the table in an index, one row per image.
START, HEIGHT, WIDTH, CRC, BYTES, CHANGED = range(6)


@dataclass(frozen=True)
class Shard:
    """One shard, read from its index.

    Attributes:
        names: of its N images, relative to the folder of the dataset.
        table: int64 (N, 6), see the columns above; WIDTH is 0 for a file that cannot be decoded.
        reasons: name → why it cannot be decoded.
    """

    path: Path
    names: list[str]
    table: NDArray[np.int64]
    reasons: dict[str, str]

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """All of its pixels (bytes,), memory-mapped.

        Raises:
            DataProblem: the file is gone or has another length.
        """
        file = self.path.with_suffix(PIXELS)
        try:
            with file.open("rb") as opened:
                if not self.length:
                    return np.empty(0, np.uint8)
                mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DataProblem(f"{file}: cannot be read ({error})") from None
        if len(mapped) != self.length:
            raise DataProblem(f"{file}: has {len(mapped):,} bytes instead of {self.length:,}")
        return np.frombuffer(mapped, np.uint8)

    def __getstate__(self) -> dict[str, object]:
        """Without the mapping: a process that is not forked maps the file itself."""
        return {name: value for name, value in self.__dict__.items() if name != "pixels"}

    @property
    def length(self) -> int:
        """Bytes of its pixels."""
        return int((3 * self.table[:, HEIGHT] * self.table[:, WIDTH]).sum())

    def image(self, row: int) -> NDArray[np.uint8]:
        """Image ``row`` as uint8 (H, W, 3), a view of the file; it is not checked."""
        start, height, width = self.table[row, : WIDTH + 1].tolist()
        return self.pixels[start : start + 3 * height * width].reshape(height, width, 3)

    def is_whole(self, row: int) -> bool:
        """Whether the pixels of image ``row`` are those that were written."""
        return zlib.crc32(self.image(row).data) == self.table[row, CRC]

    def remove(self) -> bool:
        """Remove both files, the index first; False if the folder cannot be written."""
        return remove_shard(self.path)


def remove_shard(index: Path) -> bool:
    """Remove the shard whose index is this file, the index first; False if the folder cannot be written."""
    try:
        for suffix in (INDEX, PIXELS):
            index.with_suffix(suffix).unlink(missing_ok=True)
    except OSError:
        return False
    return True


def read_shard(index: Path) -> Shard | None:
    """The shard whose index is this file; None if the index is damaged or its pixels do not have the right length."""
    try:
        with np.load(index, allow_pickle=False) as file:
            names = bytes(file["names"]).decode().split("\n")
            reasons = bytes(file["reasons"]).decode().split("\n")
            table = file["table"]
        if table.dtype != np.int64 or table.shape != (len(names), 6):
            return None
        undecodable = [name for name, width in zip(names, table[:, WIDTH], strict=True) if not width]
        shard = Shard(index, names, table, dict(zip(undecodable, reasons, strict=False)))
        return shard if index.with_suffix(PIXELS).stat().st_size == shard.length else None
    except Exception:  # damaged files make zipfile, zlib and numpy's header reader raise many kinds of errors
        return None


def write_shard(folder: Path, root: Path, names: Sequence[str], side: int) -> Path:
    """Decode ``names`` below ``root``, shrink them to a shorter side of ``side``, and write them as one shard.

    Returns:
        its index.
    Raises:
        OltrError: the disk is full or cannot be written.
    """
    from oltr_cli.data.feed.transforms import shrunk

    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    index = folder / f"{digest}{INDEX}"
    table = np.zeros((len(names), 6), np.int64)
    reasons: list[str] = []

    def write_pixels(file: IO[bytes]) -> None:
        start = 0
        reasons.clear()
        for row, name in enumerate(names):
            path = root / name
            try:
                state = path.stat()
                table[row, BYTES:] = state.st_size, state.st_mtime_ns
                pixels = np.ascontiguousarray(shrunk(decode_file(path), side).permute(1, 2, 0).numpy())
            except (DataProblem, OSError) as problem:
                reasons.append(" ".join(str(problem).split()))
                table[row, START:BYTES] = start, 0, 0, 0
                continue
            table[row, START:BYTES] = start, *pixels.shape[:2], zlib.crc32(pixels.data)
            file.write(pixels.data)
            start += pixels.size

    # Of images that have all changed, the shard has the same name: its old index does not fit the new pixels.
    index.unlink(missing_ok=True)
    write_atomically(index.with_suffix(PIXELS), write_pixels)
    texts = {"names": "\n".join(names), "reasons": "\n".join(reasons)}
    arrays: dict[str, Any] = {key: np.frombuffer(text.encode(), np.uint8) for key, text in texts.items()}
    write_atomically(index, lambda file: np.savez_compressed(file, table=table, **arrays))
    return index
