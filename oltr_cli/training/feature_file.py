"""Features on disk, written block by block, so that a killed extraction goes on where it stopped.

``features.npy`` has a row for each of N images that can be decoded, in order, and zeros after them. ``blocks.jsonl``
has a line for each block of images: the first one, the one after the last, those that were left out, and a digest of
these and of the rows. A line is written after its rows. What does not agree with its digest is not there, and neither
is what follows it.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from oltr_cli.errors import OltrError

ROWS, BLOCKS = "features.npy", "blocks.jsonl"
Shape = tuple[int, int, int, int]


class FeatureFile:
    """The features of the first ``end`` of N images, in ``folder``, which need not exist.

    Attributes:
        shape: (N, C, h, w); ``dtype``: float32 or float16.
        end: images that are done.
        rows: of them, those that could be decoded.
        left_out: indices of the others.
        damaged: whether more was recorded than is whole.
    """

    def __init__(self, folder: Path, shape: Shape, dtype: type[np.floating]) -> None:
        self.folder, self.shape, self.dtype = folder, shape, np.dtype(dtype)
        self.end = self.rows = 0
        self.left_out: list[int] = []
        self.damaged = False
        self._lines: list[bytes] = []
        self._header = _header(shape, self.dtype)
        self._row_bytes = int(np.prod(shape[1:])) * self.dtype.itemsize
        try:
            recorded = (folder / BLOCKS).read_bytes().splitlines(keepends=True)
            with (folder / ROWS).open("rb") as file:
                same = file.read(len(self._header)) == self._header
                whole = sum(1 for line in recorded if same and self._take(line, file))
        except OSError:
            return
        self.damaged = whole < sum(line.endswith(b"\n") for line in recorded)  # a kill may cut the last line

    @property
    def complete(self) -> bool:
        return self.end == self.shape[0] and (self.folder / ROWS).exists()

    def features(self) -> NDArray[np.floating]:
        """The rows (n, C, h, w), n ≤ N, memory-mapped."""
        shape = (self.rows, *self.shape[1:])
        if not self.rows:  # nothing can be mapped
            return np.empty(shape, self.dtype)
        return np.memmap(self.folder / ROWS, self.dtype, "r", len(self._header), shape)

    @contextmanager
    def writing(self) -> Iterator["FeatureFile"]:
        """Let ``append`` add blocks; drops what is not whole. The caller holds a lock.

        Raises:
            OltrError: the disk is full or cannot be written; finished blocks stay.
        """
        rows, blocks = self.folder / ROWS, self.folder / BLOCKS
        try:
            blocks.write_bytes(b"".join(self._lines))
            with rows.open("r+b" if rows.exists() else "w+b") as self._file, blocks.open("ab") as self._blocks:
                self._file.write(self._header)
                self._file.seek(len(self._header) + self.rows * self._row_bytes)
                self._file.truncate()
                yield self
                self._file.truncate(len(self._header) + self.shape[0] * self._row_bytes)
        except OSError as error:
            raise OltrError(f"cannot write {self.folder}: {error}; the same command goes on from here") from error

    def append(self, end: int, indices: NDArray[np.int64], values: NDArray[np.floating]) -> None:
        """Add the images from ``self.end`` up to ``end``: ``values`` (n, C, h, w) of those at ``indices`` (n,)."""
        left_out = np.setdiff1d(np.arange(self.end, end), indices).tolist()
        content = np.ascontiguousarray(values, self.dtype).tobytes()
        self._file.write(content)
        self._file.flush()
        line = json.dumps([self.end, end, left_out, _digest(self.end, end, left_out, content)]).encode() + b"\n"
        self._blocks.write(line)
        self._blocks.flush()
        self._add(line, end, left_out)

    def _take(self, line: bytes, file: IO[bytes]) -> bool:
        """Read the block that ``line`` describes; whether it is the next one and whole."""
        try:
            first, end, left_out, digest = json.loads(line)
            count = end - first - len(left_out)
            if self.damaged or first != self.end or not first < end <= self.shape[0] or count < 0:
                raise ValueError
            content = file.read(count * self._row_bytes)
            if len(content) < count * self._row_bytes or digest != _digest(first, end, left_out, content):
                raise ValueError
        except (ValueError, TypeError, RecursionError):
            self.damaged = True
            return False
        self._add(line, end, left_out)
        return True

    def _add(self, line: bytes, end: int, left_out: list[int]) -> None:
        self._lines.append(line)
        self.rows += end - self.end - len(left_out)
        self.left_out += left_out
        self.end = end


def _digest(first: int, end: int, left_out: list[int], content: bytes) -> str:
    digest = hashlib.sha256(json.dumps([first, end, left_out]).encode())
    digest.update(content)
    return digest.hexdigest()


def _header(shape: Shape, dtype: "np.dtype[Any]") -> bytes:
    header = io.BytesIO()
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, about)
    return header.getvalue()
