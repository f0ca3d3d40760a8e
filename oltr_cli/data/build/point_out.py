"""Warnings about photographs from which a dataset can be built, but not a good one."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from statistics import median_low

from oltr_cli.base.text import counted, some
from oltr_cli.data.build.allocate import Evenness
from oltr_cli.data.build.screen import Checked
from oltr_cli.data.build.split import Splits
from oltr_cli.data.inspect.near import SHOWN, near_in_two_splits
from oltr_cli.data.lists.class_names import called_unknown, names_alike

LARGE_SHARE = 0.2
LARGE = 1000  # pixels of the shorter side: decoding such a photograph takes longer than training on it


def names(classes: list[str], images: Path, warnings: list[str]) -> None:
    """Warn about classes that are easily mistaken for each other, or for the answer "unknown"."""
    for group in names_alike(classes):
        folders = [images / name for name in sorted(group, key=lambda name: name != " ".join(name.split()))]
        if all(folder.is_dir() for folder in folders):
            first, *others = (shlex.quote(str(folder)) for folder in folders)
            remedy = " && ".join(f"mv -n {other}/* {first}/" for other in others)
        else:
            remedy = f"write one of them throughout {images}"
        warnings.append(
            f"classes whose names differ only in case or blanks: {', '.join(map(repr, group))}; if they are one class: "
            f"{remedy}, and build again"
        )
    for name in called_unknown(classes):
        warnings.append(
            f"the class '{name}' has the name of what predict rejects; if its images show nothing known, build again "
            f"with --open-classes {shlex.quote(name)}, otherwise rename it (in CSV and JSON the field 'unknown' tells "
            "them apart)"
        )


def near(rows: dict[str, list[tuple[Path, int]]], checked: Checked, name: str, warnings: list[str]) -> None:
    """Warn about nearly identical images in two splits, or of two classes."""
    files = {split: [path for path, _ in pairs] for split, pairs in rows.items()}
    for one, other, pairs in near_in_two_splits(files, checked.near):
        warnings.append(
            f"{len(pairs):,} of {counted(len(files[other]), 'image')} of {other} nearly identical to one of {one}, as "
            f"in a burst, so results on {other} will look too good: {_named(pairs, checked)}"
        )
    label = {path: number for pairs in rows.values() for path, number in pairs if number >= 0}
    torn = [[path for path in group if path in label] for group in checked.near]
    torn = [group for group in torn if len({label[path] for path in group}) > 1]
    if torn:
        pairs = [(group[0], next(path for path in group if label[path] != label[group[0]])) for group in torn]
        warnings.append(
            f"{counted(len(torn), 'group')} of nearly identical images of several classes: {_named(pairs, checked)}; "
            f"to see them: oltr data check {shlex.quote(name)} --decode --contact-sheet near.png"
        )


def groups(together: Sequence[Sequence[Path]], splits: Splits, checked: Checked, warnings: list[str]) -> None:
    """Warn about groups that given or earlier splits tear, and about one that is most of a split."""
    split_of = {path: split for split, found in splits.items() for files in found.values() for path in files}
    torn = [group for group in together if len({split_of[path] for path in group if path in split_of}) > 1]
    if torn:
        pairs = []
        for group in torn:
            there = [path for path in group if path in split_of]
            pairs.append((there[0], next(p for p in there if split_of[p] != split_of[there[0]])))
        warnings.append(
            f"{counted(len(torn), 'group')} in two splits, where the earlier build or the source has them: "
            f"{_named(pairs, checked)}"
        )
    largest = max(together, key=len, default=[])
    images = len(split_of)
    if len(largest) > images * LARGE_SHARE:
        warnings.append(
            f"one group has {len(largest):,} of {counted(images, 'image')}, from {checked.name(largest[0])} to "
            f"{checked.name(largest[-1])}, so splits are uneven"
        )


def small(splits: Splits, classes: list[str], even: Evenness, warnings: list[str]) -> None:
    """Warn about classes that have too few images, or too few groups, for a split."""
    for split, needed in (("test", 2), ("val", 3)):
        grouped = even.without.get(split, [])
        if grouped:
            warnings.append(
                f"classes without images in {split}, because their groups are in other splits "
                f"({len(grouped)} of {len(classes)}): {', '.join(grouped)}"
            )
        without = [c for c in classes if c not in splits[split] and c not in grouped]
        if without:
            warnings.append(
                f"classes with fewer than {needed} images have none in {split} "
                f"({len(without)} of {len(classes)}): {some(without)}"
            )


def _named(pairs: list[tuple[Path, Path]], checked: Checked) -> str:
    shown = ", ".join(f"{checked.name(one)} = {checked.name(other)}" for one, other in pairs[:SHOWN])
    return shown + (", …" if len(pairs) > SHOWN else "")


def large(sides: list[int], name: str, warnings: list[str]) -> None:
    """Warn if decoding large photographs would slow down training."""
    if median_low(sides) >= LARGE:
        warnings.append(
            f"half of the photographs have {median_low(sides):,} px or more on their shorter side, so decoding will "
            f"slow training down; decode them once: oltr data store {shlex.quote(name)} --side 256"
        )
