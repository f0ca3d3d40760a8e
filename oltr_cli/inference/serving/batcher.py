"""The thread that has the network: images of all requests wait in one queue, which has an end.

The first image of a batch waits for others at most until the window has passed since it came, and not at all if the
batch is full. While the network works, images gather, so under load batches fill by themselves.
"""

import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from oltr_cli.inference.image_paths import Source
from oltr_cli.inference.image_stream import ImageBatch
from oltr_cli.inference.verdicts import Verdict

Judge = Callable[[ImageBatch, int], list[Verdict]]  # of a batch, with so many classes each


class Overloaded(Exception):
    """There is no room for more images; ``seconds`` until there may be."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"busy; try again in {seconds} s")
        self.seconds = seconds


class Room:
    """So many places, of images or of bytes, taken and given back by any thread."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0
        self._lock = threading.Lock()

    def take(self, places: int) -> bool:
        """Take so many places; False if there are fewer, and none is taken."""
        with self._lock:
            if self.taken + places > self.most:
                return False
            self.taken += places
            return True

    def give_back(self, places: int) -> None:
        with self._lock:
            self.taken -= places


@dataclass(frozen=True)
class _Waiting:
    name: str
    crop: NDArray[np.uint8]
    top_k: int
    answer: "Future[Verdict]" = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """Gives a verdict on each image that is submitted; a context manager whose end answers what waits.

    Args:
        judge: gives the verdicts on a batch; called by one thread only.
        size: most images of a batch; ``window``: seconds that the first waits for others.
        room: most images at a time that are being decoded, wait, or are with the network; see ``reserve``.
    """

    def __init__(self, judge: Judge, size: int, window: float, room: int) -> None:
        self.judge, self.size, self.window, self.room = judge, size, window, Room(room)
        self.judged = self.batches = 0
        self._pace = 0.0  # seconds an image, a moving average
        self._queue: queue.Queue[_Waiting | None] = queue.Queue()  # its end is the room
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)

    def __enter__(self) -> "Batcher":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._queue.put(None)
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread works; False before the start and after the end."""
        return self._thread.is_alive()

    def reserve(self, images: int) -> None:
        """Take room for so many images, before they are decoded; ``self.room.give_back`` ends it.

        Raises:
            Overloaded: there is less.
        """
        if not self.room.take(images):
            raise Overloaded(self.seconds_left)

    @property
    def seconds_left(self) -> int:
        """Until what is reserved now will be done, from 1 to 60."""
        return min(max(1, math.ceil(self.room.taken * self._pace)), 60)

    def submit(self, name: str, crop: NDArray[np.uint8], top_k: int) -> "Future[Verdict]":
        """The verdict to come on one crop (3, S, S), with the ``top_k`` likeliest classes."""
        one = _Waiting(name, crop, top_k)
        self._queue.put(one)
        return one.answer

    def _work(self) -> None:
        while batch := self._gather():
            batch = [one for one in batch if one.answer.set_running_or_notify_cancel()]
            if not batch:
                continue
            started = time.monotonic()
            images = ImageBatch([Source(one.name) for one in batch], np.stack([one.crop for one in batch]))
            try:
                found = self.judge(images, max(one.top_k for one in batch))
            except Exception as error:  # a device out of memory: these images fail, and the next batch is tried
                for one in batch:
                    one.answer.set_exception(error)
                continue
            for one, verdict in zip(batch, found, strict=True):
                one.answer.set_result(verdict)
            self._pace += (1 if not self._pace else 0.2) * ((time.monotonic() - started) / len(batch) - self._pace)
            self.judged += len(batch)
            self.batches += 1

    def _gather(self) -> list[_Waiting]:
        """The next batch; empty at the end."""
        batch: list[_Waiting] = []
        while len(batch) < self.size:
            left = batch[0].arrived + self.window - time.monotonic() if batch else None
            try:
                one = self._queue.get(timeout=left) if left is None or left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if one is None:
                self._queue.put(None)  # for the next call, after what waits
                break
            batch.append(one)
        return batch
