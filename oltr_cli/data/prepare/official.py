"""The lists that a dataset's authors published, used only if they are as published.

A list of another dataset, a shortened one or one with other labels would train without complaint and give numbers that
cannot be compared with any others.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.text import counted, some
from oltr_cli.data.inspect.published import PUBLISHED
from oltr_cli.data.lists.lists import read_list
from oltr_cli.errors import DataProblem, several

SPLITS = ("train", "val", "test", "open")


@dataclass(frozen=True)
class Official:
    """One published list: paths and labels (N,)."""

    path: Path
    names: list[str] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)


def read_official(name: str, prefix: str, folders: Iterable[Path], train_counts: Sequence[int]) -> dict[str, Official]:
    """``PREFIX_{train,val,test,open}.txt`` of dataset ``name``, each from the first folder that has it.

    Args:
        train_counts: published training images of each class, by label.
    Raises:
        DataProblem: a list is unreadable or not the published one, or an image is in two lists.
    """
    found: dict[str, Official] = {}
    problems: list[str] = []
    where = list(dict.fromkeys(folders))
    for split in SPLITS:
        path = next((f / f"{prefix}_{split}.txt" for f in where if (f / f"{prefix}_{split}.txt").is_file()), None)
        if path is not None:
            found[split] = Official(path, *read_list(path))
            problems += [f"{path.name} {problem}" for problem in _differences(name, split, found[split], train_counts)]
    if "train" in found and "val" in found:
        both = sorted(set(found["train"].names) & set(found["val"].names))
        if both:
            problems.append(f"images in both {prefix}_train.txt and {prefix}_val.txt: {some(both)}")
    if problems:
        raise DataProblem(several(", ".join(str(folder) for folder in where), problems))
    return found


def _differences(name: str, split: str, listed: Official, train_counts: Sequence[int]) -> list[str]:
    """How a list differs from the published one."""
    published = PUBLISHED[name]
    expected, images = published.images[split], len(listed.names)
    if images != expected:
        others = [other for other, facts in PUBLISHED.items() if images in facts.images.values() and other != name]
        hint = f"; {others[0]} has a list of that length" if others else ""
        return [f"has {counted(images, 'image')}, the published list {expected:,}{hint}"]
    repeated = [path for path, times in Counter(listed.names).items() if times > 1]
    problems = [f"has images twice: {some(repeated)}"] if repeated else []
    if split == "open":
        if (listed.labels != -1).any():
            problems.append(f"has label {listed.labels[listed.labels != -1][0]}; open images must have label −1")
        return problems
    outside = listed.labels[(listed.labels < 0) | (listed.labels >= published.classes)]
    if len(outside):
        return [*problems, f"has label {outside[0]}; labels are 0..{published.classes - 1}"]
    counts = np.bincount(listed.labels, minlength=published.classes)
    same = np.full(published.classes, expected // published.classes)
    wanted = np.asarray(train_counts) if split == "train" else same
    wrong = np.flatnonzero(counts != wanted)
    if len(wrong):
        few = some([f"label {label} has {counts[label]:,}, not {wanted[label]:,}" for label in wrong])
        problems.append(f"has numbers of images that differ from the published ones: {few}")
    return problems


def label_problems(listed: Official, classes: Sequence[str], class_of: Callable[[str], str]) -> list[str]:
    """Where a listed path names another class than its label means.

    Args:
        class_of: path → class; "" for a path that names none.
    """
    wrong = {
        label: f"label {label} is {named}, not {classes[label]}"
        for path, label in zip(listed.names, listed.labels.tolist(), strict=True)
        if (named := class_of(path)) and named != classes[label]
    }
    return [f"{listed.path.name}: {some([wrong[label] for label in sorted(wrong)])}"] if wrong else []
