"""Finding photographs and their classes: in class folders, or in a CSV of ``path,label``."""

import csv
import os
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from pathlib import Path

from oltr_cli.base.text import counted, some
from oltr_cli.data.build.split import Photographs
from oltr_cli.data.images import SUFFIXES
from oltr_cli.errors import DataProblem

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_THUMBNAILS = {"__MACOSX", "@eaDir"}  # what macOS archives and network drives add to folders of photographs


def find_photographs(source: Path, option: str, without: Path | None, warnings: list[str]) -> Photographs:
    """Files by class: the label in a CSV, or the path below ``source`` of the folder that directly holds them.

    Args:
        option: the option that gave ``source``, for messages.
        without: a folder to skip.
        warnings: new ones are appended.
    Raises:
        DataProblem: no such folder or CSV, or no image in it.
    """
    if source.is_file() and source.suffix.lower() == ".csv":
        return _from_csv(source)
    if not source.exists():
        what = "file" if source.suffix.lower() == ".csv" else "folder"
        raise DataProblem(f"{option} {source}: no such {what}")
    if not source.is_dir():
        raise DataProblem(f"{option} {source}: not a folder and not a .csv file")
    found: dict[str, list[Path]] = defaultdict(list)
    others: Counter[str] = Counter()
    for place, files in _folders(source.absolute(), without, warnings):
        for file in files:
            suffix = file.suffix.lower()
            if suffix in SUFFIXES:
                found[place].append(file)
            elif place:  # files beside the class folders are lists and notes, not images
                others[suffix or "no suffix"] += 1
    if others:
        kinds = ", ".join(f"{suffix} {count:,}" for suffix, count in others.most_common(5))
        hint = "; convert HEIC to JPEG first" if {".heic", ".heif"} & set(others) else ""
        warnings.append(f"left out, not images by their suffix ({others.total():,}): {kinds}{hint}")
    if not found:
        raise DataProblem(f"{option} {source}: has no images (*{', *'.join(sorted(SUFFIXES))})")
    return dict(sorted(found.items()))


def class_folders(found: Photographs, source: Path, warnings: list[str]) -> Photographs:
    """``found`` without the images outside of class folders; warns about classes inside of classes.

    Raises:
        DataProblem: there are no class folders.
    """
    classes = {place: files for place, files in found.items() if place}
    if not classes:
        raise DataProblem(
            f"--images {source}: has no class folders; sort images into a folder per class, or give a CSV of path,label"
        )
    if "" in found:
        warnings.append(f"left out, images of {source} that are not in a class folder ({len(found['']):,})")
    nested = [name for name in classes if any(name.startswith(f"{outer}/") for outer in _outer(name) & set(classes))]
    if nested:
        warnings.append(f"class folders inside another class folder, counted as classes of their own: {some(nested)}")
    return classes


def split_folders(classes: Photographs, warnings: list[str]) -> tuple[Photographs, dict[Path, str]]:
    """Classes and the split of each file, if the outermost folders are ``train``, ``valid``, ``test`` and the like.

    They are if train/ has class folders and there are no other folders than those of splits, or another split has a
    class of the same name.

    Returns:
        (``classes``, nothing) where the outermost folders are not splits.
    """
    of_split: dict[str, Photographs] = defaultdict(dict)
    others: list[str] = []  # not in a class folder of a split
    for place, files in classes.items():
        top, _, name = place.partition("/")
        if name and top.lower() in SPLIT_FOLDERS:
            of_split[top][name] = files
        else:
            others.append(place)
    training = {name for top, found in of_split.items() if SPLIT_FOLDERS[top.lower()] == "train" for name in found}
    held_out = {name for top, found in of_split.items() if SPLIT_FOLDERS[top.lower()] != "train" for name in found}
    tops = {place.partition("/")[0] for place in classes}
    only_splits = len(tops) > 1 and all(top.lower() in SPLIT_FOLDERS for top in tops)
    if not training or not (only_splits or training & held_out):
        return classes, {}
    known: dict[str, list[Path]] = defaultdict(list)
    given: dict[Path, str] = {}
    for top, found in of_split.items():
        for name, files in found.items():
            known[name] += files
            given |= dict.fromkeys(files, SPLIT_FOLDERS[top.lower()])
    warnings.append(
        f"{', '.join(f'{top}/' for top in of_split)} are taken for splits, with {counted(len(known), 'class')} in "
        "them; with --as-classes they are part of the class names"
    )
    if others:
        warnings.append(f"left out, folders that are not classes of a split: {some(others)}")
    if without := sorted(set(known) - training):
        warnings.append(f"left out, classes without a folder in the training split: {some(without)}")
    return {name: sorted(known[name]) for name in sorted(training)}, given


