"""What a run is trained on: images, features saved by the run it starts from, or features of a frozen backbone.

The engine does not know which; it asks a feed for batches, for their inputs on the device, for a pass over the whole
training set before the first step, and for the scores of validation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oltr_cli.data.feed.loading import Batch, EpochBatches, TrainingLoader, evaluation_batches
from oltr_cli.data.feed.transforms import DeviceTransform
from oltr_cli.data.store.on_device import DeviceLoader
from oltr_cli.data.store.split import StoredSplit
from oltr_cli.errors import DataProblem
from oltr_cli.method import FeatureMethod, FeatureSet, Method
from oltr_cli.networks.backbones import Given
from oltr_cli.networks.layers import full_precision
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.frozen import FrozenFeatures, frozen_features, score_frozen
from oltr_cli.training.scoring import BATCH, score_features, score_split
from oltr_cli.training.shares import Shares
from oltr_cli.training.task import Task


def _nothing(samples: int) -> None:
    """No bar to advance: one is already shown while a run trains."""


class Feed(Protocol):
    """Batches of one training set; ``steps`` of them make an epoch, and the backbone is given ``given``.

    With ``shares`` a process gets its rows of each; without, each process gets the whole.
    """

    steps: int
    given: Given
    shares: Shares | None

    def prepare(self, method: Method) -> None:
        """Let the method see the training set once."""

    def end_epoch(self, method: Method) -> None:
        """Let the method change its weights at the end of an epoch, with the training set at hand."""

    def epoch(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """The batches of ``epoch`` (from 0) from ``first_step`` on."""

    def inputs(self, batch: Batch, epoch: int, step: int) -> Tensor:
        """The loss's input for a batch, on the device."""

    def validate(self, method: Method) -> SavedScores:
        """Prediction and confidence of the validation split."""


def make_feed(task: Task, method: Method) -> Feed:
    """The feed for the task; ``method`` is on the device and has the weights of its backbone."""
    if issubclass(task.cls, FeatureMethod):
        return FeatureFeed(task)
    return FrozenFeed(task, method) if task.recipe.train.freeze_backbone else ImageFeed(task)


class ImageFeed:
    """Augmented images: decoded and cropped by worker processes or, from a store, cropped on a GPU."""

    given: Given = "images"

    def __init__(self, task: Task) -> None:
        self.task = task
        world = (task.accelerator.process_index, task.accelerator.num_processes)
        split, device = task.images, task.accelerator.device
        recipe, seed = (task.recipe.data, task.recipe.train), task.run.seed
        self.loader: TrainingLoader | DeviceLoader
        # RandAugment treats each image by itself: on a GPU that would be many small kernels, so workers do it.
        if isinstance(split, StoredSplit) and device.type != "cpu" and task.recipe.data.rand_augment is None:
            self.loader = DeviceLoader(split, *recipe, seed, device, task.workers, *world)
        else:
            self.loader = TrainingLoader(split, *recipe, seed, task.workers, *world)
        self.shares = Shares(self.loader.sampler.rows, *world) if world[1] > 1 else None
        self.steps = self.loader.steps
        self.transform = DeviceTransform(task.recipe.data, task.accelerator.device)

    def prepare(self, method: Method) -> None:
        if type(method).prepare is not Method.prepare:
            method.eval()
            with self.task.display.bar("preparing", len(self.task.dataset.splits["train"])) as bar:
                method.prepare(_TrainingPass(self.task, self.transform, bar.advance))

    @torch.no_grad()
    def end_epoch(self, method: Method) -> None:
        method.eval()
        method.end_epoch(_TrainingPass(self.task, self.transform))

    def epoch(self, epoch: int, first_step: int) -> Iterator[Batch]:
        return self.loader.epoch(epoch, first_step)

    def inputs(self, batch: Batch, epoch: int, step: int) -> Tensor:
        return self.transform.train(batch.images, (self.task.run.seed, "augment", epoch, step), self.loader.share)

    def validate(self, method: Method) -> SavedScores:
        task = self.task
        val = task.dataset.splits["val"]
        return score_split(method, val, task.recipe.data, task.accelerator, task.workers, keep_all=False)


@dataclass(frozen=True)
class _TrainingPass:
    """The training set in order under the evaluation transform, for a method to look at."""

    task: Task
    transform: DeviceTransform
    advance: Callable[[int], None] = _nothing

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        task, train = self.task, self.task.dataset.splits["train"]
        for batch in evaluation_batches(train, task.recipe.data, BATCH, task.workers, skip_undecodable=True):
            yield self.transform.evaluate(batch.images), batch.labels.to(task.accelerator.device)
            self.advance(len(batch.labels))


@dataclass(frozen=True)
class _Labels:
    """As much of a split as the sampler wants to know."""

    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


