"""Training on features instead of images: those saved by the previous run, or those of a frozen backbone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from oltr_cli.base.display import Bar
from oltr_cli.data.feed.loading import Batch, EpochBatches
from oltr_cli.data.feed.sampling import steps_per_epoch
from oltr_cli.errors import DataProblem
from oltr_cli.method import FeatureMethod, FeatureSet, Method
from oltr_cli.networks.backbones import Given
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.frozen import FrozenFeatures, frozen_features, score_frozen
from oltr_cli.training.scoring import BATCH, score_features
from oltr_cli.training.task import Task


@dataclass(frozen=True)
class _Labels:
    """The part of a split that the sampler needs."""

    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


class _Drawn:
    """Rows drawn by the sampler that draws images."""

    def __init__(self, task: Task, labels: NDArray[np.int64]) -> None:
        spec, accelerator = task.recipe.train, task.accelerator
        rank, world = accelerator.process_index, accelerator.num_processes
        self.sampler = EpochBatches(_Labels(labels), spec, task.run.seed, rank, world)
        self.steps = steps_per_epoch(len(labels), spec.batch_size)

    def epoch(self, epoch: int, first_step: int) -> Iterator[NDArray[np.int64]]:
        """The rows of each batch of ``epoch`` from ``first_step`` on."""
        self.sampler.epoch, self.sampler.first_step = epoch, first_step
        for keys in self.sampler:
            yield np.array([index for _, _, index in keys])


class _FeatureLoss(nn.Module):
    def __init__(self, method: FeatureMethod) -> None:
        super().__init__()
        self.method = method

    def forward(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return self.method.feature_loss(features, labels)


class FeatureFeed:
    """Features saved by the previous run, all on the device: no image is read and no backbone runs."""

    def __init__(self, task: Task) -> None:
        assert task.parent is not None
        self.task = task
        train = SavedScores.load(task.parent.scores("train"))
        self.train, self.val = self._on_device(train), self._on_device(SavedScores.load(task.parent.scores("val")))
        self.drawn = _Drawn(task, train.labels)
        self.steps = self.drawn.steps

    def loss(self, method: Method) -> nn.Module:
        assert isinstance(method, FeatureMethod)
        return _FeatureLoss(method)

    def prepare(self, method: Method) -> None:
        assert isinstance(method, FeatureMethod)
        method.eval()
        with self.task.display.bar("preparing", 1):
            method.prepare_features(self.train, self.val)

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
            raise DataProblem(f"{self.task.parent and self.task.parent.name}: its saved scores have no features")
        device = self.task.accelerator.device
        features = torch.from_numpy(np.asarray(scores.features, np.float32)).to(device)
        return FeatureSet(features, torch.from_numpy(scores.labels).to(device))


class _FrozenLoss(nn.Module):
    def __init__(self, method: Method, kind: Given) -> None:
        super().__init__()
        self.method, self.kind = method, kind

    def forward(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        with self.method.backbone.taking(self.kind):
            return self.method.training_loss(features, labels)


class FrozenFeed:
    """Features of the frozen backbone, which any method accepts instead of images."""

    def __init__(self, task: Task, method: Method) -> None:
        self.task = task
        self.train, self.val = (frozen_features(task, method, split) for split in ("train", "val"))
        empty = np.setdiff1d(np.arange(len(task.dataset.class_counts)), self.train.labels)
        if len(empty):
            raise DataProblem(f"no training image of class {empty[0]} can be decoded")
        self.drawn = _Drawn(task, self.train.labels)
        self.steps = self.drawn.steps

    def loss(self, method: Method) -> nn.Module:
        return _FrozenLoss(method, self.train.kind)

    def prepare(self, method: Method) -> None:
        if type(method).prepare is not Method.prepare:
            method.eval()
            device = self.task.accelerator.device
            with self.task.display.bar("preparing", len(self.train)) as bar, method.backbone.taking(self.train.kind):
                method.prepare(_FrozenPass(self.train, device, bar))

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
    """The training set in order, for ``Method.prepare``."""

    kept: FrozenFeatures
    device: torch.device
    bar: Bar

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.kept), BATCH):
            rows = slice(start, start + BATCH)
            labels = torch.from_numpy(self.kept.labels[rows])
            yield self.kept.rows(rows).to(self.device), labels.to(self.device)
            self.bar.advance(len(labels))
