"""Filling a store: what is missing is decoded by several processes, a shard at a time.

A shard is complete or absent, so a build that was stopped goes on where it was. Images whose file has changed, or that
are new in a list, are decoded into new shards; the others are left alone.
"""

import shutil
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oltr_cli.base.display import Display
from oltr_cli.base.pool import Workers
from oltr_cli.base.signals import StopRequest
from oltr_cli.base.text import amount, counted
from oltr_cli.data.store.folder import StoreFolder
from oltr_cli.data.store.shards import (
    BYTES,
    CHANGED,
    INDEX,
    PIXELS,
    WIDTH,
    Shard,
    read_shard,
    remove_shard,
    write_shard,
)
from oltr_cli.errors import OltrError, Stopped

SMALLEST, LARGEST = 64, 1024  # images of a shard
MOST_SHARDS = 400  # of a large dataset, whose shards are larger: each keeps a file open
NO_FILE = 0, 0  # the state of a file that is not there
SAMPLED = 200  # images whose headers tell how much disk a build will need


@dataclass(frozen=True)
class Places:
    """Where N images are: rows ``row`` (N,) of the shards ``shards[which]``, ``which`` (N,); −1 if they are missing."""

    shards: list[Shard]
    which: NDArray[np.int64]
    row: NDArray[np.int64]

    def of(self, images: slice) -> "Places":
        """Those of some of the images."""
        return Places(self.shards, self.which[images], self.row[images])

    def joined(self, other: "Places") -> "Places":
        """Those of both, of images in the same store."""
        return Places(self.shards, np.concatenate([self.which, other.which]), np.concatenate([self.row, other.row]))

    def column(self, column: int) -> NDArray[np.int64]:
        """A column of the shards' tables, for each image (N,)."""
        values = np.zeros(len(self.row), np.int64)
        there = self.which >= 0
        if there.any():
            firsts = np.cumsum([0, *(len(shard.table) for shard in self.shards)])
            every = np.concatenate([shard.table[:, column] for shard in self.shards])
            values[there] = every[firsts[self.which[there]] + self.row[there]]
        return values


def build_store(
    store: StoreFolder, names: Sequence[str], workers: int, display: Display, *, again: bool = False
) -> tuple[Places, int]:
    """Put the images ``names`` (relative to the store's root) into the store, if they are not there.

    Args:
        again: try those once more that could not be decoded, perhaps because their files could not be read.
    Returns:
        where each of them is, and how many were decoded for it.
    Raises:
        OltrError: not enough disk, the disk is full, or a process was killed.
        Stopped: after SIGINT or SIGTERM; what is complete stays.
    """
    places, missing = _compare(store, names, again)
    if not missing:
        with suppress(OltrError):  # a store that is complete may be in a folder that cannot be written
            store.create()
        return places, 0
    waiting = f"another process is building {store.path}; waiting for it (Ctrl-C stops only the waiting)"
    with store.lock().held(lambda: display.warn(waiting), poll_interval=0.5):
        _tidy(store)
        places, missing = _compare(store, names, again)
        decoded = len(missing)
        if missing:
            _check_space(store, missing, display)
            _write(store, missing, workers, display)
    places, missing = _compare(store, names)
    if missing:
        raise OltrError(
            f"{store.root}: {counted(len(missing), 'image')} changed while the store was built, such as {missing[0]}; "
            "start again"
        )
    return places, decoded


def _compare(store: StoreFolder, names: Sequence[str], again: bool = False) -> tuple[Places, list[str]]:
    """Where each image is in the store, and those that are not there or whose file is another one now.

    Args:
        again: undecodable ones are missing, too.
    """
    shards = store.shards()
    states = {name: file_state(store.root / name) for name in names}
    there: dict[str, tuple[tuple[bool, bool], int, int]] = {}
    for number, shard in enumerate(shards):
        for row, (name, line) in enumerate(zip(shard.names, shard.table.tolist(), strict=True)):
            # Of a file that has changed there are two images: the one of the file as it is now counts. So are there
            # of one that could be decoded at last.
            use = tuple(line[BYTES:]) == states.get(name), line[WIDTH] > 0
            if name not in there or use > there[name][0]:
                there[name] = use, number, row
    found = np.array([there[name][1:] if name in there else (-1, -1) for name in names], np.int64).reshape(-1, 2)
    places = Places(shards, *found.T)
    recorded = np.stack([places.column(BYTES), places.column(CHANGED)], axis=1)
    current = np.array([states[name] for name in names], np.int64).reshape(-1, 2)
    stale = (found[:, 0] < 0) | (recorded != current).any(axis=1)
    if again:
        stale |= places.column(WIDTH) == 0
    return places, list(dict.fromkeys(names[index] for index in np.flatnonzero(stale).tolist()))


