"""Where listed images are: in class folders or all in one; there are lists for both layouts.

A folder is read in the other layout only as a whole: if one of its images is where the list says, all must be. So a
missing image is never replaced by the image of the same name in another folder.
"""

import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from oltr_cli.base.text import counted, some
from oltr_cli.errors import DataProblem


@dataclass(frozen=True)
class Found:
    """Where the listed images are.

    Attributes:
        files: by split, the file of each listed name below the root; None: not found.
        elsewhere: listed name → its file, where the other layout is in use.
        unclear: listed name → several files that could be meant; they count as not found.
    """

    files: dict[str, list[str | None]]
    elsewhere: dict[str, str] = field(default_factory=dict)
    unclear: dict[str, list[str]] = field(default_factory=dict)


def locate(root: Path, names: Mapping[str, list[str]], listed_in: Mapping[str, Path]) -> dict[str, list[str]]:
    """By split, for each listed name the file below ``root``, in either of the two layouts.

    Raises:
        DataProblem: files are missing, or several fit a name; the first is named, the others counted.
    """
    found = find_files(root, names)
    located = {}
    for split, files in found.files.items():
        located[split] = [file for file in files if file is not None]
        lost = len(files) - len(located[split])
        if lost:
            first = names[split][files.index(None)]
            raise DataProblem(
                f"{listed_in[split]}: {lost:,} of {counted(len(files), 'image')} not found below {root}; "
                f"the first is {first}{why_not_found(first, found)}"
            )
    return located


def why_not_found(name: str, found: Found) -> str:
    """What is known about a listed name that was not found, to follow it in a message; or ""."""
    if name in found.unclear:
        return f", which could be {some(found.unclear[name])}; list the images with the folders they are in"
    if place := name.find("\\") + 1:
        return f" (character {place} is a backslash; write / between folders)"
    if odd := [mark for mark in (name[0], name[-1]) if mark in "\"',;"]:
        return f" ({odd[0]} is read as part of the path; lines are 'path label')"
    return ""


def find_files(root: Path, names: Mapping[str, Iterable[str]]) -> Found:
    """As ``locate``, but missing files are no error. Each folder is read once; no file is opened."""
    listed: dict[str, set[str]] = {}
    for split_names in names.values():
        for name in split_names:
            # Strings, not paths: a million paths take many seconds.
            folder, _, file = name.rpartition("/")
            listed.setdefault(folder, set()).add(file)
    folders = {posixpath.normpath(folder) for folder in listed}  # of classes: no other folder's images are in them
    file_names = cache(partial(_file_names, root))
    elsewhere: dict[str, str] = {}
    unclear: dict[str, list[str]] = {}
    lost: set[str] = set()
    for folder, files in listed.items():
        absent = files - file_names(folder)
        lost.update(_below(folder, file) for file in absent)
        if len(absent) < len(files):
            continue
        places = [place for place in _other_folders(root, folder) if posixpath.normpath(place) not in folders]
        for file in absent:
            candidates = [_below(place, file) for place in places if file in file_names(place)]
            if len(candidates) == 1:
                elsewhere[_below(folder, file)] = candidates[0]
            elif candidates:
                unclear[_below(folder, file)] = candidates
    shared = {file for file, times in Counter(elsewhere.values()).items() if times > 1}
    for name in [name for name, file in elsewhere.items() if file in shared]:
        unclear[name] = [elsewhere.pop(name)]
    return Found(
        {
            split: [name if name not in lost else elsewhere.get(name) for name in split_names]
            for split, split_names in names.items()
        },
        elsewhere,
        unclear,
    )


def _other_folders(root: Path, folder: str) -> list[str]:
    """Those in ``folder``, and the one above it."""
    try:
        inside = sorted(entry.name for entry in os.scandir(root / folder) if entry.is_dir())
    except OSError:
        inside = []
    return [_below(folder, name) for name in inside] + ([folder.rpartition("/")[0]] if folder else [])


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _file_names(root: Path, folder: str) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(root / folder)}
    except OSError:
        return set()
