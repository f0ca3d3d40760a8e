"""Datasets opened from a recipe, and batches of them on their way to the device.

Workers decode and crop; a batch arrives as uint8 (B, C, S, S). The keys that the sampler hands to a worker carry the
epoch and the place in it, so what a worker makes of an image depends neither on the worker nor on what came before.
"""

import shlex
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from oltr_cli.data.home import data_home
from oltr_cli.data.sampling import ClassAware, instance_balanced, steps_per_epoch
from oltr_cli.data.transforms import evaluation_crop, training_crop
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.randomness import generator
from oltr_cli.recipe_files import known_recipes, read_recipe
from oltr_cli.specs import DataSpec, TrainSpec


class Labelled(Protocol):
    """N labels, −1 = open."""

    @property
    def labels(self) -> NDArray[np.int64]: ...
    def __len__(self) -> int: ...


class Split(Labelled, Protocol):
    """Images of one split with labels (N,)."""

    @property
    def names(self) -> list[str]: ...
    def image(self, index: int) -> torch.Tensor:
        """uint8 (C, H, W), C = 1 or 3."""
        ...


@dataclass(frozen=True)
class OpenedDataset:
    """A dataset whose lists were read and checked; ``digest`` identifies their content.

    Attributes:
        groups: name → members among the probes, for identification.
    """

    spec: DataSpec
    splits: dict[str, Split]
    class_names: list[str]
    digest: str
    groups: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Training images of each class (K,)."""
        return np.bincount(self.splits["train"].labels, minlength=len(self.class_names))


def open_dataset(
    spec: DataSpec, progress: Callable[[int, int], None] | None = None, only: tuple[str, ...] | None = None
) -> OpenedDataset:
    """Open the dataset of a recipe.

    Args:
        progress: called with (done, total) images while the built-in set is drawn for the first time.
        only: these splits alone, train among them; the lists of all others are not read.
    Raises:
        DataProblem: something is missing or does not fit; one line that names it.
    """
    if spec.kind == "glyphs":
        from oltr_cli.data.glyphs import open_glyphs

        splits, names, digest = open_glyphs(spec.glyphs, progress)
        return OpenedDataset(spec, {k: v for k, v in splits.items() if only is None or k in only}, names, digest)
    from oltr_cli.data.lists import open_lists

    root, lists = _folders(spec)
    list_splits, names, digest = open_lists(spec.name, root, lists, only)
    if only is None:
        _check_digest(spec, lists, digest)
    groups = list_splits["probe"].groups if "probe" in list_splits else {}
    return OpenedDataset(spec, dict(list_splits), names, digest, groups)


def check_lists(spec: DataSpec) -> None:
    """Whether all lists are those that the recipe was made for, where it says so; no line of them is read.

    For those who open some of the splits only, and so cannot tell by what they open.

    Raises:
        DataProblem: the lists were changed, or one is missing.
    """
    from oltr_cli.data.lists import digest_of_files

    if spec.kind == "lists" and spec.lists_digest is not None:
        lists = _folders(spec)[1]
        _check_digest(spec, lists, digest_of_files(spec.name, lists))


def _folders(spec: DataSpec) -> tuple[Path, Path]:
    """Where the images of a list-file dataset lie, and where its lists do."""
    root = Path(spec.root).expanduser() if spec.root else data_home() / spec.name
    return root, Path(spec.lists).expanduser() if spec.lists else root


def _check_digest(spec: DataSpec, lists: Path, digest: str) -> None:
    if spec.lists_digest not in (None, digest):
        raise DataProblem(
            f"dataset '{spec.name}': the lists in {lists} are not those its recipe was made for; build it anew, or, if "
            f'they were changed on purpose, write lists_digest = "{digest}" into its [data]'
        )


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


Key = tuple[int, int, int]  # epoch, place in the epoch, index into the split


class _TrainingImages(Dataset):
    """Crops of training images; one that cannot be decoded is replaced by another of its class, by seed."""

    def __init__(self, split: Split, spec: DataSpec, seed: int) -> None:
        self.split, self.spec, self.seed = split, spec, seed

    def __getitems__(self, keys: list[Key]) -> Batch:
        failed: list[int] = []
        crops = []
        for epoch, place, index in keys:
            try:
                image = self._image(index, failed)
            except DataProblem as problem:
                return Batch(_NOTHING, _NOTHING, _NOTHING, failed, str(problem))
            crops.append(training_crop(image, self.spec, generator(self.seed, "crop", epoch, place)))
        indices = torch.tensor([index for _, _, index in keys])
        labels = torch.from_numpy(self.split.labels[indices.numpy()])
        return Batch(torch.stack(crops), labels, indices, failed)

    def _image(self, index: int, failed: list[int]) -> torch.Tensor:
        try:
            return self.split.image(index)
        except DataProblem as problem:
            failed.append(index)
            same_class = np.flatnonzero(self.split.labels == self.split.labels[index])
            for other in generator(self.seed, "replacement", index).permutation(same_class):
                try:
                    return self.split.image(int(other))
                except DataProblem:
                    failed.append(int(other))
            raise DataProblem(
                f"{problem}; nor can any other image of class {self.split.labels[index]} be decoded"
            ) from None


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
                    return Batch(_NOTHING, _NOTHING, _NOTHING, [], f"{problem}; {_remedy(self.spec)}")
        if not kept:
            return Batch(_NOTHING, _NOTHING, torch.empty(0, dtype=torch.int64), indices)
        where = torch.tensor(kept)
        return Batch(torch.stack(crops), torch.from_numpy(self.split.labels[where.numpy()]), where, [])


def _remedy(spec: DataSpec) -> str:
    """What to do about an image that a run cannot do without; ``oltr data check`` takes the names of recipes."""
    recipe, own = known_recipes().get(spec.name), {}
    if recipe is not None:
        with suppress(UsageProblem):  # a recipe that was broken since the run began
            own = read_recipe(recipe)["data"]
    words = ["oltr", "data", "check", "RECIPE.toml" if recipe is None else spec.name]
    for key in ("root", "lists"):
        if (value := getattr(spec, key)) and own.get(key) != value:
            words += [f"--{key}", value]
    return (
        "mend or replace the file, and the same command goes on from its last checkpoint; all such files: "
        f"{shlex.join([*words, '--decode'])}"
    )


class EpochBatches:
    """Batch sampler whose epoch and first step are set before each pass; rank r of w takes its share of each batch."""

    def __init__(self, split: Labelled, train: TrainSpec, seed: int, rank: int, world: int) -> None:
        self.num_images, self.train, self.seed = len(split), train, seed
        self.rank, self.world = rank, world
        self.class_aware = (
            ClassAware(split.labels, train.batch_size, train.images_per_class, seed)
            if train.sampler == "class_aware"
            else None
        )
        # Class-aware batches are always full: small classes lend their images several times.
        self.rows = train.batch_size if self.class_aware else min(train.batch_size, self.num_images)
        self.epoch = self.first_step = 0

    def __len__(self) -> int:
        return steps_per_epoch(self.num_images, self.train.batch_size) - self.first_step

    def __iter__(self) -> Iterator[list[Key]]:
        if self.class_aware is not None:
            indices = self.class_aware.epoch(self.epoch)
        else:
            indices = instance_balanced(self.num_images, self.train.batch_size, self.seed, self.epoch)
        share = rank_share(self.rows, self.rank, self.world)
        for step in range(self.first_step, len(indices)):
            places = range(step * indices.shape[1] + share.start, step * indices.shape[1] + share.stop)
            yield [(self.epoch, p, i) for p, i in zip(places, indices[step, share].tolist(), strict=True)]


def rank_share(size: int, rank: int, world: int) -> slice:
    """The rows of a batch of ``size`` that process ``rank`` of ``world`` computes: neighbours keep classes whole."""
    return slice(size * rank // world, size * (rank + 1) // world)


class TrainingLoader:
    """Batches of the training split, epoch by epoch, from any step on."""

    def __init__(
        self, split: Split, data: DataSpec, train: TrainSpec, seed: int, workers: int, rank: int = 0, world: int = 1
    ) -> None:
        self.sampler = EpochBatches(split, train, seed, rank, world)
        self.loader = _loader(_TrainingImages(split, data, seed), workers, batch_sampler=self.sampler)
        self.steps = steps_per_epoch(len(split), train.batch_size)
        self.share = rank_share(self.sampler.rows, rank, world)  # of each batch: what this process computes

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of ``epoch`` (from 0), skipping the first ``first_step`` without loading them."""
        self.sampler.epoch, self.sampler.first_step = epoch, first_step
        return _checked(self.loader)


def evaluation_batches(
    split: Split,
    data: DataSpec,
    batch_size: int,
    workers: int,
    rank: int = 0,
    world: int = 1,
    *,
    skip_undecodable: bool = False,
) -> Iterator[Batch]:
    """All images of a split in order under the evaluation transform; rank r of w takes every w-th batch.

    Args:
        skip_undecodable: leave out images that cannot be decoded (of the training set) instead of stopping.
    """
    batches = [list(range(i, min(i + batch_size, len(split)))) for i in range(0, len(split), batch_size)]
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
    """One thread a worker; signals are for the main process, which stops after a checkpoint and ends its workers."""
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
