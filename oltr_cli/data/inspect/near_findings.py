"""Nearly identical images of two splits or two classes: what ``oltr data check`` says of them, and a picture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oltr_cli.base.files import write_atomically
from oltr_cli.base.text import counted
from oltr_cli.data.images import decode_pixels
from oltr_cli.data.inspect.findings import Finding
from oltr_cli.data.inspect.near import SHOWN, near_copies, near_in_two_splits
from oltr_cli.data.lists.identities import IDENTIFICATION
from oltr_cli.drawing.contact_sheet import SIDE, Tile, contact_sheet, fit
from oltr_cli.errors import DataProblem
from oltr_cli.protocol.open_sets import is_open_set

GROUPS_SHOWN, IMAGES_SHOWN = 60, 8
_INKS = {"error": "#D55E00", "warning": "#E69F00"}


@dataclass
class Near:
    """Near copies that are in two splits or of two classes.

    Attributes:
        findings: a line for each pair of splits, and one for classes.
        groups: severity, and the images of a group, errors first.
        uses: split and label of each image in them, once for each list that has it.
    """

    findings: list[Finding] = field(default_factory=list)
    groups: list[tuple[str, list[str]]] = field(default_factory=list)
    uses: dict[str, list[tuple[str, int]]] = field(default_factory=dict)


def near_findings(
    files: Mapping[str, Sequence[str | None]],
    labels: Mapping[str, NDArray[np.int64]],
    thumbnails: Mapping[str, NDArray[np.uint8]],
    published: bool,
) -> Near:
    """What there is to say about the images that were decoded.

    Args:
        files, labels: of each split, (N,); None for a missing file. thumbnails: by file.
        published: the splits are others' work, as they are, so near copies are no error.
    """
    near = Near()
    groups = near_copies(thumbnails)
    near.uses = {file: [] for group in groups for file in group}
    for split, found in files.items():
        if split not in IDENTIFICATION:
            for file, label in zip(found, labels[split].tolist(), strict=True):
                if file in near.uses:
                    near.uses[str(file)].append((split, label))
    near.findings = list(_across_splits(near.uses, groups, list(files), published))
    errors = any(finding.severity == "error" for finding in near.findings)
    torn = [
        group for group in groups if len({label for file in group for _, label in near.uses[file] if label >= 0}) > 1
    ]
    if torn:
        message = f"{counted(len(torn), 'group')} of nearly identical images under different labels: "
        message += _named([_two_labels(group, near.uses) for group in torn])
        near.findings.append(Finding("warning", "near_labels", message, count=len(torn)))
    for group in groups:
        across = len({split for file in group for split, _ in near.uses[file]}) > 1
        if across or group in torn:
            near.groups.append(("error" if across and errors else "warning", group))
    near.groups.sort(key=lambda item: item[0])
    return near


def write_near_sheet(root: Path, near: Near, names: Sequence[str], out: Path) -> None:
    """Write the groups as a contact sheet, the first ``IMAGES_SHOWN`` of the first ``GROUPS_SHOWN``.

    Args:
        names: of the classes.
    Raises:
        OltrError: cannot be written.
    """
    tiles = []
    for number, (severity, group) in enumerate(near.groups[:GROUPS_SHOWN], 1):
        title = f"{number} · {counted(len(group), 'image')} nearly identical"
        for file in _spread(group, near.uses):
            try:
                picture = fit(Image.fromarray(decode_pixels(root / file)), SIDE)
            except DataProblem:  # it could be read a moment ago
                picture = None
            uses = ", ".join(
                f"{split} · {names[label] if 0 <= label < len(names) else label}" if label >= 0 else split
                for split, label in near.uses[file]
            )
            tiles.append(Tile(picture, (uses, Path(file).name), _INKS[severity], title))
    shown = f", {GROUPS_SHOWN} of {len(near.groups):,} groups" if len(near.groups) > GROUPS_SHOWN else ""
    sheet = contact_sheet(tiles, IMAGES_SHOWN, f"Nearly identical in two splits or under two labels{shown}")
    write_atomically(out, lambda file: sheet.save(file, format="PNG"))


def _across_splits(
    uses: Mapping[str, list[tuple[str, int]]], groups: list[list[str]], splits: list[str], published: bool
) -> Iterator[Finding]:
    files = {split: [file for file, used in uses.items() if split in (s for s, _ in used)] for split in splits}
    for one, other, pairs in near_in_two_splits(files, groups):
        harmless = published or (is_open_set(one) and is_open_set(other))
        message = f"{counted(len(pairs), 'image')} nearly identical to one of {one}, as in a burst: {_named(pairs)}"
        yield Finding("warning" if harmless else "error", "near_copies", message, (one, other), len(pairs))


def _named(pairs: Sequence[tuple[str, str]]) -> str:
    shown = ", ".join(f"{one} = {other}" for one, other in pairs[:SHOWN])
    return shown + (", …" if len(pairs) > SHOWN else "")


def _two_labels(group: list[str], uses: Mapping[str, list[tuple[str, int]]]) -> tuple[str, str]:
    """Two images of a group that have different labels."""
    known = [(file, label) for file in group for _, label in uses[file] if label >= 0]
    return known[0][0], next(file for file, label in known if label != known[0][1])


def _spread(group: list[str], uses: Mapping[str, list[tuple[str, int]]]) -> list[str]:
    """Up to ``IMAGES_SHOWN`` of a group: first one of each split and label, then the others."""
    first: dict[tuple[tuple[str, int], ...], str] = {}
    for file in group:
        first.setdefault(tuple(uses[file]), file)
    return list(dict.fromkeys([*first.values(), *group]))[:IMAGES_SHOWN]
