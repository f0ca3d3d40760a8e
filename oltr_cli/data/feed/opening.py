"""Datasets opened from a recipe: their splits, class names, and the digest of their lists."""

import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.files import known_recipes, read_recipe
from oltr_cli.recipe.home import data_home

if TYPE_CHECKING:
    from torch import Tensor


class Labelled(Protocol):
    """N labels, −1 = open."""

    @property
    def labels(self) -> NDArray[np.int64]: ...
    def __len__(self) -> int: ...


class Split(Labelled, Protocol):
    """Images of one split with labels (N,)."""

    @property
    def names(self) -> list[str]: ...
    def image(self, index: int) -> "Tensor":
        """uint8 (C, H, W), C = 1 or 3."""


@dataclass(frozen=True)
class OpenedDataset:
    """A dataset whose lists were read and checked; ``digest`` identifies their content.

    Attributes:
        groups: name → members among the probes, for identification.
        further: digests of the lists of further open sets and of outliers, by split; ``digest`` does not cover them.
    """

    spec: DataSpec
    splits: dict[str, Split]
    class_names: list[str]
    digest: str
    groups: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    further: dict[str, str] = field(default_factory=dict)

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
        only: the splits to open, train among them; other lists are not read.
    Raises:
        DataProblem: something is missing or does not fit; one line that names it.
    """
    if spec.kind == "glyphs":
        from oltr_cli.data.glyphs.splits import open_glyphs

        splits, names, digest, further = open_glyphs(spec.glyphs, progress)
        wanted: dict[str, Split] = {name: split for name, split in splits.items() if only is None or name in only}
        return OpenedDataset(spec, wanted, names, digest, further=further)
    from oltr_cli.data.lists.lists import further_digests, open_lists

    root, lists = _folders(spec)
    further = further_digests(spec.name, lists) if lists.is_dir() else {}
    list_splits, names, digest = open_lists(spec.name, root, lists, only)
    if only is None:
        _check_digest(spec, lists, digest)
    groups = list_splits["probe"].groups if "probe" in list_splits else {}
    further = {split: further[split] for split in list_splits if split in further}
    return OpenedDataset(spec, dict(list_splits), names, digest, groups, further)


def check_lists(spec: DataSpec) -> None:
    """Check that the lists are those the recipe was made for, if it has their digest; no line of them is parsed.

    For callers that open only some of the splits and so do not get the digest.

    Raises:
        DataProblem: the lists were changed, or one is missing.
    """
    if (other := other_lists(spec, spec.lists_digest)) is not None:
        _check_digest(spec, *other)


def other_lists(spec: DataSpec, digest: str | None) -> tuple[Path, str] | None:
    """The folder of the lists and their digest, if it differs from ``digest``, which a run or a recipe recorded.

    Returns:
        None if it does not, if nothing was recorded, and for the built-in set; no line of the lists is parsed.
    Raises:
        DataProblem: a list is missing.
    """
    from oltr_cli.data.lists.lists import other_digest

    if spec.kind != "lists":
        return None
    lists = _folders(spec)[1]
    found = other_digest(spec.name, lists, digest)
    return None if found is None else (lists, found)


def further_lists(spec: DataSpec) -> dict[str, str]:
    """``OpenedDataset.further`` as the lists are now, none of which is parsed; nothing for the built-in set.

    Raises:
        DataProblem: a list is missing.
    """
    from oltr_cli.data.lists.lists import further_digests

    return further_digests(spec.name, _folders(spec)[1]) if spec.kind == "lists" else {}


def misnamed_lists(spec: DataSpec) -> list[str]:
    """What is wrong with each list of open images that no run scores, for its name; none for the built-in set."""
    from oltr_cli.data.lists.open_lists import misnamed_open_sets

    return list(misnamed_open_sets(_folders(spec)[1])) if spec.kind == "lists" else []


def names_now(spec: DataSpec, num_classes: int) -> list[str]:
    """The class names of a dataset of lists as its ``classes.txt`` has them now; none if there is no such file.

    Raises:
        DataProblem: the file cannot be read.
    """
    from oltr_cli.data.lists.class_names import class_names

    folders = _folders(spec)
    if spec.kind != "lists" or not any((folder / "classes.txt").is_file() for folder in folders):
        return []
    return class_names(*folders, num_classes)


def _folders(spec: DataSpec) -> tuple[Path, Path]:
    """The folder of a list-file dataset's images, and that of its lists."""
    root = Path(spec.root).expanduser() if spec.root else data_home() / spec.name
    return root, Path(spec.lists).expanduser() if spec.lists else root


def _check_digest(spec: DataSpec, lists: Path, digest: str) -> None:
    from oltr_cli.data.lists.lists import not_those_of_the_recipe

    if spec.lists_digest not in (None, digest):
        raise DataProblem(f"dataset '{spec.name}': {not_those_of_the_recipe(lists, digest)}")


def remedy(spec: DataSpec) -> str:
    """What to do about an image that a run needs; ``oltr data check`` takes the names of recipes."""
    recipe, own = known_recipes().get(spec.name), {}
    if recipe is not None:
        with suppress(UsageProblem):  # the recipe was broken after the run began
            own = read_recipe(recipe)["data"]
    words = ["oltr", "data", "check", "RECIPE.toml" if recipe is None else spec.name]
    for key in ("root", "lists"):
        if (value := getattr(spec, key)) and own.get(key) != value:
            words += [f"--{key}", value]
    return (
        "repair or replace the file, then the same command resumes from its last checkpoint; to list all such files: "
        f"{shlex.join([*words, '--decode'])}"
    )
