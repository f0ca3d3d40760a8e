"""What the lists of a dataset contain, and everything that is wrong with them, in one go; no image is looked for."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.text import counted, some
from oltr_cli.data.inspect.findings import Finding, Severity
from oltr_cli.data.inspect.published import Published
from oltr_cli.data.lists.identities import IDENTIFICATION, identification_problems, read_groups
from oltr_cli.data.lists.leaks import in_two_lists, is_leak, one_spelling, two_labels, why
from oltr_cli.data.lists.list_file import find_list, scan_list
from oltr_cli.data.lists.lists import OPTIONAL, REQUIRED, label_problems
from oltr_cli.data.lists.open_lists import find_open_sets, misnamed_open_sets, shared_classes, shared_text
from oltr_cli.errors import DataProblem
from oltr_cli.protocol.open_sets import OUTLIERS, is_open_set
from oltr_cli.protocol.shots import GROUPS, shot_groups


@dataclass
class Lists:
    """The good lines of all lists that could be read: paths and labels (N,) of each split."""

    paths: dict[str, Path] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Training images of each class that has some (≤ K,)."""
        train = self.labels.get("train", np.empty(0, np.int64))
        return np.unique(train[train >= 0], return_counts=True)[1]


def scan_lists(lists: Path) -> tuple[Lists, list[Finding]]:
    """Every list in the folder ``lists``, and what is wrong with single ones."""
    read, findings = Lists(), []
    if not lists.is_dir():
        return read, [Finding("error", "no_lists", f"no folder of lists {lists}; give --lists")]
    findings += [Finding("error", "misnamed_list", problem) for problem in misnamed_open_sets(lists)]
    for split in (*REQUIRED, *OPTIONAL, *find_open_sets(lists), OUTLIERS, *IDENTIFICATION):
        try:
            path = find_list(lists, split)
            if path is None:
                if split in REQUIRED:
                    message = f"no list {split}.txt or *_{split}.txt in {lists}"
                    findings.append(Finding("error", "no_list", message, (split,)))
                continue
            lines = scan_list(path)
        except DataProblem as problem:
            findings.append(Finding("error", "unreadable_list", str(problem), (split,)))
            continue
        for wrong in dict.fromkeys(wrong for _, _, wrong in lines.problems):
            alike = [(line, text) for line, text, w in lines.problems if w == wrong]
            message = f"{path.name}:{alike[0][0]}: '{alike[0][1]}' {wrong}"
            if others := [line for line, _ in alike[1:]]:
                message += f", and {counted(len(others), 'more line')}: {some(others)}"
            findings.append(Finding("error", "bad_lines", message, (split,), len(alike)))
        if lines.names:
            read.paths[split], read.names[split], read.labels[split] = path, lines.names, lines.labels
    return read, findings


def label_findings(read: Lists, lists: Path, names: Sequence[str] = ()) -> Iterator[Finding]:
    """Labels that do not fit together, classes without images, and problems of the lists for identification.

    Args:
        names: of the classes, by label; empty if they are not known.
    """
    if "train" in read.labels:
        for split, problem in label_problems(read.labels):
            yield Finding("error", "labels", problem, (split,))
        classes = np.unique(read.labels["train"])
        for split in ("val", "test"):
            if split not in read.labels:
                continue
            without = np.setdiff1d(classes[classes >= 0], read.labels[split])
            if len(without):
                shown = some([_named(label, names) for label in without])
                message = f"{counted(len(without), 'class')} without images, labels: {shown}"
                yield Finding("warning", "classes_without_images", message, (split,), len(without))
    probes = [split for split in IDENTIFICATION if split in read.names]
    if probes and "train" in read.names:
        columns = {split: (read.names[split], read.labels[split]) for split in ("train", *probes)}
        for split, problem in identification_problems(columns):
            yield Finding("error", "identification", problem, (split,))
    attributes = lists / "attributes.txt"
    if "probe" in read.names and attributes.is_file():
        try:
            read_groups(attributes, read.names["probe"])
        except DataProblem as problem:
            yield Finding("error", "identification", str(problem), ("probe",))


