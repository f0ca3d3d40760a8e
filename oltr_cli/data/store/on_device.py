"""Training batches from a store, cropped on the device.

Where the device has room, the pixels of the training split lie in its memory. Otherwise threads copy the boxes of the
next batches into pinned memory, from where they stream to the device while it computes.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oltr_cli.data.feed.boxes import Windows, crop_boxes, padded_windows
from oltr_cli.data.feed.device_crops import Placed, crop_batch
from oltr_cli.data.feed.loading import Batch, EpochBatches, none_left, rank_share, replacements
from oltr_cli.data.store.shards import START
from oltr_cli.data.store.split import StoredSplit
from oltr_cli.errors import DataProblem
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.train import TrainSpec

AHEAD = 3  # batches in preparation
SHARE = 0.5  # of the device's free memory that pixels may take


@dataclass(frozen=True)
class _Drawn:
    """One step: which images (B,), their boxes (B, 4), and what is wanted of these if that is not all."""

    indices: NDArray[np.int64]
    shown: NDArray[np.int64]  # the same, but another of its class for an image that cannot be decoded
    boxes: NDArray[np.int64]
    windows: Windows | None = None


class DeviceLoader:
    """As ``TrainingLoader``: batches of the training split, epoch by epoch, starting at any step.

    Args:
        resident: keep all pixels on the device; None: if it has room.
    """

    def __init__(
        self,
        split: StoredSplit,
        data: DataSpec,
        train: TrainSpec,
        seed: int,
        device: torch.device,
        workers: int,
        rank: int = 0,
        world: int = 1,
        resident: bool | None = None,
    ) -> None:
        self.split, self.data, self.seed, self.device = split, data, seed, device
        self.bicubic = data.interpolation == "bicubic"
        self.sampler = EpochBatches(split, train, seed, rank, world)
        self.steps = self.sampler.steps_per_epoch
        self.share = rank_share(self.sampler.rows, rank, world)
        self.shown, self.failed = _replacements(split, seed)
        self.shapes = split.shapes[self.shown]
        if resident is None:
            resident = 3 * int(split.shapes.prod(axis=1).sum()) < SHARE * _free(device)
        self.pixels = _Resident(split, device, max(1, workers)) if resident else None
        self.threads = max(1, workers)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of ``epoch`` (from 0), skipping the first ``first_step``."""
        self.sampler.epoch, self.sampler.first_step = epoch, first_step
        labels = self.split.labels
        for drawn, images in self._resident() if self.pixels else self._streamed():
            failed = [index for index in drawn.indices.tolist() if index in self.failed] if self.failed else []
            replaced = list(dict.fromkeys(bad for index in failed for bad in self.failed[index]))
            where = torch.from_numpy(labels[drawn.indices])
            yield Batch(images, where, torch.from_numpy(drawn.indices), replaced)

    def _drawn(self) -> Iterator[_Drawn]:
        batch = self.sampler.rows, self.share
        for step, indices in self.sampler.steps():
            shapes = self.shapes[indices]
            if self.data.crop_padding is None:
                boxes = crop_boxes(shapes, self.data, (self.seed, "boxes", self.sampler.epoch, step), *batch)
                yield _Drawn(indices, self.shown[indices], boxes)
            else:
                key = (self.seed, "windows", self.sampler.epoch, step)
                whole = np.concatenate([np.zeros_like(shapes), shapes], axis=1)
                yield _Drawn(indices, self.shown[indices], whole, padded_windows(shapes, self.data, key, *batch))

    def _resident(self) -> Iterator[tuple[_Drawn, Tensor]]:
        assert self.pixels is not None
        for drawn in self._drawn():
            placed = Placed(
                self.pixels.start[drawn.shown], self.split.shapes[drawn.shown, 1], drawn.boxes, drawn.windows
            )
            yield drawn, crop_batch(self.pixels.pixels, placed, self.data.image_size, self.bicubic)

    def _streamed(self) -> Iterator[tuple[_Drawn, Tensor]]:
        stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        with ThreadPoolExecutor(AHEAD) as ahead, ThreadPoolExecutor(self.threads) as copying:
            waiting: deque[tuple[_Drawn, Future[tuple[Tensor, Placed]]]] = deque()
            for drawn in self._drawn():
                waiting.append((drawn, ahead.submit(self._cut, drawn, copying, stream)))
                if len(waiting) > AHEAD:
                    yield self._arrived(*waiting.popleft(), stream)
            while waiting:
                yield self._arrived(*waiting.popleft(), stream)

    def _cut(
        self, drawn: _Drawn, copying: ThreadPoolExecutor, stream: torch.cuda.Stream | None
    ) -> tuple[Tensor, Placed]:
        """The pixels of the boxes on their way to the device, and their places in them."""
        height, width = drawn.boxes[:, 2:].T
        ends = np.cumsum(3 * height * width)
        start = ends - 3 * height * width
        buffer = torch.empty(int(ends[-1]), dtype=torch.uint8, pin_memory=stream is not None)
        flat = buffer.numpy()

        def copy(row: int) -> None:
            top, left, h, w = drawn.boxes[row].tolist()
            pixels = self.split.pixels(int(drawn.shown[row]))[top : top + h, left : left + w]
            np.copyto(flat[start[row] : ends[row]].reshape(h, w, 3), pixels)

        deque(copying.map(copy, range(len(drawn.boxes))), maxlen=0)
        whole = np.concatenate([np.zeros((len(start), 2), np.int64), drawn.boxes[:, 2:]], axis=1)
        placed = Placed(start, width, whole, drawn.windows)
        if stream is None:
            return buffer.to(self.device), placed
        with torch.cuda.stream(stream):
            return buffer.to(self.device, non_blocking=True), placed

    def _arrived(
        self, drawn: _Drawn, cut: "Future[tuple[Tensor, Placed]]", stream: torch.cuda.Stream | None
    ) -> tuple[_Drawn, Tensor]:
        pixels, placed = cut.result()
        if stream is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(stream)
            pixels.record_stream(current)
        return drawn, crop_batch(pixels, placed, self.data.image_size, self.bicubic)


