"""Images that are kept in one split: those of a group, near copies, and chains of both."""

import csv
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from oltr_cli.base.text import counted
from oltr_cli.data.build.split import Photographs
from oltr_cli.errors import DataProblem


def kept_together(
    photographs: Photographs, groups: Mapping[Path, str], near: Sequence[Sequence[Path]]
) -> list[list[Path]]:
    """The images of ``photographs`` that belong together, two or more in each group.

    Args:
        groups: name of the group by image. near: groups of nearly identical images.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    wanted = {path for files in photographs.values() for path in files}
    edges = [pair for group in near for pair in itertools.pairwise(path for path in group if path in wanted)]
    first: dict[str, Path] = {}
    edges += [(first.setdefault(group, path), path) for path, group in groups.items() if path in wanted]
    paths = list(dict.fromkeys(path for edge in edges for path in edge))
    if not paths:
        return []
    position = {path: i for i, path in enumerate(paths)}
    ends = np.array([(position[a], position[b]) for a, b in edges])
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(len(paths),) * 2)
    found: dict[int, list[Path]] = {}
    for path, label in zip(paths, connected_components(graph, directed=False)[1].tolist(), strict=True):
        found.setdefault(label, []).append(path)
    return [sorted(group) for group in found.values() if len(group) > 1]


def check_given(groups: Mapping[Path, str], given: Mapping[Path, str]) -> None:
    """Raise DataProblem if a group is in two of the splits that ``given`` names."""
    first: dict[str, Path] = {}
    for path, split in given.items():
        if (group := groups.get(path)) is None:
            continue
        other = first.setdefault(group, path)
        if given[other] != split:
            raise DataProblem(
                f"the group '{group}' has images in two splits: {other} ({given[other]}) and {path} ({split}); correct "
                "the splits, or leave them to the groups"
            )


def why_no_split(known: Photographs, together: Sequence[Sequence[Path]]) -> str:
    """Why there is nothing to validate on, or nothing to test."""
    images = sum(map(len, known.values()))
    units = images - sum(map(len, together)) + len(together)
    if together and max(map(len, known.values())) >= 3:
        return (
            f"{counted(images, 'photograph')} in {counted(units, 'group')} (one of no group counts as one), which "
            "training, validation and test cannot share so that every class keeps training images; make smaller "
            "groups, or use --split-near if nearly identical photographs make them large"
        )
    return "no class has three readable images, one each for training, validation and test"


def groups_text(
    rows: Mapping[str, Sequence[tuple[Path, int]]], groups: Mapping[Path, str], name: Callable[[Path], str]
) -> str:
    """A CSV ``path,group`` of the listed images that have a group; ``data check`` reads it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "group"))
    listed = dict.fromkeys(path for pairs in rows.values() for path, _ in pairs)
    writer.writerows((name(path), groups[path]) for path in listed if path in groups)
    return text.getvalue()
