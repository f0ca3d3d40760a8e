"""What a run is trained on: images from the dataset, or the features that the run it starts from has saved.

The engine knows neither; it asks a feed for batches, for the inputs they become on the device, for the look at the
whole set before the first step, and for the scores of validation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from oltr_cli.data.loading import Batch, EpochBatches, TrainingLoader, evaluation_batches, rank_share
from oltr_cli.data.sampling import steps_per_epoch
from oltr_cli.data.transforms import DeviceTransform
from oltr_cli.errors import DataProblem
from oltr_cli.method import FeatureMethod, FeatureSet, Method
from oltr_cli.progress import Bar
from oltr_cli.scores import SavedScores
from oltr_cli.scoring import BATCH, score_features, score_split
from oltr_cli.task import Task


class Feed(Protocol):
    """Batches of one training set; ``steps`` of them make an epoch."""

    steps: int

    def loss(self, method: Method) -> nn.Module:
        """The method's loss as a module, which is what distributed wrappers and autocast hook into."""
        ...

    def prepare(self, method: Method) -> None:
        """Let the method look at the training set once."""
        ...

    def epoch(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """The batches of ``epoch`` (from 0) from ``first_step`` on."""
        ...

    def inputs(self, batch: Batch, epoch: int, step: int) -> Tensor:
        """What the loss is given of a batch, on the device."""
        ...

    def validate(self, method: Method) -> SavedScores:
        """Prediction and confidence of the validation split."""
        ...


def make_feed(task: Task) -> Feed:
    """The feed that the task's method asks for."""
    return FeatureFeed(task) if issubclass(task.cls, FeatureMethod) else ImageFeed(task)


class _ImageLoss(nn.Module):
    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return self.method.training_loss(images, labels)


class _FeatureLoss(nn.Module):
    def __init__(self, method: FeatureMethod) -> None:
        super().__init__()
        self.method = method

    def forward(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return self.method.feature_loss(features, labels)


class ImageFeed:
    """Augmented images, decoded by workers."""

    def __init__(self, task: Task) -> None:
        self.task = task
        share = (task.accelerator.process_index, task.accelerator.num_processes)
        self.loader = TrainingLoader(
            task.dataset.splits["train"], task.recipe.data, task.recipe.train, task.run.seed, task.workers, *share
        )
        self.steps = self.loader.steps
        self.transform = DeviceTransform(task.recipe.data, task.accelerator.device)

    def loss(self, method: Method) -> nn.Module:
        return _ImageLoss(method)

    def prepare(self, method: Method) -> None:
        if type(method).prepare is not Method.prepare:
            method.eval()
            with self.task.display.bar("preparing", len(self.task.dataset.splits["train"])) as bar:
                method.prepare(_TrainingPass(self.task, self.transform, bar))

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
    """The training set in order under the evaluation transform, for ``Method.prepare``."""

    task: Task
    transform: DeviceTransform
    bar: Bar

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        task, train = self.task, self.task.dataset.splits["train"]
        for batch in evaluation_batches(train, task.recipe.data, BATCH, task.workers, skip_undecodable=True):
            yield self.transform.evaluate(batch.images), batch.labels.to(task.accelerator.device)
            self.bar.advance(len(batch.labels))


@dataclass(frozen=True)
class _Labels:
    """As much of a split as the sampler wants to know."""

    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


class FeatureFeed:
    """Features that the run before saved, whole on the device: no image is read and no backbone runs."""

    def __init__(self, task: Task) -> None:
        assert task.parent is not None
        self.task = task
        train = SavedScores.load(task.parent.scores("train"))
        self.train, self.val = self._on_device(train), self._on_device(SavedScores.load(task.parent.scores("val")))
        spec, accelerator = task.recipe.train, task.accelerator
        rank, world = accelerator.process_index, accelerator.num_processes
        self.sampler = EpochBatches(_Labels(train.labels), spec, task.run.seed, rank, world)
        self.steps = steps_per_epoch(len(train), spec.batch_size)
        self.share = rank_share(self.sampler.rows, rank, world)

    def loss(self, method: Method) -> nn.Module:
        assert isinstance(method, FeatureMethod)
        return _FeatureLoss(method)

    def prepare(self, method: Method) -> None:
        assert isinstance(method, FeatureMethod)
        method.eval()
        with self.task.display.bar("preparing", 1):
            method.prepare_features(self.train, self.val)

    def epoch(self, epoch: int, first_step: int) -> Iterator[Batch]:
        self.sampler.epoch, self.sampler.first_step = epoch, first_step
        for keys in self.sampler:
            indices = torch.tensor([index for _, _, index in keys], device=self.train.labels.device)
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
        features = torch.from_numpy(np.asarray(scores.features, np.float32)).to(device)
        return FeatureSet(features, torch.from_numpy(scores.labels).to(device))
