"""Finding photographs and their classes: in class folders, or in a table of them."""

import os
import stat
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.markup import escape

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted, some
from oltr_cli.data.build.split import Photographs
from oltr_cli.data.images import HEIC_SUFFIXES, SUFFIXES
from oltr_cli.data.sources.recognise import recognise
from oltr_cli.data.sources.table import SPLITS, Photograph, read_csv
from oltr_cli.errors import DataProblem

_THUMBNAILS = {"__MACOSX", "@eaDir"}  # what macOS archives and network drives add to folders of photographs


def find_photographs(
    source: Path, option: str, without: Path | None, unpack_to: Path, display: Display, warnings: list[str]
) -> list[Photograph]:
    """What a table or a file of another format lists, or the images below the folder ``source``, each with the path of
    its folder as label.

    Args:
        option: the option that gave ``source``, for messages.
        without: a folder to skip.
        unpack_to: folder for images that are inside of a file.
        display: says what ``source`` is taken for, if it is neither class folders nor a CSV of paths.
        warnings: new ones are appended.
    Raises:
        DataProblem: no such folder or table, or no image in it.
    """
    if (recognised := recognise(source, unpack_to, display)) is not None:
        display.say(f"{option} {escape(str(source))}: taken for {recognised.name}")
        found = recognised.read(warnings)
        to = f", unpacked to {escape(str(unpack_to))}" if recognised.unpacks else ""
        display.say(f"{counted(len(found), 'image')} of it with one class{to}")
        return found
    if source.is_file() and source.suffix.lower() == ".csv":
        return read_csv(source, warnings, all_open=option == "--open")
    if not source.exists():
        what = "file" if source.suffix.lower() == ".csv" else "folder"
        raise DataProblem(f"{option} {source}: no such {what}")
    if not source.is_dir():
        raise DataProblem(f"{option} {source}: not a folder and not a .csv file, nor .json, .parquet or .tar")
    return [
        Photograph(path, label, where=str(path))
        for label, files in _in_folders(source, option, without, warnings).items()
        for path in files
    ]


def in_folders(photographs: Sequence[Photograph]) -> bool:
    """Whether they were found in folders, and their labels are the folders' paths."""
    return bool(photographs) and all(photograph.where == str(photograph.path) for photograph in photographs)


def sizes_of(photographs: Iterable[Photograph]) -> dict[Path, int]:
    """Bytes of each file.

    Raises:
        DataProblem: a file does not exist; the message says where it is listed.
    """
    sizes: dict[Path, int] = {}
    missing: dict[Path, Photograph] = {}
    for photograph in photographs:
        path = photograph.path
        if path in sizes:
            continue
        try:
            status = path.stat()
            found = stat.S_ISREG(status.st_mode)  # reading from a named pipe would wait forever
        except (OSError, ValueError):  # ValueError: a zero byte in the name
            found = False
        if not found:
            if photograph.where == str(path):  # found in a folder, and a broken link or the like: screened later
                continue
            missing.setdefault(path, photograph)
            continue
        sizes[path] = status.st_size
    if missing:
        raise DataProblem(_missing(missing))
    return sizes


def _missing(missing: dict[Path, Photograph]) -> str:
    """The first of the files that do not exist, and how many others there are."""
    path, photograph = next(iter(missing.items()))
    text = f"{photograph.where}: no such image {path}"
    if Path(photograph.label).suffix.lower() in SUFFIXES:
        return f"{text}; the path comes first, then the label"
    if {"http:", "https:"} & set(path.parts):
        return f"{text}; nothing is downloaded: write where the file is"
    return text + (f" (the first of {len(missing):,} that are not there)" if len(missing) > 1 else "")


def by_class(photographs: Iterable[Photograph]) -> Photographs:
    """The files of each label, all sorted, each once."""
    found: dict[str, set[Path]] = defaultdict(set)
    for photograph in photographs:
        found[photograph.label].add(photograph.path)
    return {label: sorted(paths) for label, paths in sorted(found.items())}


def one_for_each_file(photographs: list[Photograph], warnings: list[str]) -> list[Photograph]:
    """``photographs`` with each file once, without those that have several labels; a warning names their lines.

    Raises:
        DataProblem: a file is listed twice with different splits or groups.
    """
    first: dict[Path, Photograph] = {}
    torn: dict[Path, list[Photograph]] = {}
    again = []
    for photograph in photographs:
        other = first.setdefault(photograph.path, photograph)
        if other is photograph:
            continue
        again.append((other, photograph))
        if (other.label, other.open) != (photograph.label, photograph.open):
            torn.setdefault(photograph.path, [other]).append(photograph)
    for other, photograph in again:
        if photograph.path in torn:
            continue
        for what in ("split", "group"):
            one, two = getattr(other, what), getattr(photograph, what)
            if one != two:
                raise DataProblem(
                    f"{photograph.where}: the {what} of {photograph.path.name} is '{two}', but '{one}' in {other.where}"
                )
    if torn:
        shown = [
            f"{path.name} ({', '.join(f'{_short(p.where)}: {p.label}' for p in lines)})" for path, lines in torn.items()
        ]
        warnings.append(
            f"left out, images that are listed with several labels ({len(torn):,}): {some(shown)}; keep one line of "
            "each, or give the images of such pairs a class of their own"
        )
    return [photograph for path, photograph in first.items() if path not in torn]


def _short(where: str) -> str:
    return where.rpartition("/")[2]


def _in_folders(source: Path, option: str, without: Path | None, warnings: list[str]) -> Photographs:
    """Images by the path below ``source`` of the folder that directly holds them, "" for ``source`` itself."""
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
        hint = "; HEIC needs pillow-heif: pip install 'oltr[heic]'" if HEIC_SUFFIXES & set(others) else ""
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
        if name and top.lower() in SPLITS:
            of_split[top][name] = files
        else:
            others.append(place)
    training = {name for top, found in of_split.items() if SPLITS[top.lower()] == "train" for name in found}
    held_out = {name for top, found in of_split.items() if SPLITS[top.lower()] != "train" for name in found}
    tops = {place.partition("/")[0] for place in classes}
    only_splits = len(tops) > 1 and all(top.lower() in SPLITS for top in tops)
    if not training or not (only_splits or training & held_out):
        return classes, {}
    known: dict[str, list[Path]] = defaultdict(list)
    given: dict[Path, str] = {}
    for top, found in of_split.items():
        for name, files in found.items():
            known[name] += files
            given |= dict.fromkeys(files, SPLITS[top.lower()])
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
