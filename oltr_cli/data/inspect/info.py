"""``oltr data info``: the numbers of a dataset's long tail, and its images as far as they exist."""

import posixpath
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.display import Display
from oltr_cli.data.lists.class_names import class_names
from oltr_cli.data.lists.identities import IDENTIFICATION
from oltr_cli.data.lists.lists import ListSplit, read_lists
from oltr_cli.data.lists.locate import find_files
from oltr_cli.errors import DataProblem
from oltr_cli.protocol.open_sets import is_open
from oltr_cli.protocol.shots import DEFINITIONS, GROUPS, shot_groups
from oltr_cli.recipe.data import DataSpec

if TYPE_CHECKING:
    from oltr_cli.data.feed.opening import Split


def is_foreign(split: str) -> bool:
    """Whether the images of the split are of no known class."""
    return is_open(split) or split in IDENTIFICATION


@dataclass(frozen=True)
class Look:
    """A dataset to look at; unlike ``open_dataset``, it accepts missing images.

    Attributes:
        kinds: for the splits of foreign images, what each shows (N,): a character, or the folder it is in; "" if
            unknown.
        missing: missing images, by split.
    """

    name: str
    class_names: list[str]
    splits: "dict[str, Split]"
    kinds: dict[str, list[str]]
    missing: dict[str, int] = field(default_factory=dict)

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Training images of each class (K,)."""
        return np.bincount(self.splits["train"].labels, minlength=len(self.class_names))


def look_at(spec: DataSpec, root: Path, lists: Path, display: Display) -> Look:
    """Read the lists (or draw the built-in set) and find the images.

    Raises:
        DataProblem: a list is missing or broken; one line that names it.
    """
    if spec.kind == "glyphs":
        return _look_at_glyphs(spec, display)
    read = read_lists(spec.name, lists)
    splits: dict[str, Any] = {}
    missing = {}
    for split, found in find_files(root, read.names).files.items():
        names = read.names[split]
        missing[split] = found.count(None)
        files = [file or name for file, name in zip(found, names, strict=True)]
        splits[split] = ListSplit(root, read.labels[split], names, files)
    kinds = {split: _folders(names) for split, names in read.names.items() if is_foreign(split)}
    return Look(spec.name, class_names(root, lists, read.num_classes), splits, kinds, missing)


def _look_at_glyphs(spec: DataSpec, display: Display) -> Look:
    from oltr_cli.data.glyphs.alphabets import script_of
    from oltr_cli.data.glyphs.splits import open_glyphs, plan

    with display.bar("drawing", 1) as bar:
        splits, names, *_ = open_glyphs(spec.glyphs, bar.reached)
    foreign = {split: one.characters for split, one in plan(spec.glyphs).items() if is_foreign(split)}
    kinds = {split: [f"{c} ({script_of(c)})" for c in characters] for split, characters in foreign.items()}
    return Look(spec.name, names, dict(splits), kinds)


def _folders(names: list[str]) -> list[str]:
    """The folder of each path, without the part that all of them share; "" if all are in one."""
    folders = [posixpath.dirname(name) for name in names]
    different = sorted(set(folders))
    if len(different) == 1:
        return [""] * len(names)
    shared = posixpath.commonpath(different) if "" not in different else ""
    return [folder[len(shared) :].lstrip("/") for folder in folders]


def facts(look: Look) -> dict[str, Any]:
    """What ``--json`` prints: counts by split and by shot group, and how uneven the classes are."""
    counts = look.class_counts
    groups = shot_groups(counts)
    return {
        "dataset": look.name,
        "classes": len(counts),
        "splits": {split: _split_facts(look, split) for split in look.splits},
        "shots": {
            group: {
                "definition": DEFINITIONS["paper"][i],
                "classes": int(groups[group].sum()),
                "images": int(counts[groups[group]].sum()),
            }
            for i, group in enumerate(GROUPS)
        },
        "per_class": {"min": int(counts.min()), "max": int(counts.max()), "median": float(np.median(counts))},
        "imbalance_factor": float(counts.max() / counts.min()),
        "missing": sum(look.missing.values()),
    }


def _split_facts(look: Look, split: str) -> dict[str, int | None]:
    """Images, kinds of them (classes, or what tells foreign ones apart), and the fewest and most of a kind."""
    if is_foreign(split):
        kinds = [kind for kind in look.kinds[split] if kind]
        per_kind = np.unique(kinds, return_counts=True)[1] if kinds else np.empty(0, np.int64)
    else:
        per_kind = np.bincount(look.splits[split].labels, minlength=len(look.class_names))
    return {
        "images": len(look.splits[split]),
        "classes": int((per_kind > 0).sum()) or None,
        "fewest": int(per_kind.min()) if len(per_kind) else None,
        "most": int(per_kind.max()) if len(per_kind) else None,
    }


def readable(split: "Split", indices: NDArray[np.int64]) -> NDArray[np.uint8] | None:
    """The first of some images that can be read, uint8 (C, H, W); None if none of the first few can."""
    for index in indices[:4].tolist():
        try:
            return split.image(index).numpy()
        except DataProblem:
            continue
    return None
