"""One list file: found by its name, read line by line, with all that is wrong in it."""

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.text import visible
from oltr_cli.errors import DataProblem

_LABEL = re.compile(r"-1|[0-9]{1,18}")  # int() takes 0_1, +1 and the digits of every script as well
_NEARLY_LABEL = re.compile(r"[-+\u2212]?[\d_]+")
_OTHER_SEPARATOR = re.compile(r".*\S([,;:|]|(?! )\s)\s*(?:-1|[0-9]{1,18})|.*\S ((?! )\s)(?:-1|[0-9]{1,18})")
_SEPARATORS = {"\t": "a tab", ",": "a comma", ";": "a semicolon", ":": "a colon", "|": "a bar"}


def find_list(folder: Path, split: str) -> Path | None:
    """``split.txt``, or the one ``*_split.txt`` in ``folder``.

    ``val`` does not take ``*_open_val.txt``, nor ``train`` ``*_open_train.txt``.

    Raises:
        DataProblem: several fit.
    """
    own = folder / f"{split}.txt"
    if own.is_file():
        return own
    official = sorted(folder.glob(f"*_{split}.txt"))
    if split in ("val", "train"):
        official = [path for path in official if not path.name.endswith(f"open_{split}.txt")]
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
    for number, line in enumerate(read_lines(path), 1):
        text = line.strip()
        if not text:
            continue
        # The label is the last word: file names may hold spaces.
        name, _, word = text.rpartition(" ")
        name = name.strip()
        if not name or not _LABEL.fullmatch(word):
            problems.append((number, _start(text), _not_a_line(text, word)))
        elif name[0] == "\ufeff":
            problems.append((number, _start(text), "begins with a byte-order mark (U+FEFF); remove it"))
        elif leads_outside(name):
            problems.append((number, _start(name), "leads outside the dataset's folder"))
        else:
            names.append(name)
            labels.append(int(word))
    if not names and not problems:
        raise DataProblem(f"{path}: lists no images")
    return ListLines(names, np.array(labels, dtype=np.int64), problems)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8, with or without a byte-order mark.

    Raises:
        DataProblem: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise DataProblem(f"{path}: no such list") from None
    except UnicodeDecodeError as error:
        utf16 = error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        reason = "it is UTF-16 text; save it as UTF-8" if utf16 else f"not UTF-8 text: {error}"
        raise DataProblem(f"{path}: cannot be read ({reason})") from None
    except OSError as error:
        raise DataProblem(f"{path}: cannot be read ({error})") from None


def _start(text: str) -> str:
    """The first 80 characters, with spaces and controls other than a blank spelled out."""
    return visible(text[:80])


def _not_a_line(text: str, word: str) -> str:
    """Why a line is not a path and a label, naming the character that stands in the wrong place."""
    if _NEARLY_LABEL.fullmatch(word):
        return "has no valid label; a label is -1, or up to 18 digits from 0 to 9"
    if match := _OTHER_SEPARATOR.fullmatch(text):
        mark = match[1] or match[2]
        return f"has {_SEPARATORS.get(mark) or f'the character U+{ord(mark):04X}'} before the label; put a blank there"
    return "is not 'relative/path label'"


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
