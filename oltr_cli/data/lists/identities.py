"""Lists of images to identify: ``probe.txt``, ``distractors.txt``, and ``attributes.txt`` for groups of probes.

A probe's label is its identity, a number that has nothing to do with the classes; a distractor's is −1. How they are
used: oltr_cli/protocol/identification.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oltr_cli.data.lists.list_file import read_lines
from oltr_cli.errors import DataProblem

IDENTIFICATION = ("probe", "distractors")  # both or neither
RATES = ("full", "many", "few", "one", "zero")  # beside those of the groups of attributes.txt
GROUP_NAME = re.compile(r"[A-Za-z0-9_.-]+")  # a part of a metric's name


def check_identification(read: dict[str, tuple[Path, list[str], NDArray[np.int64]]]) -> None:
    """Probes come with distractors, have identities ≥ 0, at least one with two images, and are in no other list.

    Raises:
        DataProblem: naming the list and the label or the image.
    """
    problems = identification_problems({split: (names, labels) for split, (_, names, labels) in read.items()})
    for split, problem in problems:
        raise DataProblem(f"{read[split][0]}: {problem}")


def identification_problems(read: dict[str, tuple[list[str], NDArray[np.int64]]]) -> Iterator[tuple[str, str]]:
    """(split, what is wrong with it), for everything that ``check_identification`` refuses.

    Args:
        read: paths and labels (N,) of each split.
    """
    missing = [split for split in IDENTIFICATION if split not in read]
    if missing:
        if len(missing) == 1:
            other = next(split for split in IDENTIFICATION if split in read)
            yield other, f"identification needs {missing[0]}.txt as well"
        return
    names, identities = read["probe"]
    if (identities < 0).any():
        yield "probe", f"identity {identities.min()}; identities must be 0 or higher"
    if len(np.unique(identities)) == len(identities):
        yield "probe", "no identity has two images; a probe is found by another image of the same identity"
    labels = read["distractors"][1]
    if (labels != -1).any():
        yield "distractors", f"identity {labels[labels != -1][0]} of a distractor; distractors must have −1"
    listed = set(names)
    for where in ("train", "distractors"):
        both = next((name for name in read[where][0] if name in listed), None)
        if both is not None:
            yield "probe", f"{both} is also in {where}.txt"


def read_groups(path: Path, names: list[str]) -> dict[str, NDArray[np.bool_]]:
    """Group → its members (N,) among the images ``names``, from lines ``relative/path group``; an image may have many.

    Raises:
        DataProblem: a line of another form, an image that is not a probe, an invalid group name.
    """
    place = {name: i for i, name in enumerate(names)}
    groups: dict[str, NDArray[np.bool_]] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        name, _, group = (part.strip() for part in line.strip().rpartition(" "))
        if name not in place:
            raise DataProblem(f"{path}:{number}: '{name[:80]}' is not in the list of probes; lines are 'path group'")
        if not GROUP_NAME.fullmatch(group) or group in RATES:
            raise DataProblem(
                f"{path}:{number}: invalid group name '{group[:80]}'; "
                f"use letters, digits, '_', '.' and '-', and none of {', '.join(RATES)}"
            )
        groups.setdefault(group, np.zeros(len(names), np.bool_))[place[name]] = True
    return dict(sorted(groups.items()))
