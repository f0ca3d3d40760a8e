"""Where listed images are: in class folders or all in one; there are lists for both layouts."""

import os
from pathlib import Path

from oltr_cli.base.text import counted
from oltr_cli.errors import DataProblem


def locate(root: Path, names: list[str], listed_in: Path) -> list[str]:
    """For each listed name the file below ``root``, in either of the two path styles.

    Raises:
        DataProblem: files are missing; the first is named, the others counted.
    """
    found = find_files(root, names)
    located = [file for file in found if file is not None]
    if len(located) < len(names):
        first = names[found.index(None)]
        raise DataProblem(
            f"{listed_in}: {len(names) - len(located):,} of {counted(len(names), 'image')} not found below {root}; "
            f"the first is {first}"
        )
    return located


def find_files(root: Path, names: list[str]) -> list[str | None]:
    """As ``locate``, with None for what is missing. Each folder is read once; no file is opened."""
    contents: dict[str, set[str]] = {}

    def holds(folder: str, file: str) -> bool:
        if folder not in contents:
            contents[folder] = _file_names(root / folder)
        return file in contents[folder]

    nested: dict[str, dict[str, str]] = {}
    found: list[str | None] = []
    for name in names:
        # Strings, not paths: a million paths take many seconds.
        folder, _, file = name.rpartition("/")
        above = folder.rpartition("/")[0]
        if holds(folder, file):
            found.append(name)
        elif holds(above, file):
            found.append(f"{above}/{file}" if above else file)
        else:
            if folder not in nested:
                nested[folder] = _files_one_below(root / folder, folder)
            found.append(nested[folder].get(file))
    return found


def _file_names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder)}
    except OSError:
        return set()


def _files_one_below(folder: Path, relative: str) -> dict[str, str]:
    """File name → path relative to the root, for the files in the sub-folders of ``folder``."""
    try:
        below = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return {}
    start = f"{relative}/" if relative else ""
    return {file: f"{start}{sub}/{file}" for sub in below for file in _file_names(folder / sub)}
