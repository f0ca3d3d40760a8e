"""Batches of opened datasets on their way to the device.

Workers decode and crop; a batch arrives as uint8 (B, C, S, S). The keys that the sampler passes to a worker contain the
epoch and the position in it, so a crop depends neither on the worker nor on what came before.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from oltr_cli.base.seeding import generator
from oltr_cli.base.signals import ignore_stopping
from oltr_cli.data.feed.boxes import crop_boxes, padded_windows
from oltr_cli.data.feed.opening import Labelled, Split, remedy
from oltr_cli.data.feed.sampling import (
    ClassAware,
    Weighted,
    instance_balanced,
    outlier_batches,
    spread,
    steps_per_epoch,
)
from oltr_cli.data.feed.transforms import box_crop, evaluation_crop, padded_crop, rand_augmented, shrunk, training_crop
from oltr_cli.errors import DataProblem
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.train import TrainSpec


@dataclass(frozen=True)
class Batch:
    """uint8 images (B, C, S, S), labels (B,), indices (B,) into the split, and the indices that failed to decode.

    ``problem`` is set instead of raised in a worker, whose exceptions would arrive with a traceback in their text.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    failed: list[int]
    problem: str = ""

    def pin_memory(self) -> "Batch":
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.indices, self.failed, self.problem)


_NOTHING = torch.empty(0)


Key = tuple[int, int, int]  # epoch, position in the epoch, index into the split


class _TrainingImages(Dataset):
    """Crops of training images; one that cannot be decoded is replaced by another of its class, by seed.

    ``rows``: of a whole batch, of which a process may get a part.
    """

    def __init__(self, split: Split, spec: DataSpec, seed: int, rows: int) -> None:
        self.split, self.spec, self.seed, self.rows = split, spec, seed, rows

    def __getitems__(self, keys: list[Key]) -> Batch:
        failed: list[int] = []
        try:
            crops = self._crops(keys, failed)
        except DataProblem as problem:
            return Batch(_NOTHING, _NOTHING, _NOTHING, failed, str(problem))
        crops = [
            rand_augmented(crop, self.spec, (self.seed, "rand_augment", epoch, place))
            for crop, (epoch, place, _) in zip(crops, keys, strict=True)
        ]
        indices = torch.tensor([index for _, _, index in keys])
        labels = torch.from_numpy(self.split.labels[indices.numpy()])
        return Batch(torch.stack(crops), labels, indices, failed)

    def _crops(self, keys: list[Key], failed: list[int]) -> list[torch.Tensor]:
        if self.spec.store_side is None and self.spec.crop_padding is None:
            return [
                training_crop(self._image(index, failed), self.spec, generator(self.seed, "crop", epoch, place))
                for epoch, place, index in keys
            ]
        images = [shrunk(self._image(index, failed), self.spec.store_side) for _, _, index in keys]
        epoch, place, _ = keys[0]
        step, first = divmod(place, self.rows)
        shapes = np.array([image.shape[-2:] for image in images])
        share = slice(first, first + len(keys))
        if self.spec.crop_padding is not None:
            windows = padded_windows(shapes, self.spec, (self.seed, "windows", epoch, step), self.rows, share)
            corners = windows.corners.tolist()
            return [padded_crop(image, corner, self.spec) for image, corner in zip(images, corners, strict=True)]
        boxes = crop_boxes(shapes, self.spec, (self.seed, "boxes", epoch, step), self.rows, share)
        return [box_crop(image, box, self.spec) for image, box in zip(images, boxes.tolist(), strict=True)]

    def _image(self, index: int, failed: list[int]) -> torch.Tensor:
        try:
            return self.split.image(index)
        except DataProblem as problem:
            failed.append(index)
            for other in replacements(self.split.labels, self.seed, index):
                try:
                    return self.split.image(int(other))
                except DataProblem:
                    failed.append(int(other))
            raise none_left(problem, self.split.labels[index]) from None


def replacements(labels: NDArray[np.int64], seed: int, index: int) -> NDArray[np.int64]:
    """The images of the class of ``index``, in the order in which they are tried where it cannot be decoded."""
    return generator(seed, "replacement", index).permutation(np.flatnonzero(labels == labels[index]))


def none_left(problem: DataProblem, label: int) -> DataProblem:
    """The error about an image that cannot be decoded, nor can any image that could replace it."""
    other = "outlier image" if label < 0 else f"image of class {label}"
    return DataProblem(f"{problem}; no other {other} can be decoded either")


class _EvaluationImages(Dataset):
    """Evaluation crops in order; an image that cannot be decoded is left out, or an error with its name."""

    def __init__(self, split: Split, spec: DataSpec, skip_undecodable: bool) -> None:
        self.split, self.spec, self.skip = split, spec, skip_undecodable

    def __getitems__(self, indices: list[int]) -> Batch:
        crops: list[torch.Tensor] = []
        kept: list[int] = []
        for index in indices:
            try:
                crops.append(evaluation_crop(self.split.image(index), self.spec))
                kept.append(index)
            except DataProblem as problem:
                if not self.skip:
                    return Batch(_NOTHING, _NOTHING, _NOTHING, [], f"{problem}; {remedy(self.spec)}")
        if not kept:
            return Batch(_NOTHING, _NOTHING, torch.empty(0, dtype=torch.int64), indices)
        where = torch.tensor(kept)
        return Batch(torch.stack(crops), torch.from_numpy(self.split.labels[where.numpy()]), where, [])


