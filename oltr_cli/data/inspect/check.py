"""``oltr data check``: everything that is wrong with a dataset, in one go; a run would stop at the first problem."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted, some
from oltr_cli.data.inspect.files import (
    copy_findings,
    decode,
    elsewhere_findings,
    file_sizes,
    missing_findings,
    size_findings,
)
from oltr_cli.data.inspect.findings import Finding
from oltr_cli.data.inspect.lists import (
    Lists,
    label_findings,
    open_findings,
    published_findings,
    repeated_paths,
    scan_lists,
    shot_counts,
)
from oltr_cli.data.inspect.published import PUBLISHED, Published
from oltr_cli.data.lists.class_names import called_unknown, class_names, names_alike
from oltr_cli.data.lists.kept_together import GROUPS, read_groups_of
from oltr_cli.data.lists.list_file import read_lines
from oltr_cli.data.lists.lists import REQUIRED, not_those_of_the_recipe, other_digest
from oltr_cli.data.lists.locate import find_files
from oltr_cli.errors import DataProblem
from oltr_cli.protocol.open_sets import is_open
from oltr_cli.recipe.data import DataSpec

UNREADABLE = ("empty_files", "no_files", "undecodable")


@dataclass(frozen=True)
class SplitFacts:
    """One row of the table; None where there is nothing to count."""

    images: int
    published: int | None
    classes: int | None
    missing: int | None
    unreadable: int | None


@dataclass
class Checked:
    """What was found in the dataset ``name``; ``root`` and ``lists`` are None for the built-in set."""

    name: str
    root: Path | None
    lists: Path | None
    classes: int = 0
    per_class: tuple[int, int] | None = None  # fewest and most training images
    shots: dict[str, int] = field(default_factory=dict)  # classes by shot group, the paper's bounds
    published: Published | None = None
    splits: dict[str, SplitFacts] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    sheet: Path | None = None  # the picture that was written

    def count(self, severity: str) -> int:
        """Findings of that severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def worst(self, split: str) -> str:
        """The highest severity of the findings about ``split``; "" without findings."""
        found = {finding.severity for finding in self.findings if split in finding.splits}
        return next((severity for severity in ("error", "warning") if severity in found), "")


def check_dataset(
    spec: DataSpec,
    root: Path,
    lists: Path,
    display: Display,
    *,
    content: bool,
    pixels: bool,
    workers: int,
    sheet: Path | None = None,
) -> Checked:
    """Read the lists, find their images, and compare with the published counts.

    Args:
        content: look for files with the same bytes.
        pixels: decode every image, and look for nearly identical ones and for files with the same bytes.
        sheet: where to write a picture of nearly identical ones, with ``pixels``; none if there are none.
        workers: processes for both.
    Raises:
        Stopped: by Ctrl-C, while files were read.
    """
    if spec.kind == "glyphs":
        return _check_glyphs(spec)
    checked = Checked(spec.name, root, lists, published=PUBLISHED.get(spec.name))
    found: list[Finding] = []
    if not root.is_dir():
        found.append(Finding("error", "no_folder", f"no folder {root}; set OLTR_DATA, or give --root"))
    read, in_lists = scan_lists(lists)
    if lists != root or root.is_dir():
        found += in_lists
    located = find_files(root, read.names)
    files = located.files
    found += label_findings(read, lists, _class_names(read, root, lists))
    found += open_findings(read, checked.published)
    if checked.published and read.names:
        found += published_findings(read, checked.published)
    found += _name_findings(read, root, lists)
    found += _digest_findings(spec, lists)
    found += repeated_paths(read, files)
    found += missing_findings(read, located)
    found += elsewhere_findings(read, located)
    sizes = file_sizes(root, files, display)
    found += size_findings(files, sizes)
    found += _group_findings(read, lists)
    if content or pixels:
        found += copy_findings(root, read, files, sizes, workers, display)
    if pixels:
        from oltr_cli.data.inspect.near_findings import near_findings, write_near_sheet  # Pillow, for this alone

        undecodable, thumbnails = decode(root, files, sizes, workers, display)
        near = near_findings(files, read.labels, thumbnails, checked.published is not None)
        found += undecodable + near.findings
        if sheet is not None and near.groups:
            write_near_sheet(root, near, _class_names(read, root, lists), sheet)
            checked.sheet = sheet
    order = ("error", "warning", "note")
    checked.findings = sorted(found, key=lambda finding: order.index(finding.severity))
    _summarise(checked, read)
    return checked


