"""List-file datasets: one ``relative/path label`` per line, −1 for open images.

``open_NAME.txt`` are further open test sets, ``open_train.txt`` has outliers: oltr_cli/data/lists/open_lists.py.
``probe.txt``, ``distractors.txt`` and ``attributes.txt`` are for identification: oltr_cli/data/lists/identities.py.

Both the official names (``ImageNet_LT_train.txt``) and ours (``train.txt``) are read, and both path styles in use for
the same images (``val/x.JPEG`` and ``val/<class>/x.JPEG``).
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from oltr_cli.data.lists.class_names import class_names
from oltr_cli.data.lists.identities import IDENTIFICATION, check_identification, read_groups
from oltr_cli.data.lists.leaks import check_leaks
from oltr_cli.data.lists.list_file import find_list, read_list
from oltr_cli.data.lists.locate import locate
from oltr_cli.data.lists.open_lists import check_classes, find_open_sets, misnamed_open_sets
from oltr_cli.errors import DataProblem
from oltr_cli.protocol.open_sets import OUTLIERS, is_further, is_open

if TYPE_CHECKING:
    from torch import Tensor

REQUIRED = ("train", "val", "test")
OPTIONAL = ("open", "open_val")


@dataclass(frozen=True)
class ListSplit:
    """One split: N files below ``root`` and their labels; ``groups``: name → members (N,), of probes."""

    root: Path
    labels: NDArray[np.int64]
    names: list[str]
    files: list[str] = field(repr=False)
    groups: dict[str, NDArray[np.bool_]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def joined(self, other: "ListSplit") -> "ListSplit":
        """The images of both, those of ``other`` last."""
        labels = np.concatenate([self.labels, other.labels])
        return ListSplit(self.root, labels, [*self.names, *other.names], [*self.files, *other.files])

    def image(self, index: int) -> "Tensor":
        """Image as uint8 (3, H, W); raises DataProblem with the file's name when it cannot be decoded."""
        from oltr_cli.data.images import decode_file

        return decode_file(self.root / self.files[index])


@dataclass(frozen=True)
class ReadLists:
    """All lists of a dataset, read and checked against each other; their images were not looked up."""

    paths: dict[str, Path]
    names: dict[str, list[str]]
    labels: dict[str, NDArray[np.int64]]

    @property
    def num_classes(self) -> int:
        return int(self.labels["train"].max()) + 1


def find_lists(name: str, lists: Path, only: tuple[str, ...] | None = None) -> dict[str, Path]:
    """Split → list file of dataset ``name`` in the folder ``lists``; none of them is opened.

    Raises:
        DataProblem: a list that every dataset has is missing, or several fit.
    """
    known = (*REQUIRED, *OPTIONAL, *find_open_sets(lists), OUTLIERS, *IDENTIFICATION)
    wanted = [split for split in known if only is None or split in only]
    found = {split: find_list(lists, split) for split in wanted}
    missing = [split for split in REQUIRED if split in wanted and found[split] is None]
    if missing:
        raise DataProblem(f"dataset '{name}': no list {missing[0]}.txt or *_{missing[0]}.txt in {lists}")
    return {split: path for split, path in found.items() if path is not None}


def read_lists(name: str, lists: Path, only: tuple[str, ...] | None = None) -> ReadLists:
    """Read the lists of dataset ``name`` in the folder ``lists``.

    Args:
        only: splits to read; the files of all others are not opened.
    Raises:
        DataProblem: a list is missing or unreadable, or the labels do not fit together; one line that names it.
    """
    paths = find_lists(name, lists, only)
    for problem in misnamed_open_sets(lists):
        raise DataProblem(problem)
    read = {split: read_list(path) for split, path in paths.items()}
    check_labels({split: (paths[split], labels) for split, (_, labels) in read.items()})
    check_identification({split: (paths[split], *columns) for split, columns in read.items()})
    return ReadLists(
        paths,
        {split: names for split, (names, _) in read.items()},
        {split: labels for split, (_, labels) in read.items()},
    )


def open_lists(
    name: str, root: Path, lists: Path, only: tuple[str, ...] | None = None
) -> tuple[dict[str, ListSplit], list[str], str]:
    """Read and check all lists of a dataset, and find their images.

    Args:
        only: the splits to read, train among them.
    Returns:
        the splits, the class names (from ``classes.txt`` where there is one), and a digest of the lists' text, but of
        those in ``further_digests``.
    Raises:
        DataProblem: a list or an image is missing, an image is in two lists, a class is open and among the outliers, or
            the labels do not fit together; one line that names it.
    """
    if not root.is_dir():
        raise DataProblem(
            f"dataset '{name}': no folder {root}; set OLTR_DATA to the folder of your datasets, or set data.root"
        )
    read = read_lists(name, lists, only)
    attributes = lists / "attributes.txt"
    groups = read_groups(attributes, read.names["probe"]) if "probe" in read.names and attributes.is_file() else {}
    files = locate(root, read.names, read.paths)
    check_leaks(read.paths, files, read.labels)
    check_classes(read.paths, read.names)
    splits = {
        split: ListSplit(root, read.labels[split], read.names[split], found, groups if split == "probe" else {})
        for split, found in files.items()
    }
    texts = {split: path.read_bytes() for split, path in read.paths.items() if not is_further(split)}
    if groups:
        texts["attributes"] = attributes.read_bytes()
    return splits, class_names(root, lists, read.num_classes), digest_of(texts)


