"""List-file datasets: ``relative/path label`` a line, −1 for open images.

``probe.txt``, ``distractors.txt`` and ``attributes.txt`` are for identification: oltr_cli/data/identities.py.

Both the official names (``ImageNet_LT_train.txt``) and ours (``train.txt``) are read, and both path styles that are met
for the same images (``val/x.JPEG`` and ``val/<class>/x.JPEG``).
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from oltr_cli.data.identities import IDENTIFICATION, check_identification, read_groups
from oltr_cli.data.images import decode_file
from oltr_cli.errors import DataProblem

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

    def image(self, index: int) -> torch.Tensor:
        """Image as uint8 (3, H, W); raises DataProblem with the file's name when it cannot be decoded."""
        return decode_file(self.root / self.files[index])


def find_list(folder: Path, split: str) -> Path | None:
    """``split.txt``, or the one ``*_split.txt`` (``open`` does not take ``*_open_val.txt``) in ``folder``.

    Raises:
        DataProblem: several fit.
    """
    own = folder / f"{split}.txt"
    if own.is_file():
        return own
    official = sorted(folder.glob(f"*_{split}.txt"))
    if split == "val":
        official = [path for path in official if not path.name.endswith("open_val.txt")]
    if len(official) > 1:
        raise DataProblem(f"{folder}: several lists fit '{split}': {', '.join(p.name for p in official)}; keep one")
    return official[0] if official else None


def read_list(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Relative paths and labels (N,) of a list file.

    Raises:
        DataProblem: unreadable, empty, a line that is not ``path label``, or a path that leads outside its root.
    """
    names: list[str] = []
    labels: list[int] = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                text = line.strip()
                if not text:
                    continue
                # The label is the last word: file names may hold spaces.
                name, _, label = text.rpartition(" ")
                try:
                    labels.append(int(label))
                except ValueError:
                    raise DataProblem(f"{path}:{number}: '{text[:80]}' is not 'relative/path label'") from None
                name = name.strip()
                if not name:
                    raise DataProblem(f"{path}:{number}: '{text[:80]}' is not 'relative/path label'")
                if name[0] in "/\\" or ".." in name.replace("\\", "/").split("/") or name[1:2] == ":":
                    raise DataProblem(f"{path}:{number}: '{name[:80]}' leads outside the dataset's folder")
                names.append(name)
    except FileNotFoundError:
        raise DataProblem(f"{path}: no such list") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataProblem(f"{path}: cannot be read ({error})") from None
    if not names:
        raise DataProblem(f"{path}: lists no image")
    return names, np.array(labels, dtype=np.int64)


def open_lists(name: str, root: Path, lists: Path) -> tuple[dict[str, ListSplit], list[str], str]:
    """Read and check all lists of a dataset.

    Returns:
        the splits, the class names (from ``classes.txt`` where there is one), and a digest of the lists' text.
    Raises:
        DataProblem: a list or an image is missing, or the labels do not fit together; one line that names it.
    """
    if not root.is_dir():
        raise DataProblem(f"dataset '{name}': no folder {root}; set OLTR_DATA to where datasets lie, or data.root")
    found = {split: find_list(lists, split) for split in (*REQUIRED, *OPTIONAL, *IDENTIFICATION)}
    missing = [split for split in REQUIRED if found[split] is None]
    if missing:
        raise DataProblem(f"dataset '{name}': no list {missing[0]}.txt or *_{missing[0]}.txt in {lists}")
    read = {split: read_list(path) for split, path in found.items() if path is not None}
    check_labels({split: (found[split] or lists, labels) for split, (_, labels) in read.items()})
    attributes = lists / "attributes.txt"
    check_identification({split: (found[split] or lists, *columns) for split, columns in read.items()})
    groups = read_groups(attributes, read["probe"][0]) if "probe" in read and attributes.is_file() else {}
    splits = {}
    for split, (names, labels) in read.items():
        located = locate(root, names, found[split] or lists)
        splits[split] = ListSplit(root, labels, names, located, groups if split == "probe" else {})
    digest = hashlib.sha256()
    for split in sorted(read):
        digest.update(f"{split}\n".encode() + (found[split] or lists).read_bytes())
    if groups:
        digest.update(b"attributes\n" + attributes.read_bytes())
    return splits, class_names(root, lists, int(read["train"][1].max()) + 1), digest.hexdigest()


def check_labels(labels: dict[str, tuple[Path, NDArray[np.int64]]]) -> None:
    """Labels of train are 0..K−1 without a gap, known splits stay inside, open splits are −1 throughout.

    Raises:
        DataProblem: naming the list and the label.
    """
    path, train = labels["train"]
    if train.min() < 0:
        raise DataProblem(f"{path}: label {train.min()} in a training list; open images belong in open.txt")
    counts = np.bincount(train)
    gaps = np.flatnonzero(counts == 0)
    if gaps.size:
        raise DataProblem(
            f"{path}: no training image for label {', '.join(map(str, gaps[:5]))}{', …' if gaps.size > 5 else ''} "
            f"although labels go up to {len(counts) - 1}; number the classes 0..K−1"
        )
    for split, (path, values) in labels.items():
        if split in OPTIONAL:
            if (values != -1).any():
                raise DataProblem(f"{path}: label {values[values != -1][0]} in an open list; open images carry −1")
        elif split not in IDENTIFICATION and (values.min() < 0 or values.max() >= len(counts)):
            wrong = values[(values < 0) | (values >= len(counts))][0]
            raise DataProblem(f"{path}: label {wrong} has no training image (labels 0..{len(counts) - 1})")


def locate(root: Path, names: list[str], listed_in: Path) -> list[str]:
    """For each listed name the file below ``root``, in whichever of the two path styles it lies there.

    Each folder is read once; no file is touched.

    Raises:
        DataProblem: files are missing; the first is named, the others counted.
    """
    contents: dict[str, set[str]] = {}

    def holds(folder: str, file: str) -> bool:
        if folder not in contents:
            contents[folder] = _file_names(root / folder)
        return file in contents[folder]

    nested: dict[str, dict[str, str]] = {}
    located: list[str] = []
    missing: list[str] = []
    for name in names:
        path = PurePosixPath(name)
        folder, file = str(path.parent), path.name
        if holds(folder, file):
            located.append(name)
        elif holds(str(path.parent.parent), file):
            located.append(str(path.parent.parent / file))
        else:
            if folder not in nested:
                nested[folder] = _files_one_below(root / folder, folder)
            if file in nested[folder]:
                located.append(nested[folder][file])
            else:
                missing.append(name)
    if missing:
        raise DataProblem(
            f"{listed_in}: {len(missing):,} of {len(names):,} images are not below {root}; the first is {missing[0]}"
        )
    return located


def _file_names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder)}
    except OSError:
        return set()


def _files_one_below(folder: Path, relative: str) -> dict[str, str]:
    """File name → path relative to the root, for the files in the sub-folders of ``folder``."""
    try:
        below = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return {}
    return {file: f"{relative}/{sub}/{file}" for sub in below for file in _file_names(folder / sub)}


def class_names(root: Path, lists: Path, num_classes: int) -> list[str]:
    """Names by label from ``classes.txt`` (a line a class; a leading WordNet id is dropped), else ``class 0`` …"""
    candidates: Iterable[Path] = (lists / "classes.txt", root / "classes.txt")
    for path in candidates:
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()[:num_classes]
            if len(lines) == num_classes:
                split = [line.split(maxsplit=1) for line in lines]
                return [" ".join(words[1:] or words) or f"class {i}" for i, words in enumerate(split)]
    return [f"class {label}" for label in range(num_classes)]