class Drawn:
    """Rows drawn by the sampler that draws images. Each of several processes takes all: a head costs it little."""

    def __init__(self, task: Task, labels: NDArray[np.int64]) -> None:
        self.sampler = EpochBatches(_Labels(labels), task.recipe.train, task.run.seed, rank=0, world=1)
        self.steps = self.sampler.steps_per_epoch

    def epoch(self, epoch: int, first_step: int) -> Iterator[NDArray[np.int64]]:
        """The rows of each batch of ``epoch`` from ``first_step`` on."""
        self.sampler.epoch, self.sampler.first_step = epoch, first_step
        for _, rows in self.sampler.steps():
            yield rows


class FeatureFeed:
    """Features that the run before saved, whole on the device: no image is read and no backbone runs."""

    given: Given = "pooled"
    shares: Shares | None = None

    def __init__(self, task: Task) -> None:
        assert task.parent is not None
        self.task = task
        train = SavedScores.load(task.parent.scores("train"))
        self.train, self.val = self._on_device(train), self._on_device(SavedScores.load(task.parent.scores("val")))
        self.drawn = Drawn(task, train.labels)
        self.steps = self.drawn.steps

    def prepare(self, method: Method) -> None:
        assert isinstance(method, FeatureMethod)
        method.eval()
        with self.task.display.bar("preparing", 1):
            method.prepare_features(self.train, self.val)

    @torch.no_grad()
    def end_epoch(self, method: Method) -> None:
        method.eval()
        method.end_epoch(_FeaturePass(self.train))

    def epoch(self, epoch: int, first_step: int) -> Iterator[Batch]:
        for rows in self.drawn.epoch(epoch, first_step):
            indices = torch.from_numpy(rows).to(self.train.labels.device)
            yield Batch(self.train.features[indices], self.train.labels[indices], indices, [])

    def inputs(self, batch: Batch, epoch: int, step: int) -> Tensor:
        return batch.images

    def validate(self, method: Method) -> SavedScores:
        assert isinstance(method, FeatureMethod)
        return score_features(method, self.val.features, self.val.labels.cpu().numpy())

    def _on_device(self, scores: SavedScores) -> FeatureSet:
        if scores.features is None:
            raise DataProblem(f"{self.task.parent and self.task.parent.name}: its saved scores hold no features")
        device = self.task.accelerator.device
        features = full_precision(torch.from_numpy(scores.features)).to(device)
        return FeatureSet(features, torch.from_numpy(scores.labels).to(device))


@dataclass(frozen=True)
class _FeaturePass:
    """The training set's features in order, for a method to look at."""

    train: FeatureSet

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(self.train.features.split(BATCH), self.train.labels.split(BATCH), strict=True)


class FrozenFeed:
    """Features of the frozen backbone, which any method takes in the place of images."""

    shares: Shares | None = None

    def __init__(self, task: Task, method: Method) -> None:
        self.task = task
        self.train, self.val = (frozen_features(task, method, split) for split in ("train", "val"))
        self.given = self.train.kind
        empty = np.setdiff1d(np.arange(len(task.dataset.class_counts)), self.train.labels)
        if len(empty):
            raise DataProblem(f"no training image of class {empty[0]} can be decoded")
        self.drawn = Drawn(task, self.train.labels)
        self.steps = self.drawn.steps

    def prepare(self, method: Method) -> None:
        if type(method).prepare is not Method.prepare:
            method.eval()
            device = self.task.accelerator.device
            with self.task.display.bar("preparing", len(self.train)) as bar, method.backbone.taking(self.given):
                method.prepare(_FrozenPass(self.train, device, bar.advance))

    @torch.no_grad()
    def end_epoch(self, method: Method) -> None:
        method.eval()
        with method.backbone.taking(self.given):
            method.end_epoch(_FrozenPass(self.train, self.task.accelerator.device))

    def epoch(self, epoch: int, first_step: int) -> Iterator[Batch]:
        failed = self.train.left_out
        for rows in self.drawn.epoch(epoch, first_step):
            labels = torch.from_numpy(self.train.labels[rows])
            yield Batch(self.train.rows(rows), labels, torch.from_numpy(rows), failed)

    def inputs(self, batch: Batch, epoch: int, step: int) -> Tensor:
        return batch.images.to(self.task.accelerator.device, non_blocking=True)

    def validate(self, method: Method) -> SavedScores:
        return score_frozen(method, self.val, self.task.accelerator)


@dataclass(frozen=True)
class _FrozenPass:
    """The training set in order, for a method to look at."""

    kept: FrozenFeatures
    device: torch.device
    advance: Callable[[int], None] = _nothing

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in self.kept.batches():
            labels = torch.from_numpy(self.kept.labels[rows])
            yield self.kept.rows(rows).to(self.device), labels.to(self.device)
            self.advance(len(labels))
