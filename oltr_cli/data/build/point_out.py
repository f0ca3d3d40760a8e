"""Warnings about photographs from which a dataset can be built, but not a good one."""

import shlex
from pathlib import Path
from statistics import median_low

from oltr_cli.base.text import counted, some
from oltr_cli.data.build.screen import Checked
from oltr_cli.data.build.split import Splits
from oltr_cli.data.inspect.near import near_in_two_splits
from oltr_cli.data.lists.class_names import called_unknown, names_alike

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


def near(rows: dict[str, list[tuple[Path, int]]], checked: Checked, warnings: list[str]) -> None:
    """Warn about bursts that are split."""
    files = {split: [str(path) for path, _ in pairs] for split, pairs in rows.items()}
    root = str(checked.root / "x")[:-1]
    for one, other, count, shown in near_in_two_splits(files, checked.hashes):
        warnings.append(
            f"{count:,} of {counted(len(files[other]), 'image')} of {other} nearly identical to one of {one}, as in a "
            f"burst, so results on {other} will look too good: {', '.join(shown).replace(root, '')}; keep one of each"
        )


def small(splits: Splits, classes: list[str], warnings: list[str]) -> None:
    """Warn about classes that have too few images for a split."""
    for split, needed in (("test", 2), ("val", 3)):
        without = [c for c in classes if c not in splits[split]]
        if without:
            warnings.append(
                f"classes with fewer than {needed} images have none in {split} "
                f"({len(without)} of {len(classes)}): {some(without)}"
            )


def large(sides: list[int], name: str, warnings: list[str]) -> None:
    """Warn if decoding large photographs would slow down training."""
    if median_low(sides) >= LARGE:
        warnings.append(
            f"half of the photographs have {median_low(sides):,} px or more on their shorter side, so decoding will "
            f"slow training down; decode them once: oltr data store {shlex.quote(name)} --side 256"
        )
