"""Answers at a higher level: a tree above the classes, and the most specific node that is probable enough.

The probability of a node is the sum of the softmax probabilities of the classes below it (with its own, if it is a
class). Of the nodes that reach the probability wanted, which is above a half, any two share a class and so lie on one
path upwards; the lowest of them is the answer. Sums of softmax probabilities are as right as the network is calibrated
(ECE in oltr evaluate).

The file is CSV in UTF-8, with or without a header. A line goes upwards: a name, its parent, the parent's parent and so
on, as many as wanted. ``child,parent`` and ``class,level1,level2`` are both of this form, level1 being the nearest.
Empty cells are skipped, and a line with one name alone says that it has no parent.
"""

import csv
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.text import some, visible
from oltr_cli.errors import DataProblem, UsageProblem, nearest

_HEADERS = {"child", "class", "label", "name", "species", "taxon"}  # first cells of a header
_OTHER_MARKS = {";": "semicolons", "\t": "tabs"}  # of spreadsheets in some languages


@dataclass(frozen=True)
class Taxonomy:
    """A forest above K classes, with M nodes in all.

    Attributes:
        names: (M,) the nodes.
        depth: (M,) 0 for a node without a parent.
        below: sparse (M, K), 1 where the class is the node or below it.
        sizes: (M,) classes of each node.
    """

    names: list[str]
    depth: NDArray[np.int64]
    below: Any
    sizes: NDArray[np.int64]

    def most_specific(
        self, probabilities: NDArray[np.floating], at_least: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The lowest node of each image that reaches ``at_least``.

        Args:
            probabilities: of the classes (B, K), rows summing to 1.

        Returns:
            nodes (B,), −1 if only all classes together reach it, and their probabilities (B,), 1 for −1.
        """
        shares = (self.below @ np.asarray(probabilities, np.float64).T).T
        reached = np.where(shares >= at_least, self.depth, -1)
        nodes = reached.argmax(axis=1)
        rows = np.arange(len(nodes))
        found = reached[rows, nodes] >= 0
        return np.where(found, nodes, -1), np.where(found, np.minimum(shares[rows, nodes], 1.0), 1.0)


def check_at_least(at_least: float) -> float:
    """``at_least``, which must be above a half: up to it, nodes of different branches may both reach it.

    Raises:
        UsageProblem: it is not, or it is 1 or more.
    """
    if not isinstance(at_least, Real) or not 0.5 < at_least < 1:
        raise UsageProblem(f"at least {at_least}: give a probability above 0.5 and below 1, such as 0.9")
    return at_least


def read_taxonomy(path: Path, class_names: list[str]) -> Taxonomy:
    """The tree in ``path`` above the classes (K,) of a run.

    Raises:
        DataProblem: the file cannot be read, a class is not in it, a name at the bottom is no class, a name has two
            parents or is above itself, or two classes have the same name.
    """
    parents = _read_parents(path, class_names)
    _check_classes(path, parents, class_names)
    return _tree(path, {name: parent for name, (parent, _) in parents.items()}, class_names)


def _read_parents(path: Path, class_names: list[str]) -> dict[str, tuple[str | None, int]]:
    """Name → its parent, None at the top, and the line that says so."""
    parents: dict[str, tuple[str | None, int]] = {}
    tops: dict[str, int] = {}
    known = set(class_names)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                names = [cell.strip() for cell in row if cell.strip()]
                header = not tops and not parents and names and names[0].lower() in _HEADERS
                if not names or (header and names[0] not in known):
                    continue
                _add_line(path, reader.line_num, names, parents)
                tops.setdefault(names[-1], reader.line_num)
    except csv.Error as error:
        raise DataProblem(f"{path}:{reader.line_num}: not valid CSV ({error})") from None
    except UnicodeDecodeError:
        raise DataProblem(f"{path}: is not text in UTF-8") from None
    except OSError as error:
        raise DataProblem(f"{path}: {(error.strerror or str(error)).lower()}") from None
    if not tops:
        raise DataProblem(f"{path}: is empty; expected lines of child,parent or class,level1,level2")
    return {name: (None, line) for name, line in tops.items() if name not in parents} | parents


def _add_line(path: Path, line: int, names: list[str], parents: dict[str, tuple[str | None, int]]) -> None:
    for child, parent in pairwise(names):
        before, where = parents.setdefault(child, (parent, line))
        if before != parent:
            raise DataProblem(
                f"{path}:{line}: '{visible(child)}' has the parent '{visible(parent)}' here and "
                f"'{visible(str(before))}' in line {where}; leave one of them out, or give one child another name"
            )


def _check_classes(path: Path, parents: dict[str, tuple[str | None, int]], class_names: list[str]) -> None:
    known = set(class_names)
    if len(known) < len(class_names):
        twice = next(name for name in class_names if class_names.count(name) > 1)
        raise DataProblem(f"{path}: two classes of the run are called '{visible(twice)}'; see oltr data rename")
    above = {parent for parent, _ in parents.values()}
    for name, (_, line) in parents.items():
        if name not in above and name not in known:
            if other := next((mark for mark in _OTHER_MARKS if any(mark in one for one in parents)), None):
                raise DataProblem(
                    f"{path}:{line}: '{visible(name)}' is no class of the run; cells must be separated by commas, not "
                    f"by {_OTHER_MARKS[other]}"
                )
            raise DataProblem(
                f"{path}:{line}: '{visible(name)}' is neither a class of the run nor above one"
                f"{nearest(name, known - parents.keys() or known)}; leave the line out or correct the name"
            )
    if missing := [visible(name) for name in class_names if name not in parents]:
        raise DataProblem(f"{path}: has no line for these classes of the run: {some(missing)}")


def _tree(path: Path, parents: dict[str, str | None], class_names: list[str]) -> Taxonomy:
    from scipy.sparse import csr_array

    depth: dict[str, int] = {}
    for name in parents:
        # Up to a name whose depth is known, and down again. A name that comes twice on the way is above itself.
        way: dict[str, None] = {}
        at: str | None = name
        while at is not None and at not in depth:
            if at in way:
                cycle = [*list(way)[list(way).index(at) :], at]
                raise DataProblem(f"{path}: a cycle: {' → '.join(map(visible, cycle))}; a name cannot be above itself")
            way[at] = None
            at = parents[at]
        level = -1 if at is None else depth[at]
        for one in reversed(way):
            level += 1
            depth[one] = level
    node = {name: index for index, name in enumerate(parents)}
    rows, columns = [], []
    for label, name in enumerate(class_names):
        at = name
        while at is not None:
            rows.append(node[at])
            columns.append(label)
            at = parents[at]
    below = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(node), len(class_names)))
    sizes = np.bincount(rows, minlength=len(node))
    return Taxonomy(list(node), np.array([depth[name] for name in node], np.int64), below, sizes)
