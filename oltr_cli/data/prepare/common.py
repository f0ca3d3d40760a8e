"""What all ``prepare_X`` modules share: what they report, what an image is, and lists that never overwrite others.

A preparer never moves or changes what it finds; what it wrote before is left unchanged, and an interrupted call resumes
where it stopped.

A set drawn with other numbers is a separate dataset, with its own name and a recipe beside its lists: a finished run is
found by the name of its dataset and the hash of its recipe, and neither covers the content of the lists. Under one
name, the runs of two draws could not be told apart and would be in one table.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from oltr_cli.base.files import write_text
from oltr_cli.base.seeding import derive
from oltr_cli.data.lists.lists import find_list, read_list
from oltr_cli.data.prepare.resize import is_written
from oltr_cli.errors import DataProblem
from oltr_cli.recipe.files import BUILT_RECIPE, builtin_recipes

Row = tuple[str, int]  # path below the root, label
SPLITS = ("train", "val", "test", "open", "open_val", "probe", "distractors")
# Formats of published datasets; your own photographs may have others: oltr_cli/data/images.py.
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".tif", ".tiff"}


@dataclass
class Prepared:
    """What ``root`` contains now, and what this call added to it."""

    root: Path
    classes: int
    counts: dict[str, int] = field(default_factory=dict)  # images by list
    images_written: dict[str, int] = field(default_factory=dict)  # by folder
    lists_written: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    lists: Path | None = None  # folder of the lists, if not ``root``
    origin: dict[str, str] = field(default_factory=dict)  # by list: where it comes from, if that differs by call

    @property
    def list_folder(self) -> Path:
        return self.lists or self.root


def is_image(path: Path | PurePosixPath) -> bool:
    """By its name alone; hidden files do not count."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def folders_in(folder: Path) -> list[Path]:
    """The visible folders in ``folder``, sorted; none if it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def images_in(folder: Path) -> list[str]:
    """Names of the images in ``folder``, sorted, without our half-written files."""
    return sorted(path.name for path in folder.iterdir() if is_image(path) and is_written(path))


def drawn(dataset: str, purpose: str, names: list[str], count: int) -> list[str]:
    """``count`` of ``names``, drawn by the stem of the file name: folder and format do not change the draw."""
    return sorted(names, key=lambda name: (derive(dataset, purpose, _stem(name)), name))[:count]


def _stem(name: str) -> str:
    """``PurePosixPath(name).stem``, for millions of names."""
    file = name.rpartition("/")[2]
    return file.rpartition(".")[0] or file


def as_lines(rows: Iterable[str]) -> str:
    """The text of a list file."""
    return "".join(f"{row}\n" for row in rows)


def read_text(path: Path) -> str:
    """The text of a file that came with the images.

    Raises:
        DataProblem: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataProblem(f"{path}: cannot be read ({error})") from None


def lists_to_write(root: Path, texts: dict[str, str]) -> list[str]:
    """Which of the files NAME.txt, by NAME, do not exist yet.

    Raises:
        DataProblem: an existing one has other content.
    """
    new, other = [], []
    for name, text in texts.items():
        path = root / f"{name}.txt"
        if not path.exists():
            new.append(path.name)
        elif path.read_bytes() != text.encode():
            other.append(path.name)
    if other:
        raise DataProblem(f"{root}: {', '.join(other)} already there with other content; move it away first")
    return new


def write_lists(prepared: Prepared, texts: dict[str, str], new: list[str]) -> None:
    """Write the files ``new`` (of ``lists_to_write``) and count what all lists hold now."""
    for name in new:
        write_text(prepared.list_folder / name, texts[name.removesuffix(".txt")])
    prepared.lists_written = new
    found = {split: find_list(prepared.list_folder, split) for split in SPLITS}
    prepared.counts = {split: len(read_list(path)[0]) for split, path in found.items() if path is not None}


def variant_recipe(of: str, name: str, opening: str, images: Path | None = None, lists: Path | None = None) -> str:
    """The built-in recipe ``of`` under another name.

    Args:
        opening: one line that says what is different.
        images, lists: the folders, if they are not both ``$OLTR_DATA/NAME``.
    """
    content = builtin_recipes()[of].read_text(encoding="utf-8")
    content = content[content.index("[data]") :].replace(of, name)
    if images is not None and lists is not None:
        paths = {"root": str(images.absolute()), "lists": str(lists.absolute())}
        placed = "".join(f"{key} = {json.dumps(path, ensure_ascii=False)}\n" for key, path in paths.items())
        first, rest = content.split("\n", 1)
        content = f"{first}\n{placed}{rest}"
    return (
        f"# {name}: {opening}\n# Written by oltr data prepare {of}; everything else is as in its recipe.\n\n{content}"
    )


def write_recipe(prepared: Prepared, text: str) -> None:
    """Put the recipe beside the lists; an existing one stays, since it may have been edited."""
    path = prepared.list_folder / BUILT_RECIPE
    if not path.exists():
        write_text(path, text)
        prepared.lists_written.append(path.name)