def _named(label: int, names: Sequence[str]) -> str:
    """``4 (wren)``, or ``4`` if the class has no name."""
    name = names[label] if label < len(names) else f"class {label}"
    return str(label) if name == f"class {label}" else f"{label} ({name})"


def open_findings(read: Lists, published: Published | None) -> Iterator[Finding]:
    """What a dataset without open images cannot do."""
    if published and published.images.get("open"):
        return  # published_findings reports missing lists
    if "open" not in read.names:
        sets = [split for split in read.names if is_open_set(split)]
        message = (
            f"no list open.txt, so open-set metrics of {', '.join(sets)} only"
            if sets
            else ("no list of open images, so no open-set metrics")
        )
        yield Finding("note", "no_open", message, ("open",))
    elif "open_val" not in read.names:
        message = "no open validation images: a threshold cannot be tuned on unknowns"
        yield Finding("note", "no_open", message, ("open_val",))


def published_findings(read: Lists, published: Published) -> Iterator[Finding]:
    """Counts that differ from the published ones, of the lists that could be read."""
    for split, images in published.images.items():
        if split not in read.names:
            if split in OPTIONAL:
                yield Finding("warning", "published", f"no list, but {images:,} images are published", (split,))
        elif len(read.names[split]) != images:
            message = f"{counted(len(read.names[split]), 'image')} listed, but {images:,} are published"
            yield Finding("error", "published", message, (split,))
    counts = read.class_counts
    if not len(counts):
        return
    spread = (int(counts.min()), int(counts.max()))
    shots = tuple(shot_counts(counts).values())
    facts: list[tuple[str, int | str, int | str]] = [("classes", len(counts), published.classes)]
    if published.per_class:
        facts.append(("images per class", _span(spread), _span(published.per_class)))
    if published.shots:
        facts.append(("many-, medium- and few-shot classes", _dots(shots), _dots(published.shots)))
    for what, found, wanted in facts:
        if found != wanted:
            yield Finding("error", "published", f"{what}: {found}; published: {wanted}", ("train",))


def shot_counts(counts: NDArray[np.int64]) -> dict[str, int]:
    """Classes of each shot group, by the paper's bounds."""
    groups = shot_groups(counts)
    return {group: int(groups[group].sum()) for group in GROUPS}


def _span(bounds: tuple[int, ...]) -> str:
    return f"{bounds[0]:,}–{bounds[1]:,}"


def _dots(numbers: tuple[int, ...]) -> str:
    return " / ".join(map(str, numbers))


def repeated_paths(read: Lists, files: dict[str, list[str | None]]) -> Iterator[Finding]:
    """The same file listed twice, in one split or in two, and classes of outliers that are in another list.

    Args:
        files: by split, where each listed path was found; None: nowhere.
    """
    keys = {
        split: one_spelling([file or name for file, name in zip(files[split], names, strict=True)])
        for split, names in read.names.items()
    }
    for split, paths in keys.items():
        if torn := two_labels(paths, read.labels[split].tolist()):
            message = f"{counted(len(torn), 'image')} under different labels: {some(torn)}"
            yield Finding("error", "contradicting_labels", message, (split,), len(torn))
        times = Counter(paths)
        again = [path for path, count in times.items() for _ in range(count - 1)]
        if len(torn) < len(again):
            message = f"{counted(len(again), 'image')} listed more than once: {some(again)}"
            yield Finding("warning", "repeated_paths", message, (split,), len(again))
    for one, other, both in in_two_lists(keys):
        severity: Severity = "error" if is_leak(one, other) else "warning"
        message = f"{counted(len(both), 'image')} in both lists{why(one, other)}: {some(both)}"
        yield Finding(severity, "shared_paths", message, (one, other), len(both))
    for split, shared in shared_classes(read.names):
        message = shared_text(read.paths[split].name, split, shared)
        yield Finding("error", "shared_classes", message, (split, OUTLIERS), len(shared))
