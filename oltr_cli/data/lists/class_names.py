"""Names of classes, from ``classes.txt``."""

import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from oltr_cli.data.lists.list_file import read_lines

_WORDNET = re.compile(r"n\d{8}\s+(?=\S)", re.ASCII)
_PLACES365 = re.compile(r"/[a-z]/(\S+) \d+", re.ASCII)  # categories_places365.txt: /d/desert/sand 117
_NUMBER = re.compile(r"\d{1,18}(?=\s|$)", re.ASCII)
_NUMBERED = re.compile(r"\d+\s+(?=\S)", re.ASCII)


def class_names(root: Path, lists: Path, num_classes: int) -> list[str]:
    """Names by label from ``classes.txt``, which has one line per class, or ``class 0`` … if there is no such file.

    Not part of a name are a WordNet id before it, and numbers that every line begins with, as ``oltr data build``
    and ``prepare`` write them: the labels, or 0003, 0007, … where classes are set aside. Lines of Places365's list of
    categories (``/a/airfield 0``) are understood.

    Raises:
        DataProblem: ``classes.txt`` cannot be read.
    """
    for path in (lists / "classes.txt", root / "classes.txt"):
        if path.is_file():
            lines = [line.strip() for line in read_lines(path)[:num_classes]]
            if len(lines) == num_classes:
                return [name or f"class {label}" for label, name in enumerate(_names(lines))]
    return [f"class {label}" for label in range(num_classes)]


def names_alike(names: Iterable[str]) -> list[list[str]]:
    """Different names that differ only in case or blanks, in groups."""
    groups: dict[str, dict[str, None]] = {}
    for name in names:
        groups.setdefault(" ".join(name.split()).casefold(), {})[name] = None
    return [list(group) for group in groups.values() if len(group) > 1]


def called_unknown(names: Iterable[str]) -> list[str]:
    """Names that read like the label of an image that is rejected."""
    return [name for name in names if name.strip().casefold() == "unknown"]


def _names(lines: list[str]) -> list[str]:
    places = [_PLACES365.fullmatch(line) for line in lines]
    if all(places):
        return [match[1] for match in places if match]
    numbers = [match[0] for line in lines if (match := _NUMBER.match(line))]
    start = _NUMBERED if len(numbers) == len(lines) and _is_numbering(numbers) else _WORDNET
    return [start.sub("", line, count=1) if start.match(line) else line for line in lines]


def _is_numbering(numbers: list[str]) -> bool:
    """Whether these are the labels, or rise from one with zeros in front: not so the years of coins."""
    if all(int(number) == label for label, number in enumerate(numbers)):
        return True
    rising = all(len(a) == len(b) and a < b for a, b in pairwise(numbers))
    return rising and len(numbers[0]) >= 4 and numbers[0][0] == "0"
