"""Images from anywhere, decoded and cropped in worker processes, in order, and never more than a few batches ahead.

Dataset splits are loaded by ``oltr_cli.data.feed.loading``, which knows beforehand what comes. Here paths arrive while
the work goes on (from a pipe, perhaps hours apart), and a file that is not an image must not stop the rest.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.pool import Workers
from oltr_cli.errors import OltrError
from oltr_cli.inference.decoding import Part, decoded, one_thread, unpacked
from oltr_cli.inference.image_paths import PAUSE, Source
from oltr_cli.recipe.data import DataSpec

TASK = 8  # images that a worker decodes before it hands them over: large photographs take long
SMALL_TASK = 32  # of small images, where handing over costs as much as decoding
NAMES_AHEAD = 1_000_000  # paths that are found ahead of the work, so that the time left can be told

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ImageBatch:
    """Sources in order, and uint8 crops (n, 3, S, S), channels last, of those n among them that have no problem."""

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
        self._pool = Workers(workers, one_thread)
        self._lanes: ThreadPoolExecutor | None = None
        self._task = TASK

    def __enter__(self) -> "ImageStream":
        self._pool.__enter__()  # before there is a thread
        threading.Thread(target=self._find, name="find images", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.__exit__(kind, value, tb)
        if self._lanes is not None:
            self._lanes.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[ImageBatch]:
        """Batches in the order of the sources.

        Raises:
            OltrError: a worker died.
        """
        return (batch for _, batch in self.through(_nothing))

    def through(self, work: Callable[[ImageBatch], Answer], lanes: int = 0) -> Iterator[tuple[Answer, ImageBatch]]:
        """What ``work`` makes of each batch, and the batch, in the order of the sources.

        Args:
            lanes: threads that work, each on a batch of its own; with 0 the caller's does. To be called once.

        Raises:
            OltrError: a worker died.
        """
        if lanes:
            self._lanes = ThreadPoolExecutor(lanes, thread_name_prefix="lane")
        ahead = lanes + (2 + 4 * self.workers * TASK // self.size if self.workers else 1)
        waiting: deque[tuple[Source, Callable[[], tuple[Answer, ImageBatch]]]] = deque()
        while True:
            # A batch is left unfinished only when there is nothing else to do.
            while not self._ended and len(waiting) < ahead and (not waiting or self._enough()):
                if sources := self._take():
                    finish = partial(self._finished, sources, self._decode(sources), work)
                    waiting.append((sources[0], self._lanes.submit(finish).result if self._lanes else finish))
            if not waiting:
                return
            first, finished = waiting.popleft()
            try:
                yield finished()
            except BrokenProcessPool:
                raise OltrError(
                    f"a decoding process was killed, perhaps because memory ran out, at or soon after {first.path}; "
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

    def _decode(self, batch: list[Source]) -> list[Future[Part]]:
        return _submitted(self._pool, batch, self.spec, self._task)

    def _finished(
        self, sources: list[Source], tasks: list[Future[Part]], work: Callable[[ImageBatch], Answer]
    ) -> tuple[Answer, ImageBatch]:
        parts = [task.result() for task in tasks]
        self._task = _next_task(parts)
        batch = _joined(sources, parts)
        return work(batch), batch


def image_batches(sources: Iterable[Source], spec: DataSpec, size: int, workers: int = 0) -> Iterator[ImageBatch]:
    """The batches that an ``ImageStream`` makes of sources that are all at hand; no thread looks ahead of them.

    Args:
        workers: decoding processes; with 0 this process decodes. Images in memory are decoded here, batch by batch.

    Raises:
        OltrError: a worker died.
    """
    ahead = 2 + 4 * workers * TASK // size if workers else 1
    left, task = iter(sources), TASK
    with Workers(workers, one_thread) as pool:
        waiting: deque[tuple[list[Source], list[Future[Part]]]] = deque()
        while True:
            while len(waiting) < ahead and (batch := [unpacked(one) for one in islice(left, size)]):
                waiting.append((batch, _submitted(pool, batch, spec, task)))
            if not waiting:
                return
            batch, tasks = waiting.popleft()
            try:
                parts = [one.result() for one in tasks]
            except BrokenProcessPool:
                raise OltrError(
                    "a decoding process was killed, perhaps because memory ran out, at or soon after "
                    f"{batch[0].path}; try workers=0"
                ) from None
            task = _next_task(parts)
            yield _joined(batch, parts)


def _submitted(pool: Workers, batch: list[Source], spec: DataSpec, task: int) -> list[Future[Part]]:
    return [pool.submit(decoded, batch[i : i + task], spec) for i in range(0, len(batch), task)]


def _next_task(parts: list[Part]) -> int:
    """Images of a task, if the next ones are like these."""
    return SMALL_TASK if all(small for _, _, small in parts) else TASK


def _joined(sources: list[Source], parts: list[Part]) -> ImageBatch:
    problems = [problem for found, _, _ in parts for problem in found]
    crops = np.concatenate([crops for _, crops, _ in parts]).transpose(0, 3, 1, 2)
    # Images in memory are let go: a batch may be kept for long.
    told = [
        one if one.image is None and one.problem == problem else replace(one, problem=problem, image=None)
        for one, problem in zip(sources, problems, strict=True)
    ]
    return ImageBatch(told, crops)


def _nothing(batch: ImageBatch) -> None:
    """The work of a stream whose batches are all that is wanted."""