class _Resident:
    """The pixels of a split in one buffer on the device, and where each image begins, ``start`` (N,)."""

    def __init__(self, split: StoredSplit, device: torch.device, threads: int) -> None:
        places = split.places
        sizes = 3 * split.shapes.prod(axis=1)
        with ThreadPoolExecutor(threads) as pool:  # checks each image, and decodes damaged ones
            decoded = np.flatnonzero(sizes > 0)
            pixels = dict(zip(decoded.tolist(), pool.map(split.pixels, decoded.tolist()), strict=True))
        damaged = {index for index, image in pixels.items() if not split.checked[index]}
        self.start = np.zeros(len(split), np.int64)
        parts: list[tuple[int, NDArray[np.uint8]]] = []
        filled = 0
        for number, shard in enumerate(places.shards):
            here = np.flatnonzero((places.which == number) & (sizes > 0))
            here = here[~np.isin(here, list(damaged))]
            if not len(here):
                continue
            starts = shard.table[places.row[here], START]
            first, end = int(starts.min()), int((starts + sizes[here]).max())
            self.start[here] = filled + starts - first
            parts.append((filled, shard.pixels[first:end]))
            filled += end - first
        for index in sorted(damaged):
            self.start[index] = filled
            parts.append((filled, pixels[index].reshape(-1)))
            filled += int(sizes[index])
        self.pixels = torch.empty(filled, dtype=torch.uint8, device=device)
        for offset, part in parts:
            for first in range(0, len(part), 2**28):
                piece = torch.from_numpy(np.array(part[first : first + 2**28]))
                self.pixels[offset + first : offset + first + len(piece)] = piece.to(device)


def _replacements(split: StoredSplit, seed: int) -> tuple[NDArray[np.int64], dict[int, list[int]]]:
    """What to show for each image (N,), and of undecodable ones all that cannot be decoded on the way there.

    Raises:
        DataProblem: no image of a class can be decoded.
    """
    shown, failed = np.arange(len(split)), {}
    good = split.shapes[:, 1] > 0
    for index in np.flatnonzero(~good).tolist():
        order = replacements(split.labels, seed, index)
        fine = np.flatnonzero(good[order])
        if not len(fine):
            try:
                split.image(index)
            except DataProblem as problem:
                raise none_left(problem, split.labels[index]) from None
        shown[index] = order[fine[0]]
        failed[index] = [index, *order[: fine[0]].tolist()]
    return shown, failed


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