def listable(name: str) -> bool:
    """Whether a list file can name this path, by the rules of ``oltr_cli.data.lists.lists.read_list``."""
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of another encoding in a file name
        return False
    parts = name.replace("\\", "/").split("/")
    leads_outside = not parts[0] or name[1:2] == ":" or ".." in parts
    return not leads_outside and len(name.splitlines()) == 1 and name == name.strip()


def _outer(name: str) -> set[str]:
    parts = name.split("/")
    return {"/".join(parts[:depth]) for depth in range(1, len(parts))}


def _folders(top: Path, without: Path | None, warnings: list[str]) -> Iterator[tuple[str, list[Path]]]:
    """Each visible folder below ``top`` once, as its path there and its sorted visible files.

    Links to folders are followed last, so that a folder is known by its own name and a loop of links ends.
    """
    seen = {_identity(without)} if without is not None else set()
    own, linked = deque([("", top)]), deque[tuple[str, Path]]()
    unreadable, again = [], []
    while own or linked:
        is_link = not own
        place, folder = (own or linked).popleft()
        try:
            identity = _identity(folder)
            with os.scandir(folder) as scan:
                entries = sorted((entry for entry in scan if entry.name[0] != "."), key=lambda entry: entry.name)
        except OSError as error:
            unreadable.append(f"{folder} ({error.strerror})")
            continue
        if identity in seen:
            if is_link:
                again.append(place)
            continue
        seen.add(identity)
        files = []
        for entry in entries:
            path = folder / entry.name
            if not entry.is_dir():
                files.append(path)
            elif entry.name not in _THUMBNAILS:
                below = unicodedata.normalize("NFC", f"{place}/{entry.name}" if place else entry.name)
                (linked if entry.is_symlink() else own).append((below, path))
        yield place, files
    if unreadable:
        warnings.append(f"left out, folders that cannot be read: {some(unreadable)}")
    if again:
        warnings.append(f"left out, links to folders that were already read: {some(again)}")


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _from_csv(file: Path) -> Photographs:
    """Lines ``path,label``. Paths start from the file's folder; a first line that names no image is a header.

    Raises:
        DataProblem: unreadable, or a line that is not ``path,label`` of an existing image; the message names it.
    """
    found: dict[str, set[Path]] = defaultdict(set)
    folder = file.parent.absolute()
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            first = True
            for row in (reader := csv.reader(text)):
                cells = [cell.strip() for cell in row]
                if not any(cells):
                    continue
                is_header = (
                    first and Path(cells[0]).suffix.lower() not in SUFFIXES and not (folder / cells[0]).is_file()
                )
                first = False
                if is_header:
                    continue
                where = f"{file}:{reader.line_num}"
                if len(cells) != 2 or not all(cells):
                    raise DataProblem(f"{where}: not 'path,label'{_separator_hint(cells)}")
                path, label = Path(os.path.normpath(folder / cells[0])), unicodedata.normalize("NFC", cells[1])
                if not path.is_file():
                    swapped = "; the path comes first, then the label" if (folder / label).is_file() else ""
                    raise DataProblem(f"{where}: no such image {path}{swapped}")
                if len(label.splitlines()) != 1:
                    raise DataProblem(f"{where}: the label {label!r} contains a line break")
                found[label].add(path)
    except UnicodeDecodeError:
        raise DataProblem(f"{file}: not UTF-8 text; save it as 'CSV UTF-8'") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataProblem(f"{file}: cannot be read ({error})") from None
    if not found:
        raise DataProblem(f"{file}: lists no images")
    return {label: sorted(paths) for label, paths in sorted(found.items())}


def _separator_hint(cells: list[str]) -> str:
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if mark in cells[0]:
            return f": its columns are separated by {name}; save it with commas"
    if len(cells) > 2:
        return f": it has {len(cells)} columns; put a path or label that contains a comma in double quotes"
    return ""
