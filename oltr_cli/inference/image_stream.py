"""Images from anywhere, decoded and cropped in worker processes, in order, and never more than a few batches ahead.

Dataset splits are loaded by ``oltr_cli.data.feed.loading``, which knows beforehand what comes. Here paths arrive while
the work goes on (from a pipe, perhaps hours apart), and a file that is not an image must not stop the rest.
"""

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from oltr_cli.base.pool import Workers
from oltr_cli.data.feed.transforms import evaluation_crop
from oltr_cli.data.images import decode_file, decode_image
from oltr_cli.errors import DataProblem, OltrError
from oltr_cli.inference.image_paths import PAUSE, Source
from oltr_cli.recipe.data import DataSpec

TASK = 8  # images that a worker decodes before it hands them over: large photographs take long
NAMES_AHEAD = 1_000_000  # paths that are found ahead of the work, so that the time left can be told


@dataclass(frozen=True)
class ImageBatch:
    """Sources in order, and uint8 crops (n, 3, S, S) of those n among them that have no problem."""

    sources: list[Source]
    crops: NDArray[np.uint8]


class ImageStream:
    """Batches of decoded images; a context manager whose end ends the workers.

    Batches are full, but for the last one and where paths come from an open pipe: when nothing else is left to do and
    the next path has not arrived, the batch is what is there. Nothing waits for a time. While the network works on a
    batch, paths gather for the next ones and ``workers`` processes decode them; with 0 this process does it.

    Attributes:
        found: sources found so far; ``complete`` says whether these are all.
    """

    def __init__(self, sources: Iterable[Source], spec: DataSpec, batch_size: int, workers: int) -> None:
        self.sources, self.spec, self.size, self.workers = sources, spec, batch_size, workers
        self.found, self.complete = 0, False
        self._queue: queue.Queue[Source | Exception | None] = queue.Queue(NAMES_AHEAD)
        self._ended = False
        self._pool = Workers(workers, _one_thread)

    def __enter__(self) -> "ImageStream":
        self._pool.__enter__()  # before there is a thread
        threading.Thread(target=self._find, name="find images", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.__exit__(kind, value, tb)

    def __iter__(self) -> Iterator[ImageBatch]:
        """Batches in the order of the sources.

        Raises:
            OltrError: a worker died.
        """
        ahead = 2 + 4 * self.workers * TASK // self.size if self.workers else 1
        waiting: deque[tuple[list[Source], list[Future[list[_Decoded]]]]] = deque()
        while True:
            # A batch is left unfinished only when there is nothing else to do.
            while not self._ended and len(waiting) < ahead and (not waiting or self._enough()):
                if batch := self._take():
                    waiting.append((batch, self._decode(batch)))
            if not waiting:
                return
            batch, tasks = waiting.popleft()
            try:
                yield _joined([one for task in tasks for one in task.result()], self.spec)
            except BrokenProcessPool:
                raise OltrError(
                    f"a decoding process was killed, perhaps because memory ran out, at or soon after {batch[0].path}; "
                    "try --workers 0"
                ) from None

    def _find(self) -> None:
        """The finding thread: sources into the queue, then None, or what went wrong."""
        end = None
        try:
            for source in self.sources:
                self._queue.put(source)
                self.found += source is not PAUSE
        except Exception as error:  # for the main thread to raise
            end = error
        self.complete = True
        self._queue.put(end)

    def _enough(self) -> bool:
        return self.complete or self._queue.qsize() >= self.size

    def _take(self) -> list[Source]:
        """The next batch: full unless the next source has not arrived; empty at the end."""
        batch: list[Source] = []
        while len(batch) < self.size:
            one = self._queue.get()
            if one is PAUSE:
                # What came after the pause ends it. Nothing else is in the queue while the reader waits.
                if batch and self._queue.empty():
                    break
                continue
            if isinstance(one, Source):
                batch.append(one)
                continue
            self._ended = True
            if one is not None:
                raise one
            break
        return batch

    def _decode(self, batch: list[Source]) -> "list[Future[list[_Decoded]]]":
        return [self._pool.submit(_decoded, batch[i : i + TASK], self.spec) for i in range(0, len(batch), TASK)]


def image_batches(sources: Iterable[Source], spec: DataSpec, size: int, workers: int = 0) -> Iterator[ImageBatch]:
    """The batches that an ``ImageStream`` makes of sources that are all at hand; no thread looks ahead of them.

    Args:
        workers: decoding processes; with 0 this process decodes. Images in memory are decoded here, batch by batch.

    Raises:
        OltrError: a worker died.
    """
    ahead = 2 + 4 * workers * TASK // size if workers else 1
    left = iter(sources)
    with Workers(workers, _one_thread) as pool:
        waiting: deque[tuple[Source, list[Future[list[_Decoded]]]]] = deque()
        while True:
            while len(waiting) < ahead and (batch := [_unpacked(one) for one in islice(left, size)]):
                tasks = [pool.submit(_decoded, batch[i : i + TASK], spec) for i in range(0, len(batch), TASK)]
                waiting.append((batch[0], tasks))
            if not waiting:
                return
            first, tasks = waiting.popleft()
            try:
                decoded = [one for task in tasks for one in task.result()]
            except BrokenProcessPool:
                raise OltrError(
                    "a decoding process was killed, perhaps because memory ran out, at or soon after "
                    f"{first.path}; try workers=0"
                ) from None
            yield _joined(decoded, spec)


_Decoded = tuple[Source, NDArray[np.uint8] | None]


def _joined(decoded: list[_Decoded], spec: DataSpec) -> ImageBatch:
    side = spec.image_size
    crops = [crop for _, crop in decoded if crop is not None]
    stacked = np.stack(crops) if crops else np.empty((0, 3, side, side), np.uint8)
    # Images in memory are let go: a batch may be kept for long.
    return ImageBatch(
        [source if source.image is None else replace(source, image=None) for source, _ in decoded], stacked
    )


def _unpacked(source: Source) -> Source:
    """A Pillow image as its pixels: what ``Image.open`` read of a file does not go to another process unchanged."""
    if not isinstance(source.image, Image.Image):
        return source
    try:
        return replace(source, image=decode_image(source.image))
    except DataProblem as problem:
        return replace(source, problem=str(problem), image=None)


def _decoded(sources: list[Source], spec: DataSpec) -> list[_Decoded]:
    """Each source with its crop (3, S, S), or with its problem and None."""
    return [_one(source, spec) for source in sources]


def _one(source: Source, spec: DataSpec) -> _Decoded:
    if source.problem:
        return source, None
    try:
        return source, evaluation_crop(_pixels(source), spec).numpy()
    except DataProblem as problem:
        return replace(source, problem=str(problem).removeprefix(f"{Path(source.path)}: ")), None
    except (RuntimeError, ValueError, MemoryError) as error:  # of a shape or a size that nothing can be made of
        return replace(source, problem=f"cannot be decoded ({str(error) or type(error).__name__})"), None


def _pixels(source: Source) -> torch.Tensor:
    """uint8 (3, H, W)."""
    image = source.image
    if image is None:
        return decode_file(Path(source.path))
    pixels = decode_image(image) if isinstance(image, Image.Image) else image
    return torch.from_numpy(np.require(pixels, requirements=["C", "W"])).permute(2, 0, 1)


def _one_thread() -> None:
    torch.set_num_threads(1)