def _summarise(checked: Checked, read: Lists) -> None:
    """Fill in the counts."""
    counts = read.class_counts
    if len(counts):
        checked.classes, checked.shots = len(counts), shot_counts(counts)
        checked.per_class = (int(counts.min()), int(counts.max()))
    published = checked.published.images if checked.published else {}
    for split, labels in read.labels.items():
        in_split = [finding for finding in checked.findings if split in finding.splits]
        checked.splits[split] = SplitFacts(
            images=len(labels),
            published=published.get(split),
            classes=None if is_open(split) or split == "distractors" else len(np.unique(labels[labels >= 0])),
            missing=sum(f.count for f in in_split if f.kind == "missing_files"),
            unreadable=sum(f.count for f in in_split if f.kind in UNREADABLE),
        )


def _class_names(read: Lists, root: Path, lists: Path) -> list[str]:
    """The names of the classes; none where none can be read, or where labels go beyond what the images can have."""
    try:
        classes = int(read.labels["train"].max()) + 1
        return class_names(root, lists, max(0, classes)) if classes <= len(read.labels["train"]) else []
    except (DataProblem, KeyError, ValueError):
        return []


def _group_findings(read: Lists, lists: Path) -> list[Finding]:
    """Groups of ``groups.csv`` that are in two of train, val and test."""
    try:
        groups = read_groups_of(lists)
    except DataProblem as problem:
        return [Finding("error", "groups", str(problem))]
    splits: dict[str, set[str]] = {}
    for split in REQUIRED if groups else ():
        for name in read.names.get(split, ()):
            if name in groups:
                splits.setdefault(groups[name], set()).add(split)
    torn = [
        f"'{group}' ({', '.join(s for s in REQUIRED if s in found)})"
        for group, found in splits.items()
        if len(found) > 1
    ]
    if not torn:
        return []
    message = (
        f"{counted(len(torn), 'group')} of {GROUPS} in two splits: {some(torn)}; build again with --force --redraw"
    )
    return [Finding("error", "groups", message, count=len(torn))]


def _name_findings(read: Lists, root: Path, lists: Path) -> list[Finding]:
    """A classes.txt that cannot be read, does not fit, or names two classes alike."""
    path = next((folder / "classes.txt" for folder in (lists, root) if (folder / "classes.txt").is_file()), None)
    if path is None or "train" not in read.labels:
        return []
    classes = max(0, int(read.labels["train"].max()) + 1)
    try:
        lines = sum(bool(line.strip()) for line in read_lines(path))
        names = class_names(root, lists, classes) if classes <= lines else []
    except DataProblem as problem:
        return [Finding("error", "class_names", str(problem))]
    if lines != classes:
        message = f"{path.name} has {counted(lines, 'name')} for {counted(classes, 'class')}"
        return [Finding("warning", "class_names", message if names else f"{message} and is not used")]
    findings = []
    if alike := names_alike(names):
        shown = some([" = ".join(f"'{name}'" for name in group) for group in alike])
        message = f"class names that differ only in case or blanks: {shown}; make them one class, or rename them"
        findings.append(Finding("warning", "names_alike", message, count=len(alike)))
    for name in called_unknown(names):
        message = f"a class is called '{name}', as an image that is rejected; give it another with `oltr data rename`"
        findings.append(Finding("warning", "called_unknown", message))
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        findings.append(Finding("note", "class_names", f"several classes share a name: {some(twice)}"))
    return findings


def _digest_findings(spec: DataSpec, lists: Path) -> list[Finding]:
    """Lists that were changed since the recipe was made, if it has their digest."""
    try:
        digest = other_digest(spec.name, lists, spec.lists_digest)
    except DataProblem:  # a missing list is a separate finding
        return []
    return [] if digest is None else [Finding("error", "other_lists", not_those_of_the_recipe(lists, digest))]


def _check_glyphs(spec: DataSpec) -> Checked:
    """The counts of what will be drawn."""
    from oltr_cli.data.glyphs.splits import plan

    read = Lists(labels={name: split.labels for name, split in plan(spec.glyphs).items()})
    read.names = {name: [""] * len(labels) for name, labels in read.labels.items()}
    checked = Checked(spec.name, None, None)
    _summarise(checked, read)
    checked.splits = {s: replace(facts, missing=None, unreadable=None) for s, facts in checked.splits.items()}
    message = "drawn from matplotlib's typefaces on first use: there are no files to check"
    checked.findings = [Finding("note", "built_in", message)]
    return checked
