"""One list file: found by its name, read line by line, with all that is wrong in it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oltr_cli.errors import DataProblem


def find_list(folder: Path, split: str) -> Path | None:
    """``split.txt``, or the one ``*_split.txt`` (``val`` does not take ``*_open_val.txt``) in ``folder``.

    Raises:
        DataProblem: several fit.
    """
    own = folder / f"{split}.txt"
    if own.is_file():
        return own
    official = sorted(folder.glob(f"*_{split}.txt"))
    if split == "val":
        official = [path for path in official if not path.name.endswith("open_val.txt")]
    if len(official) > 1:
        raise DataProblem(f"{folder}: several lists fit '{split}': {', '.join(p.name for p in official)}; keep one")
    return official[0] if official else None


@dataclass(frozen=True)
class ListLines:
    """What a list file says: relative paths and labels (N,) of its good lines, and what is wrong with the others.

    Attributes:
        problems: (line number, what it says, what is wrong with it).
    """

    names: list[str]
    labels: NDArray[np.int64]
    problems: list[tuple[int, str, str]]


def scan_list(path: Path) -> ListLines:
    """A list file with all that is wrong in it.

    Raises:
        DataProblem: it cannot be read, or is empty.
    """
    names: list[str] = []
    labels: list[int] = []
    problems: list[tuple[int, str, str]] = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                text = line.strip()
                if not text:
                    continue
                # The label is the last word: file names may hold spaces.
                name, _, word = text.rpartition(" ")
                name = name.strip()
                label = _integer(word)
                if label is None or not name:
                    problems.append((number, text[:80], "is not 'relative/path label'"))
                elif leads_outside(name):
                    problems.append((number, name[:80], "leads outside the dataset's folder"))
                else:
                    names.append(name)
                    labels.append(label)
    except FileNotFoundError:
        raise DataProblem(f"{path}: no such list") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataProblem(f"{path}: cannot be read ({error})") from None
    if not names and not problems:
        raise DataProblem(f"{path}: lists no images")
    return ListLines(names, np.array(labels, dtype=np.int64), problems)


def _integer(word: str) -> int | None:
    try:
        value = int(word)
    except ValueError:
        return None
    return value if -(2**63) <= value < 2**63 else None


def leads_outside(name: str) -> bool:
    """Whether a listed path leaves the folder it starts from, by its text alone."""
    return name[0] in "/\\" or name[1:2] == ":" or (".." in name and ".." in name.replace("\\", "/").split("/"))


def read_list(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Relative paths and labels (N,) of a list file.

    Raises:
        DataProblem: unreadable, empty, a line that is not ``path label``, or a path that leads outside its root.
    """
    lines = scan_list(path)
    for number, text, wrong in lines.problems:
        raise DataProblem(f"{path}:{number}: '{text}' {wrong}")
    return lines.names, lines.labels