def digest_of_files(name: str, lists: Path) -> str:
    """The digest that ``open_lists`` returns, from the files' bytes alone: no line of them is parsed.

    Raises:
        DataProblem: a list is missing, or cannot be opened.
    """
    paths, attributes = find_lists(name, lists), lists / "attributes.txt"
    if "probe" in paths and attributes.is_file():
        paths["attributes"] = attributes
    texts = {split: _content(path) for split, path in paths.items() if not is_further(split)}
    if not texts.get("attributes", b"").strip():  # no groups
        texts.pop("attributes", None)
    return digest_of(texts)


def further_digests(name: str, lists: Path) -> dict[str, str]:
    """The digest of each further open set's list and of that of the outliers, by split; no line of them is parsed.

    Raises:
        DataProblem: as ``digest_of_files``.
    """
    further = {split: path for split, path in find_lists(name, lists).items() if is_further(split)}
    return {split: hashlib.sha256(_content(path)).hexdigest() for split, path in further.items()}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataProblem(f"{path}: cannot be read ({error})") from None


def other_digest(name: str, lists: Path, digest: str | None) -> str | None:
    """The digest of the lists in the folder ``lists`` if it is not ``digest``; None if it is, or if that is None.

    Raises:
        DataProblem: as ``digest_of_files``.
    """
    if digest is None:
        return None
    found = digest_of_files(name, lists)
    return found if found != digest else None


def not_those_of_the_recipe(lists: Path, digest: str) -> str:
    """The message about lists whose ``digest`` is not the one in their recipe."""
    return (
        f"the lists in {lists} are not those its recipe was made for; build it again or, if you changed them on "
        f'purpose, set lists_digest = "{digest}" in its [data]'
    )


def digest_of(texts: Mapping[str, bytes]) -> str:
    """A digest that identifies the lists ``texts`` (by split; that of attributes by this word)."""
    digest = hashlib.sha256()
    for split in sorted(texts, key=lambda split: (split == "attributes", split)):
        digest.update(f"{split}\n".encode() + texts[split])
    return digest.hexdigest()


def check_labels(labels: dict[str, tuple[Path, NDArray[np.int64]]]) -> None:
    """Labels of train are 0..K−1 without a gap, known splits stay inside, open splits are −1 throughout.

    Raises:
        DataProblem: naming the list and the label.
    """
    for split, problem in label_problems({split: values for split, (_, values) in labels.items()}):
        raise DataProblem(f"{labels[split][0]}: {problem}")


def label_problems(labels: dict[str, NDArray[np.int64]]) -> Iterator[tuple[str, str]]:
    """(split, what is wrong with its labels), for everything that ``check_labels`` refuses.

    Args:
        labels: of each split (N,); those of train, at least one, say which classes there are.
    """
    train = np.unique(labels["train"])
    if train[0] < 0:
        yield "train", f"{_some(train[train < 0])} in a training list; open images belong in open.txt"
    train = train[train >= 0]
    classes = int(train[-1]) + 1 if len(train) else 0
    if gaps := classes - len(train):
        # This range has all gaps that are shown; a label may be far too large to list all below it.
        first = np.setdiff1d(np.arange(min(classes, len(train) + 5)), train)[:5]
        yield (
            "train",
            f"no training image for label {', '.join(map(str, first))}{', …' if gaps > 5 else ''} "
            f"although labels go up to {classes - 1}; number the classes 0..K−1",
        )
    for split, values in labels.items():
        if is_open(split):
            if (values != -1).any():
                yield split, f"{_some(values[values != -1])} in an open list; open images must have label −1"
        elif split not in IDENTIFICATION:
            wrong = values[(values < 0) | (values >= classes)]
            if len(wrong) and split != "train":
                has = "has" if len(np.unique(wrong)) == 1 else "have"
                yield split, f"{_some(wrong)} {has} no training image (labels 0..{classes - 1})"


def _some(values: NDArray[np.int64]) -> str:
    """``label 5``, or ``labels 5, 7, …``."""
    different = np.unique(values)
    if len(different) == 1:
        return f"label {different[0]}"
    return f"labels {', '.join(map(str, different[:5]))}{', …' if len(different) > 5 else ''}"
