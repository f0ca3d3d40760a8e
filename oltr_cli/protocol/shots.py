"""Shot groups: many-, medium- and few-shot classes by their training images, and reading class counts from a file.

Two definitions are in use and give different tables (Liu et al., CVPR 2019, section 4 against its authors' code):

=====  ===========  ==========  =======  ============================
name   many         medium      few      ImageNet-LT's 1000 classes
=====  ===========  ==========  =======  ============================
paper  > 100        20 … 100    < 20     385 / 479 / 136
code   ≥ 100        21 … 99     ≤ 20     391 / 463 / 146
=====  ===========  ==========  =======  ============================
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.arrays import load_npy
from oltr_cli.errors import DataProblem, UsageProblem, first_line, nearest
from oltr_cli.protocol.catalogue import GROUPS as GROUPS

# For display: what each definition counts as many, medium and few.
DEFINITIONS = {"paper": ("> 100", "20–100", "< 20"), "code": ("≥ 100", "21–99", "≤ 20")}

ClassCounts = Sequence[int] | NDArray[np.integer]


def shot_groups(class_counts: ClassCounts, definition: str = "paper") -> dict[str, NDArray[np.bool_]]:
    """Masks (K,) over the classes for "many", "medium" and "few"; every class is in exactly one.

    Args:
        class_counts: training images of each class (K,).
        definition: "paper" or "code", see the module's table.

    Raises:
        UsageProblem: no such definition.
    """
    if definition not in DEFINITIONS:
        raise UsageProblem(f"no definition of shot groups '{definition}'{nearest(definition, DEFINITIONS)}")
    counts = np.asarray(class_counts)
    many, few = (counts > 100, counts < 20) if definition == "paper" else (counts >= 100, counts <= 20)
    return {"many": many, "medium": ~(many | few), "few": few}


def read_class_counts(path: Path) -> NDArray[np.int64]:
    """Training images of each class (K,), by label, from a file in one of several formats.

    The formats are: one count per line; ``label count`` per line; a training list (``relative/path label`` per line,
    which is counted); a JSON list; an integer .npy array.

    Raises:
        DataProblem: missing, unreadable, in no such format, a label twice or left out, a count below 0.
    """
    if path.suffix.lower() == ".npy":
        return _checked(_read_npy(path), path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise DataProblem(f"{path}: class counts cannot be read: {reason}") from None
    if text.lstrip().startswith(("[", "{")):
        return _checked(_read_json_list(text, path), path)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise DataProblem(f"{path}: is empty; expected one class count per line, by label")
    # The first line decides which of the three formats it is; the others must have the same.
    first = lines[0][1].split()
    if len(first) == 1:
        return np.array([_integer(line, "a class count", path, number) for number, line in lines], np.int64)
    if len(first) == 2 and all(word.lstrip("-").isdecimal() for word in first):
        return _read_pairs(lines, path)
    return _count_list(lines, path)


def _read_npy(path: Path) -> NDArray:
    try:
        array = load_npy(path)
    except FileNotFoundError:
        raise DataProblem(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataProblem(f"{path}: cannot be read as .npy without pickle ({error})") from None
    return np.asarray(array)


def _read_json_list(text: str, path: Path) -> NDArray:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataProblem(f"{path}:{error.lineno}: broken JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or nesting of thousands of levels
        raise DataProblem(f"{path}: broken JSON: {first_line(error)}") from None
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise DataProblem(f"{path}: the JSON must be one list of whole numbers, one count per class by label")
    try:
        return np.array(values, np.int64)
    except OverflowError:
        raise DataProblem(f"{path}: a class count does not fit in 64 bits") from None


def _checked(counts: NDArray, path: Path) -> NDArray[np.int64]:
    if counts.ndim != 1 or not len(counts) or not np.issubdtype(counts.dtype, np.integer):
        raise DataProblem(f"{path}: class counts must be whole numbers (K,), not {counts.dtype} {counts.shape}")
    if counts.min() < 0:
        raise DataProblem(f"{path}: class {counts.argmin()} has the count {counts.min()}; a count cannot be below 0")
    return counts.astype(np.int64)


def _read_pairs(lines: list[tuple[int, str]], path: Path) -> NDArray[np.int64]:
    counts: dict[int, int] = {}
    for number, line in lines:
        words = line.split()
        if len(words) != 2:
            raise DataProblem(f"{path}:{number}: '{line[:60]}' is not 'label count'")
        label = _integer(words[0], "a label", path, number)
        if label in counts:
            raise DataProblem(f"{path}:{number}: label {label} appears a second time")
        counts[label] = _integer(words[1], "a class count", path, number)
    missing = next((label for label in range(len(counts)) if label not in counts), None)
    if missing is not None:
        raise DataProblem(f"{path}: has no line for label {missing}, though labels reach {max(counts)}")
    return np.array([counts[label] for label in range(len(counts))], np.int64)


def _count_list(lines: list[tuple[int, str]], path: Path) -> NDArray[np.int64]:
    labels = []
    for number, line in lines:
        words = line.rsplit(maxsplit=1)  # file names may hold spaces
        if len(words) != 2:
            raise DataProblem(f"{path}:{number}: '{line[:60]}' is not 'relative/path label'")
        labels.append(_integer(words[1], "a label", path, number))
    present = set(labels)
    missing = next((label for label in range(len(present)) if label not in present), None)
    if missing is not None:
        raise DataProblem(f"{path}: lists no image of class {missing}, though labels reach {max(labels)}")
    return np.bincount(np.array(labels, np.int64)).astype(np.int64)


def _integer(word: str, what: str, path: Path, number: int) -> int:
    """A whole number, 0 or more, that fits in 64 bits."""
    if not (word.isascii() and word.isdecimal() and int(word) < 2**63):
        raise DataProblem(f"{path}:{number}: '{word[:60]}' is not {what} (a whole number, 0 or more)")
    return int(word)
