"""What Parquet files and archives have in common: a folder for the images of each file, their split, their labels."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oltr_cli.data.sources.left_out import SEVERAL, UNLABELLED
from oltr_cli.data.sources.table import SPLITS, label_of
from oltr_cli.errors import DataProblem

_ENDINGS = (".parquet", ".tar.gz", ".tar", ".tgz")


def places(files: Sequence[Path]) -> dict[Path, str]:
    """A folder of its own for the images of each file: its name, or its path where two have one name."""
    names = {file: _stem(file) for file in files}
    if len(set(names.values())) == len(names):
        return names
    top = os.path.commonpath([file.parent for file in files])
    return {file: file.relative_to(top).as_posix() for file in files}


def splits(files: Sequence[Path]) -> dict[Path, str]:
    """``train`` of ``train-00000-of-00002.parquet``, and of ``train/0.tar`` if others are in other folders; or ""."""
    folders = {file.parent for file in files}
    found = {}
    for file in files:
        split = SPLITS.get(re.split(r"[^a-z]", file.name.lower())[0], "")
        found[file] = split or (SPLITS.get(file.parent.name.lower(), "") if len(folders) > 1 else "")
    return found


def label_in(value: Any, names: Sequence[str], where: str) -> tuple[str, str]:
    """(label, "") of a value, or ("", why it has none).

    Args:
        value: a text, a number, nothing, or a list of them. names: what numbers count, if there are any; −1 is nothing.
    Raises:
        DataProblem: a number that has no name, or an object.
    """
    if isinstance(value, list):
        return label_in(value[0] if value else None, names, where) if len(value) < 2 else ("", SEVERAL)
    if isinstance(value, float):  # as numbers are where one is missing
        value = None if math.isnan(value) else int(value) if value.is_integer() else value
    if value is None or value == "" or (names and value == -1):
        return "", UNLABELLED
    if isinstance(value, (dict, bytes)):
        raise DataProblem(f"{where}: the label {value!r} is neither a text nor a number")
    if names and not isinstance(value, str):
        if not isinstance(value, int) or not 0 <= value < len(names):
            raise DataProblem(f"{where}: label {value!r}, but there are {len(names)} class names")
        value = names[value]
    label = label_of(str(value), where)
    return label, "" if label else UNLABELLED


def _stem(file: Path) -> str:
    ending = next((ending for ending in _ENDINGS if file.name.lower().endswith(ending)), "")
    return file.name[: len(file.name) - len(ending)]
