"""Images in two lists, or under two labels: runs refuse them, and ``oltr data check`` counts them."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from numpy.typing import NDArray

from oltr_cli.base.text import counted, some
from oltr_cli.data.lists.identities import IDENTIFICATION
from oltr_cli.errors import DataProblem
from oltr_cli.protocol.open_sets import OUTLIERS, is_open


def check_leaks(
    listed_in: Mapping[str, Path], files: Mapping[str, Sequence[str]], labels: Mapping[str, NDArray]
) -> None:
    """No image is in two lists, except as probe or distractor, and none has two labels.

    Args:
        files, labels: the file and the label (N,) of each image, by split.
    Raises:
        DataProblem: naming the lists and the first images.
    """
    spelled = {split: one_spelling(paths) for split, paths in files.items()}
    for split, paths in spelled.items():
        if torn := two_labels(paths, labels[split].tolist()):
            raise DataProblem(
                f"{listed_in[split]}: {counted(len(torn), 'image')} under different labels: {some(torn)}; keep one "
                "line of each"
            )
    for one, other, both in in_two_lists(spelled):
        if is_leak(one, other):
            raise DataProblem(
                f"{listed_in[other]}: {counted(len(both), 'image')} also in {listed_in[one].name}{why(one, other)}: "
                f"{some(both)}; remove them from one of the lists"
            )


def one_spelling(paths: Sequence[str]) -> list[str]:
    """``a//b`` and ``a/./b`` as ``a/b``; few paths have either."""
    return [posixpath.normpath(path) if "//" in path or "./" in path else path for path in paths]


def two_labels(paths: Sequence[str], labels: Sequence[int]) -> list[str]:
    """The paths of one list that are in it with different labels."""
    if len(set(paths)) == len(paths):
        return []
    own: dict[str, set[int]] = {}
    for path, label in zip(paths, labels, strict=True):
        own.setdefault(path, set()).add(label)
    return [path for path, found in own.items() if len(found) > 1]


def in_two_lists(paths: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, list[str]]]:
    """(split, other split, the paths in both), without pairs of the lists for identification, which have their own
    rules: oltr_cli/data/lists/identities.py."""
    sets = {split: set(of_one) for split, of_one in paths.items()}
    for one, other in combinations(sets, 2):
        own_rules = other in IDENTIFICATION and one in ("train", *IDENTIFICATION)
        if not own_rules and (both := sets[one] & sets[other]):
            yield one, other, sorted(both)


def is_leak(one: str, other: str) -> bool:
    """Whether an image must not be in both splits."""
    return not {one, other} & set(IDENTIFICATION)


def why(one: str, other: str) -> str:
    """What is wrong with an image in two splits, to follow ``in both lists``."""
    if {one, other} == {"train", OUTLIERS}:
        return ", both known and open"
    if "train" in (one, other) or OUTLIERS in (one, other):
        return ", so training sees what is tested"
    if is_open(one) != is_open(other):
        return ", both known and open"
    if is_open(one) and "open_val" not in (one, other):
        return ", so two open sets are not apart"
    return ", so what is tested also chooses the epoch and the threshold" if is_leak(one, other) else ""
