"""One run to train: its description, its progress, and the method it builds."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from oltr_cli.base.added_code import defined_at
from oltr_cli.base.display import Display
from oltr_cli.base.seeding import derive
from oltr_cli.base.text import counted
from oltr_cli.data.feed.opening import OpenedDataset, Split
from oltr_cli.data.glyphs.splits import ArraySplit
from oltr_cli.data.lists.lists import ListSplit
from oltr_cli.data.store.split import StoredSplit
from oltr_cli.errors import DataProblem, OltrError
from oltr_cli.method import Method, Setup
from oltr_cli.networks.backbones import Backbone
from oltr_cli.planning.resolve import Link
from oltr_cli.protocol.open_sets import OUTLIERS
from oltr_cli.recipe.specs import Recipe
from oltr_cli.runs.checkpoint import load_best as best_checkpoint
from oltr_cli.runs.folder import Run

MOST_FAILED = 0.01  # share of training images that may fail to decode before a run stops


@dataclass
class Progress:
    """How far a run is; all of it is saved in the checkpoint."""

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of the epoch after them
    sums: dict[str, float] = field(default_factory=dict)  # loss terms summed over those steps
    epoch_seconds: float = 0.0  # spent on those steps
    history: list[dict[str, Any]] = field(default_factory=list)  # one row per epoch
    best_epoch: int = 0
    best_value: float = -1.0
    failed: list[int] = field(default_factory=list)  # images of ``Task.images`` that could not be decoded


@dataclass(frozen=True)
class Task:
    """One run to train, with everything it needs."""

    run: Run
    link: Link
    cls: type[Method]
    dataset: OpenedDataset
    parent: Run | None
    accelerator: Accelerator
    workers: int
    display: Display
    compiled: bool = False  # the backbone by torch.compile

    @property
    def recipe(self) -> Recipe:
        return self.link.recipe

    @cached_property
    def images(self) -> Split:
        """What it is trained on: the training images and, for a method that uses them, outliers after them."""
        return training_images(self.cls, self.dataset)

    def count_failures(self, progress: Progress, failed: list[int]) -> None:
        """Note the images of a batch that cannot be decoded.

        Raises:
            DataProblem: they are too many by now.
        """
        if not failed:
            return
        progress.failed += sorted(set(failed) - set(progress.failed))
        if len(progress.failed) > MOST_FAILED * len(self.images):
            raise DataProblem(
                f"{len(progress.failed)} of {counted(len(self.images), 'training image')} cannot be decoded, more than "
                f"1 %; the first is {self.images.names[progress.failed[0]]}"
            )

    @property
    def data_digest(self) -> str:
        """Of all lists that training reads."""
        return self.dataset.digest + (f" {self.dataset.further[OUTLIERS]}" if self.cls.uses_outliers else "")


def training_images(cls: type[Method], dataset: OpenedDataset) -> Split:
    """The training images and, if the method ``cls`` uses them, the outliers after them."""
    train = dataset.splits["train"]
    if not cls.uses_outliers:
        return train
    outliers = dataset.splits[OUTLIERS]
    if isinstance(train, StoredSplit) and isinstance(outliers, StoredSplit):
        return train.joined(outliers)
    if isinstance(train, ListSplit) and isinstance(outliers, ListSplit):
        return train.joined(outliers)
    assert isinstance(train, ArraySplit)
    assert isinstance(outliers, ArraySplit)
    return train.joined(outliers)


def build_method(cls: type[Method], recipe: Recipe, class_counts: Iterable[int], seed: int) -> Method:
    """The method with its random initial weights, which depend only on the seed.

    Raises:
        OltrError: its class builds no backbone.
        UsageProblem: its backbone does not take the recipe's image size.
    """
    torch.manual_seed(derive(seed, "init", recipe.method))
    counts = tuple(int(c) for c in class_counts)
    method = cls(Setup(recipe.backbone, recipe.data.image_size, counts, recipe.params))
    if not isinstance(getattr(method, "backbone", None), Backbone):
        raise OltrError(f"{defined_at(cls.__init__)}: does not set self.backbone to a backbone")
    method.backbone.check_image_size(recipe.data.image_size)
    return method if method.backbone.contiguous else method.to(memory_format=torch.channels_last)


def load_best(run: Run, cls: type[Method], recipe: Recipe, class_counts: Iterable[int]) -> Method:
    """The method of a finished run with the weights of its best epoch."""
    method = build_method(cls, recipe, class_counts, run.seed)
    fill(method, best_checkpoint(run)["model"], run.path / "best.pt")
    return method


def fill(method: Method, weights: dict[str, Any], file: Path) -> None:
    """Load the weights of a checkpoint into ``method``.

    Raises:
        DataProblem: they are those of another network; ``file`` is named.
    """
    try:
        method.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:  # another network, or values that are not tensors
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        raise DataProblem(f"{file}: does not fit {type(method).__name__} ({reason})") from None
