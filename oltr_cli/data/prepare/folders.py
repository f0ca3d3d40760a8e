"""What a folder of images contains, by name alone: each folder is read once, and no file is opened.

ILSVRC's 1.3 million and Places365's 1.8 million training images are listed in seconds this way. An interrupted download
leaves out folders, or leaves files empty.
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted, some
from oltr_cli.data.inspect.files import file_sizes
from oltr_cli.data.prepare.common import IMAGE_SUFFIXES
from oltr_cli.errors import DataProblem

_ENDINGS = {suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES}


def scan(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the visible folders and of the images in ``folder``, sorted; none if it does not exist.

    Raises:
        DataProblem: it cannot be read.
    """
    folders: list[str] = []
    images: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                # By its name first: is_dir() has to look at the file if it is a link.
                if name.rpartition(".")[2].lower() in _ENDINGS:
                    images.append(name)
                elif entry.is_dir():
                    folders.append(name)
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        raise DataProblem(f"{folder}: cannot be read ({error.strerror or error})") from None
    return sorted(folders), sorted(images)


def image_folders(folder: Path, display: Display, title: str) -> dict[str, list[str]]:
    """Path below ``folder`` (``""`` is itself) → sorted images, for all folders with images or without folders.

    Raises:
        DataProblem: a folder cannot be read.
    """
    found: dict[str, list[str]] = {}
    waiting, read = [""], 0
    with display.bar(title, 1, "folders") as bar:
        while waiting:
            path = waiting.pop()
            folders, images = scan(folder / path)
            waiting += [f"{path}/{name}" if path else name for name in folders]
            if images or not folders:
                found[path] = images
            read += 1
            bar.reached(read, read + len(waiting))
    return dict(sorted(found.items()))


def file_problems(root: Path, files: Mapping[str, Sequence[str]], display: Display) -> list[str]:
    """What is missing or empty below ``root``, one line per kind and source; whole folders first.

    Args:
        files: what lists them → paths below ``root``.
    """
    sizes = file_sizes(root, {source: list(names) for source, names in files.items()}, display)
    problems = []
    for source, names in files.items():
        if missing := [name for name in names if sizes[name] < 0]:
            problems.append(
                f"{source}: {len(missing):,} of {counted(len(names), 'image')} missing: {where_missing(root, missing)}"
            )
        if empty := [name for name in names if sizes[name] == 0]:
            problems.append(f"{source}: {len(empty):,} of {counted(len(names), 'image')} empty: {some(empty)}")
    return problems


def where_missing(root: Path, missing: list[str]) -> str:
    """The folders below ``root`` that are missing, and what others lack."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in missing:
        folder, _, file = name.rpartition("/")
        by_folder[folder].append(file)
    gone = [folder for folder in by_folder if not (root / folder).is_dir()]
    cut = [
        f"{folder or '.'} lacks {len(lost):,} ({some(lost)})"
        for folder, lost in by_folder.items()
        if folder not in gone
    ]
    parts = [f"no folder {some(gone)}"] if gone else []
    return "; ".join([*parts, *cut[:3], *(["…"] if len(cut) > 3 else [])])