def file_state(path: Path) -> tuple[int, int]:
    """Size and modification time; zeros if there is no such file."""
    try:
        state = path.stat()
    except OSError:
        return NO_FILE
    return state.st_size, state.st_mtime_ns


def _tidy(store: StoreFolder) -> None:
    """Remove what no image is read from: what a killed process left, and shards damaged or with old images alone."""
    for file in store.path.iterdir():
        stray = file.suffix == PIXELS and not file.with_suffix(INDEX).exists()
        if stray or (file.name.startswith(".") and file.name.endswith(".tmp")):
            file.unlink(missing_ok=True)
    for index in store.indices():
        shard = read_shard(index)
        if shard is None or _is_old(store, shard):
            remove_shard(index)


def _is_old(store: StoreFolder, shard: Shard) -> bool:
    """Whether each of its images is from a file that is another one now; a file that is away may come back."""
    recorded = map(tuple, shard.table[:, BYTES:].tolist())
    states = (file_state(store.root / name) for name in shard.names)
    return all(state not in (then, NO_FILE) for then, state in zip(recorded, states, strict=True))


def _check_space(store: StoreFolder, missing: Sequence[str], display: Display) -> None:
    """Say how much disk the images will take, and refuse if there is not so much."""
    needed = _bytes_needed(store, missing)
    free = shutil.disk_usage(store.path).free
    display.say(
        f"storing {counted(len(missing), 'image')} with a shorter side of up to {store.side} px in {store.path}: about "
        f"{amount(needed)} of {amount(free)} free"
    )
    if needed > 0.98 * free:
        raise OltrError(
            f"{store.path}: the store needs about {amount(needed)} and {amount(free)} are free; set OLTR_CACHE to a "
            "folder on a larger disk, use a smaller --side, or free some: oltr data store ls"
        )


def still_needed(store: StoreFolder, names: Sequence[str]) -> tuple[int, int]:
    """How many of the images ``names`` the store lacks, and about how many bytes they will take; writes nothing."""
    missing = _compare(store, names)[1]
    return len(missing), _bytes_needed(store, missing) if missing else 0


def _bytes_needed(store: StoreFolder, missing: Sequence[str]) -> int:
    """About how many bytes the images will take, from the headers of some."""
    step = max(1, len(missing) // SAMPLED)
    return int(np.mean([_bytes_of(store.root / name, store.side) for name in missing[::step]]) * len(missing))


def _bytes_of(path: Path, side: int) -> int:
    try:
        with Image.open(path) as image:
            width, height = image.size
    except Exception:  # it is reported when it is decoded
        return 0
    scale = min(1.0, side / max(1, min(width, height)))
    return round(3 * width * height * scale * scale)


def _write(store: StoreFolder, missing: Sequence[str], workers: int, display: Display) -> None:
    share = max(SMALLEST, -(-len(missing) // (4 * max(1, workers))))
    size = max(min(LARGEST, share), -(-len(missing) // MOST_SHARDS))
    pieces = [missing[start : start + size] for start in range(0, len(missing), size)]
    calls = [(store.path, store.root, piece, store.side) for piece in pieces]
    done = 0
    with (
        StopRequest() as stop,
        Workers(workers if len(pieces) > 1 else 0, _one_thread) as pool,
        display.bar("decoding", len(missing)) as bar,
    ):
        try:
            for number, _ in pool.finished(write_shard, calls):
                done += len(pieces[number])
                bar.advance(len(pieces[number]))
                _leave_if(stop, done, len(missing))
        except BrokenProcessPool:
            _leave_if(stop, done, len(missing))  # SIGTERM may reach the whole group
            raise OltrError(
                f"{store.path}: a process that decoded was killed, perhaps because memory ran out; what is complete "
                "stays, and the same command goes on; try --workers 1"
            ) from None


def _leave_if(stop: StopRequest, done: int, total: int) -> None:
    if stop.signal_number is not None:
        raise Stopped(f"stopped with {done:,} of {total:,} images stored; the same command goes on", stop.signal_number)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
