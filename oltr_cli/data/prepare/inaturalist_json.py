"""iNaturalist's annotation files: COCO's format, of which images, annotations and categories are read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted, visible
from oltr_cli.data.lists.list_file import leads_outside, read_list
from oltr_cli.errors import DataProblem


@dataclass(frozen=True)
class Listed:
    """What one file lists.

    Attributes:
        names: N paths below the dataset's root. categories: of each image (N,).
        supercategories, titles: of each category; titles are obfuscated in the files of 2018.
    """

    names: list[str]
    categories: NDArray[np.int64]
    supercategories: dict[int, str]
    titles: dict[int, str]


def read_json_list(path: Path, listed_in: str, images: str, display: Display) -> Listed:
    """Images and categories of ``train2018.json`` or ``val2018.json``.

    Args:
        listed_in: the folder that the file's paths start with. images: what that folder is called here.
    Raises:
        DataProblem: cut short, not such a file, of another year, or an image or an annotation that does not fit.
    """
    display.say(f"[dim]reading {path.name} …[/]")
    content = _load(path)
    if not isinstance(content, dict):
        raise DataProblem(f"{path}: is not iNaturalist's file (no object of images, annotations and categories)")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list) or not content[key]:
            test = "; is it test2018.json? Its labels are not public" if key == "annotations" else ""
            raise DataProblem(f"{path}: is not iNaturalist's file (no '{key}'){test}")
    try:
        files = {image["id"]: image["file_name"] for image in content["images"]}
        owners = [(a["image_id"], a["category_id"]) for a in content["annotations"]]
        supercategories = {int(c["id"]): str(c.get("supercategory", "")) for c in content["categories"]}
        titles = {int(c["id"]): str(c["name"]) for c in content["categories"]}
        names = [files[image] for image, _ in owners]
        categories = np.array([category for _, category in owners], dtype=np.int64)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataProblem(f"{path}: is not iNaturalist's file ({type(error).__name__}: {error})") from None
    if len(set(names)) != len(content["images"]) or len(names) != len(content["images"]):
        raise DataProblem(
            f"{path}: {counted(len(content['images']), 'image')} but {counted(len(names), 'annotation')} of "
            f"{len(set(names)):,}; each image must have one"
        )
    return Listed(_renamed(path, names, listed_in, images), categories, supercategories, titles)


def read_text_list(path: Path, listed_in: str, images: str) -> Listed:
    """The same of a list file of the literature, ``train_val2018/Plantae/7477/x.jpg 7477``.

    Raises:
        DataProblem: not such a list, an image listed twice, or labels that are not the folders' numbers.
    """
    names, categories = read_list(path)
    if len(set(names)) != len(names):
        raise DataProblem(f"{path}: lists an image twice")
    supercategories = {}
    for name, category in zip(names, categories.tolist(), strict=True):
        parts = name.split("/")
        if len(parts) != 4 or parts[2] != str(category):
            raise DataProblem(f"{path}: '{visible(name[:80])} {category}' is not '{listed_in}/KIND/LABEL/image label'")
        supercategories[category] = parts[1]
    numbers = {category: str(category) for category in supercategories}
    return Listed(_renamed(path, names, listed_in, images), categories, supercategories, numbers)


def _renamed(path: Path, names: list[str], listed_in: str, images: str) -> list[str]:
    """``names`` with the folder ``images`` for ``listed_in``, once each is found to be in it."""
    for name in names:
        if not isinstance(name, str) or not name or "\n" in name or "\r" in name or leads_outside(name):
            raise DataProblem(f"{path}: {str(name)[:80]!r} is not an image path")
        if not name.startswith(f"{listed_in}/"):
            raise DataProblem(f"{path}: lists {name[:80]}, not images of {listed_in}/; is it from another year?")
    if images != listed_in:
        names = [images + name.removeprefix(listed_in) for name in names]
    return names


def category_names(root: Path, listed: Listed) -> dict[int, str]:
    """Category → species from ``categories.json`` if it exists, else supercategory and number.

    Raises:
        DataProblem: ``categories.json`` is cut short, or lacks a category.
    """
    path = root / "categories.json"
    numbers = {category: f"{name} {category}".strip() for category, name in listed.supercategories.items()}
    if not path.is_file():
        # Titles that are not obfuscated are species: the list was replaced, as the publisher advises.
        return {c: title if " " in title else numbers[c] for c, title in listed.titles.items()}
    content = _load(path)
    try:
        found = {int(entry["id"]): " ".join(str(entry["name"]).split()) for entry in content}
    except (KeyError, TypeError, ValueError) as error:
        raise DataProblem(f"{path}: is not a list of categories ({type(error).__name__}: {error})") from None
    if missing := sorted(set(numbers) - set(found)):
        raise DataProblem(f"{path}: lacks {len(missing):,} categories, such as {missing[0]}")
    return found


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataProblem(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise DataProblem(f"{path}: is cut short or not JSON ({error}); unpack it again") from None
