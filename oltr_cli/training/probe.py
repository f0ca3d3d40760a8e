"""Timing some training steps of a run and the scoring of some images, on this machine; nothing of it is kept."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from oltr_cli.base.display import Display
from oltr_cli.data.feed.loading import Batch, evaluation_batches
from oltr_cli.data.feed.opening import OpenedDataset, Split
from oltr_cli.data.feed.transforms import DeviceTransform
from oltr_cli.errors import NotFinite
from oltr_cli.method import FeatureMethod, Method
from oltr_cli.networks.backbones import Given
from oltr_cli.planning.plan import Planned
from oltr_cli.planning.sizes import DatasetSize, Estimate, Rate
from oltr_cli.recipe.data import DataSpec
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.engine import Training
from oltr_cli.training.feeds import Drawn, Feed, ImageFeed
from oltr_cli.training.scoring import BATCH
from oltr_cli.training.shares import Shares
from oltr_cli.training.task import Task, build_method

STEPS = 20
WARM_UP = 3  # steps that are not timed: memory is allocated, kernels are chosen
SCORED = 2  # batches of BATCH images, after one that is not timed


@dataclass(frozen=True)
class Noise:
    """Random images of the size that evaluation crops from, in the place of a split that is not here."""

    labels: NDArray[np.int64]
    side: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> list[str]:
        return [""] * len(self)

    def image(self, index: int) -> Tensor:
        return torch.randint(0, 256, (3, self.side, self.side), dtype=torch.uint8)


def noise(spec: DataSpec, size: DatasetSize) -> OpenedDataset:
    """A dataset of random images with the splits and classes of ``size``, as many images of each class."""
    splits: dict[str, Split] = {
        name: Noise(np.arange(split.images) % size.classes, spec.eval_resize) for name, split in size.splits.items()
    }
    return OpenedDataset(spec, splits, [""] * size.classes, "")


def probe(p: Planned, left: Estimate, dataset: OpenedDataset, accelerator: Accelerator, workers: int) -> Rate:
    """Images per second of the training steps that are left of ``p``, and of scoring, with random weights.

    Args:
        dataset: opened, or ``noise``. Saved features are random ones of the right shape.
    """
    assert issubclass(p.cls, Method)
    with tempfile.TemporaryDirectory() as folder:  # of no run: so there is nothing to resume from
        run = replace(p.run, root=Path(folder))
        task = Task(run, p.link, p.cls, dataset, None, accelerator, workers, Display(quiet=True))
        train = None
        if left.steps:
            feed = ImageFeed(task) if left.feed == "images" else _NoiseFeed(task)
            training = Training(task, feed)
            method, train = training.method, _train(training, left.images / left.steps)
        else:
            method = build_method(task.cls, task.recipe, dataset.class_counts, run.seed).to(accelerator.device)
        score = _score(method, task) if left.scored else None
    images = isinstance(dataset.splits["train"], Noise)
    what = "random images" if images else "images of the dataset"
    if left.feed != "images":
        what = "random features" if score is None else f"random features, {what} scored"
    return Rate(train, score, f"measured by {STEPS} steps here, {what}")


def _train(training: Training, rows: float) -> float:
    """Images per second over ``STEPS`` steps, or as many as the run has."""
    feed, epochs = training.feed, training.task.recipe.train.epochs
    # What loading processes have prepared by the first step is used up in steps that are not timed.
    ahead = 4 * training.task.workers if training.task.accelerator.device.type == "cuda" else 0
    total = epochs * feed.steps
    warm = min(WARM_UP + ahead, total // 4)
    last = min(warm + STEPS, total)
    training.train_mode()
    batches = ((epoch, step, b) for epoch in range(epochs) for step, b in enumerate(feed.epoch(epoch, 0)))
    began = time.perf_counter()
    for number, (epoch, step, batch) in enumerate(batches, start=1):
        with suppress(NotFinite):  # untrained weights may give anything
            training.step(batch, epoch, step)
        if number == warm:
            _wait(training.task)
            began = time.perf_counter()
        if number == last:
            break
    _wait(training.task)
    return (last - warm) * rows / (time.perf_counter() - began)


@torch.inference_mode()
def _score(method: Method, task: Task) -> float:
    """Images per second of scoring validation images, or training images if there are too few."""
    split = max((task.dataset.splits[name] for name in ("val", "train")), key=lambda one: len(one) > 2 * BATCH)
    size = min(BATCH, max(1, len(split) // 2))
    transform = DeviceTransform(task.recipe.data, task.accelerator.device)
    method.eval()
    images = 0
    began = time.perf_counter()
    loaded = evaluation_batches(split, task.recipe.data, size, task.workers, skip_undecodable=True)
    for number, batch in enumerate(loaded):
        with task.accelerator.autocast():
            method(transform.evaluate(batch.images)).confidence.cpu()
        if number == 0:
            began = time.perf_counter()
            continue
        images += len(batch.labels)
        if number == SCORED:
            break
    return images / max(time.perf_counter() - began, 1e-9)


def _wait(task: Task) -> None:
    """Until the device has done what it was told."""
    if task.accelerator.device.type == "cuda":
        torch.cuda.synchronize()


class _NoiseFeed(Feed):
    """Random features in the place of saved ones: of a method on features, or of a frozen backbone."""

    shares: Shares | None = None

    def __init__(self, task: Task) -> None:
        self.task = task
        with torch.device("meta"):
            method = build_method(task.cls, task.recipe, task.dataset.class_counts, task.run.seed)
        backbone = method.backbone
        self.given: Given = "maps" if method.needs_map else "pooled"
        shape: tuple[int, ...] = (backbone.pooled_channels, 1, 1)
        if issubclass(task.cls, FeatureMethod):
            shape = (backbone.feature_dim,)
        elif method.needs_map:
            shape = (backbone.map_channels, *backbone.map_size(task.recipe.data.image_size))
        self.labels = task.dataset.splits["train"].labels
        self.drawn = Drawn(task, self.labels)
        self.steps, self.shape = self.drawn.steps, shape

    def prepare(self, method: Method) -> None: ...

    def end_epoch(self, method: Method) -> None: ...

    def epoch(self, epoch: int, first_step: int) -> Iterator[Batch]:
        for rows in self.drawn.epoch(epoch, first_step):
            labels = torch.from_numpy(self.labels[rows])
            yield Batch(torch.rand(len(rows), *self.shape), labels, torch.from_numpy(rows), [])

    def inputs(self, batch: Batch, epoch: int, step: int) -> Tensor:
        return batch.images.to(self.task.accelerator.device)

    def validate(self, method: Method) -> SavedScores:
        raise NotImplementedError  # a probe takes steps, and random features have nothing to be right about
