"""What a run is trained on: images, features saved by the run it starts from, or features of a frozen backbone.

The engine does not know which; it asks a feed for batches, for their inputs on the device, for a pass over the whole
training set before the first step, and for the scores of validation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from oltr_cli.base.display import Bar
from oltr_cli.data.feed.loading import Batch, TrainingLoader, evaluation_batches
from oltr_cli.data.feed.transforms import DeviceTransform
from oltr_cli.method import FeatureMethod, Method
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.feature_feeds import FeatureFeed, FrozenFeed
from oltr_cli.training.scoring import BATCH, score_split
from oltr_cli.training.task import Task


class Feed(Protocol):
    """Batches of one training set, ``steps`` per epoch."""

    steps: int

    def loss(self, method: Method) -> nn.Module:
        """The method's loss as a module, as distributed wrappers and autocast need it."""
        ...

    def prepare(self, method: Method) -> None:
        """Let the method see the training set once."""
        ...

    def epoch(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """The batches of ``epoch`` (from 0) from ``first_step`` on."""
        ...

    def inputs(self, batch: Batch, epoch: int, step: int) -> Tensor:
        """The loss's input for a batch, on the device."""
        ...

    def validate(self, method: Method) -> SavedScores:
        """Prediction and confidence of the validation split."""
        ...


def make_feed(task: Task, method: Method) -> Feed:
    """The feed for the task; ``method`` is on the device and has the weights of its backbone."""
    if issubclass(task.cls, FeatureMethod):
        return FeatureFeed(task)
    return FrozenFeed(task, method) if task.recipe.train.freeze_backbone else ImageFeed(task)


class _ImageLoss(nn.Module):
    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return self.method.training_loss(images, labels)


class ImageFeed:
    """Augmented images, decoded by worker processes."""

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
