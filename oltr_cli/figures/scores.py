"""What a figure needs of the saved scores of a run, with clear errors about what is missing; which samples to show."""

from collections.abc import Mapping, Sequence
from string import hexdigits

import numpy as np
from numpy.typing import NDArray

from oltr_cli.data.glyphs.alphabets import script_of
from oltr_cli.errors import DataProblem
from oltr_cli.runs.folder import Run
from oltr_cli.runs.result import read_result
from oltr_cli.runs.scores import SavedScores


def known_and_open(run: Run) -> tuple[SavedScores, SavedScores]:
    """Test scores of the known classes and of the open ones, none of them empty.

    Raises:
        DataProblem: a file is missing or broken, or has no samples.
    """
    if not run.scores("open").exists():
        raise DataProblem(f"{run.name}: has no scores of open samples, which this figure needs")
    pair = SavedScores.load(run.scores("test")), SavedScores.load(run.scores("open"))
    for split, scores in zip(("test", "open"), pair, strict=True):
        if not len(scores):
            raise DataProblem(f"{run.scores(split)}: has no samples")
    return pair


def class_counts(run: Run) -> NDArray[np.int64]:
    """Training images of each class (K,)."""
    return np.array(read_result(run.path).class_counts, np.int64)


def class_names(run: Run) -> list[str]:
    """Names of the K classes by label."""
    return read_result(run.path).class_names


def classes_of_open(run: Run) -> None:
    """Raises as ``known_and_open`` and ``open_classes`` if a run has no open classes to tell apart."""
    open_classes(known_and_open(run)[1], str(run.scores("open")))


def open_classes(scores: SavedScores, where: str) -> tuple[NDArray[np.int64], list[str]]:
    """The class of each open sample (N,), as a number, and the classes' names in sorted order.

    It follows from the sample's name: its folder, or the character of a built-in glyph.

    Raises:
        DataProblem: there are no names, or all are in one folder.
    """
    if scores.paths is None:
        raise DataProblem(f"{where}: has no sample names to tell open classes apart")
    names, numbers = np.unique(np.array([_class_of(str(path)) for path in scores.paths]), return_inverse=True)
    if len(names) < 2:
        raise DataProblem(
            f"{where}: all open images are in one folder ('{names[0]}'), so the open test has only one class, and this "
            "figure needs two or more; put them into one folder per class, or build the dataset from more folders "
            "of unknown things (some of them go to open_val)"
        )
    return numbers.reshape(-1).astype(np.int64), names.tolist()


def _class_of(name: str) -> str:
    """``val/n0185/x.JPEG`` → ``val/n0185``; ``open/U+0531 DejaVuSans #3`` → ``open/U+0531``."""
    head, _, _ = name.partition(" ")
    if head.rpartition("/")[2].startswith("U+") and "#" in name:
        return head
    return name.rpartition("/")[0]


def shown(open_class: str) -> str:
    """An open class's name for people: the folder's name, or the character of a built-in glyph."""
    name = open_class.rpartition("/")[2]
    digits = name.removeprefix("U+")
    if digits != name and all(c in hexdigits for c in digits):
        return f"{chr(int(digits, 16))} ({script_of(chr(int(digits, 16)))})"
    return name


def add_surest(
    chosen: list[int],
    scores: SavedScores,
    fitting: NDArray[np.bool_],
    groups: Mapping[str, NDArray[np.bool_]],
    order: Sequence[str],
) -> None:
    """Add to ``chosen`` the sample that ``scores`` is surest of, of the first group in ``order`` that has one.

    Args:
        fitting: which samples (N,) may be chosen; those of classes that were chosen before are left out.
        groups: which classes (K,) are of each shot group.
    """
    fitting = fitting & ~np.isin(scores.labels, scores.labels[chosen])
    for name in order:
        rows = np.flatnonzero(fitting & groups[name][scores.labels])
        if len(rows):
            chosen.append(int(rows[np.argmax(scores.confidence[rows])]))
            return