class EpochBatches:
    """Batch sampler whose epoch and first step are set before each pass; rank r of w takes its share of each batch.

    The last images of ``split`` may be outliers, with the label −1. Then outliers are added to each batch, evenly among
    its images; they change nothing else in it.
    """

    def __init__(self, split: Labelled, train: TrainSpec, seed: int, rank: int, world: int) -> None:
        self.num_images = int((split.labels >= 0).sum())
        self.num_outliers = len(split) - self.num_images
        self.train, self.seed, self.rank, self.world = train, seed, rank, world
        labels = split.labels[: self.num_images]
        self.by_class: ClassAware | Weighted | None = None
        if train.sampler == "class_aware":
            self.by_class = ClassAware(labels, train.batch_size, train.images_per_class, seed)
        elif train.sampler != "instance":
            self.by_class = Weighted(labels, train.batch_size, train.sampler, train.epochs, seed)
        self.steps_per_epoch = steps_per_epoch(self.num_images, train.batch_size)
        # Batches drawn by class are always full: small classes repeat their images.
        known = train.batch_size if self.by_class else min(train.batch_size, self.num_images)
        self.outliers = (train.outlier_batch_size or known) if self.num_outliers else 0  # in a batch
        self.rows = known + self.outliers
        self.order = spread(known, self.outliers)
        self.epoch = self.first_step = 0

    def __len__(self) -> int:
        return self.steps_per_epoch - self.first_step

    def __iter__(self) -> Iterator[list[Key]]:
        for step, indices in self.steps():
            first = step * self.rows + rank_share(self.rows, self.rank, self.world).start
            yield [(self.epoch, first + row, index) for row, index in enumerate(indices.tolist())]

    def steps(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Each step of the epoch, with the indices of this process's share of its batch."""
        if self.by_class is not None:
            indices = self.by_class.epoch(self.epoch)
        else:
            indices = instance_balanced(self.num_images, self.train.batch_size, self.seed, self.epoch)
        if self.outliers:
            added = outlier_batches(self.num_outliers, self.outliers, len(indices), self.seed, self.epoch)
            indices = np.concatenate([indices, self.num_images + added], axis=1)[:, self.order]
        share = rank_share(self.rows, self.rank, self.world)
        for step in range(self.first_step, len(indices)):
            yield step, indices[step, share]


def rank_share(size: int, rank: int, world: int) -> slice:
    """The rows of a batch of ``size`` that process ``rank`` of ``world`` computes."""
    return slice(size * rank // world, size * (rank + 1) // world)


class TrainingLoader:
    """Batches of the training split, epoch by epoch, starting at any step."""

    def __init__(
        self, split: Split, data: DataSpec, train: TrainSpec, seed: int, workers: int, rank: int = 0, world: int = 1
    ) -> None:
        self.sampler = EpochBatches(split, train, seed, rank, world)
        images = _TrainingImages(split, data, seed, self.sampler.rows)
        self.loader = _loader(images, workers, batch_sampler=self.sampler)
        self.steps, self.epochs = self.sampler.steps_per_epoch, train.epochs
        self.share = rank_share(self.sampler.rows, rank, world)  # of each batch: what this process computes
        self._begun: tuple[tuple[int, int], Iterator[Batch]] | None = None  # (epoch, first step), its batches

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of ``epoch`` (from 0), skipping the first ``first_step`` without loading them.

        With the last batch, workers begin the next epoch, so that its first batch is there when validation is done.
        """
        begun, self._begun = self._begun, None
        batches = begun[1] if begun is not None and begun[0] == (epoch, first_step) else self._begin(epoch, first_step)
        for step, batch in enumerate(_checked(batches), first_step + 1):
            if step == self.steps and epoch + 1 < self.epochs:
                self._begun = ((epoch + 1, 0), self._begin(epoch + 1, 0))
            yield batch
            if step == self.steps:  # persistent workers have one iterator: it is in the next epoch by now
                return

    def _begin(self, epoch: int, first_step: int) -> Iterator[Batch]:
        self.sampler.epoch, self.sampler.first_step = epoch, first_step
        return iter(self.loader)


def evaluation_batches(
    split: Split,
    data: DataSpec,
    batch_size: int,
    workers: int,
    rank: int = 0,
    world: int = 1,
    *,
    skip_undecodable: bool = False,
    first: int = 0,
) -> Iterator[Batch]:
    """All images of a split in order under the evaluation transform; rank r of w takes every w-th batch.

    Args:
        first: the image to begin with.
        skip_undecodable: leave out images that cannot be decoded (of the training set) instead of stopping.
    """
    starts = range(first, len(split), batch_size)
    batches = [list(range(i, min(i + batch_size, len(split)))) for i in starts]
    images = _EvaluationImages(split, data, skip_undecodable)
    loaded = _checked(_loader(images, workers, batch_sampler=batches[rank::world], persistent=False))
    return (batch for batch in loaded if len(batch.indices))


def _checked(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Raise in this process what went wrong in a worker."""
    for batch in batches:
        if batch.problem:
            raise DataProblem(batch.problem)
        yield batch


def _loader(dataset: Dataset, workers: int, *, batch_sampler: object, persistent: bool = True) -> DataLoader:
    return DataLoader(
        dataset,
        batch_sampler=batch_sampler,  # type: ignore[arg-type]  # any iterable of key lists will do
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=persistent and workers > 0,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_quiet_worker,
        # The loader would draw a base seed from torch's global generator, and training would depend on it.
        generator=torch.Generator(),
    )


def _as_it_is(batch: Any) -> Any:
    """The datasets above return whole batches: nothing is left to collate."""
    return batch


def _quiet_worker(_: int) -> None:
    """One thread per worker; signals are for the main process, which stops after a checkpoint and ends its workers."""
    torch.set_num_threads(1)
    ignore_stopping()
