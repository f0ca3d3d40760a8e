"""Photographs of a COCO or a COCO Camera Traps file.

https://cocodataset.org/#format-data and https://lila.science/coco-camera-traps. A class is a category. The photographs
of a sequence (``seq_id``) are a group; ``location`` and all other fields of an image can be named as columns.
"""

import os
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Any

from oltr_cli.base.text import counted, some
from oltr_cli.data.sources.json_file import objects, scalars, value
from oltr_cli.data.sources.left_out import ABSENT, SEVERAL, UNLABELLED, LeftOut
from oltr_cli.data.sources.local_files import is_file
from oltr_cli.data.sources.table import SPLITS, Photograph, iso_date, label_of
from oltr_cli.errors import DataProblem

COCO, CAMERA_TRAPS = "COCO", "COCO Camera Traps"
_TRIED = 20  # images by which the folder of all is found


def kind(content: dict[str, Any]) -> str:
    """``COCO``, ``COCO Camera Traps``, or "" for an object that is neither."""
    if not {"images", "annotations", "categories"} <= set(content):
        return ""
    images = content["images"] if isinstance(content["images"], list) else []
    traps = any(isinstance(image, dict) and {"seq_id", "location"} & set(image) for image in images[:_TRIED])
    return CAMERA_TRAPS if traps else COCO


def read(file: Path, content: dict[str, Any], warnings: list[str]) -> list[Photograph]:
    """The images with annotations of one category, in the file's order.

    Args:
        content: the object in ``file``.
        warnings: what was left out is appended.
    Raises:
        DataProblem: not valid, an annotation of an unknown image or category, or no image is left; the message names
            file and key.
    """
    names = _categories(content, file)
    images = objects(content, "images", file)
    labels = _labels(content, names, images, file)
    folder = _folder(images, file)
    left_out, found = LeftOut(), []
    for position, image in enumerate(images):
        where = f"{file}: images[{position}]"
        name, classes = str(value(image, "file_name", where)), labels[image["id"]]
        path = Path(os.path.normpath(folder / name.replace("\\", "/")))
        if image.get("corrupt") is True:
            left_out.add("images that the file calls corrupt", name)
        elif len(classes) != 1:
            left_out.add(SEVERAL if classes else UNLABELLED, name)
        elif not is_file(path):
            left_out.add(ABSENT, name)
        else:
            found.append(_photograph(image, path, next(iter(classes)), where))
    warnings += left_out.warnings()
    if not found:
        raise DataProblem(f"{file}: no image is left: {left_out or 'it lists none'}")
    return found


def _photograph(image: dict[str, Any], path: Path, label: str, where: str) -> Photograph:
    columns = scalars(image)
    date = columns.get("datetime") or columns.get("date_captured", "")
    try:
        date = iso_date(date) if date else ""
    except ValueError:
        date = ""  # any form is allowed there
    split = SPLITS.get(columns.get("split", "").lower(), "")
    return Photograph(path, label, split, columns.get("seq_id", ""), date, columns=columns, where=where)


def _categories(content: dict[str, Any], file: Path) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for position, category in enumerate(objects(content, "categories", file)):
        where = f"{file}: categories[{position}]"
        id_ = value(category, "id", where)
        if id_ in names:
            raise DataProblem(f"{where}: the id {id_!r} is not unique")
        names[id_] = label_of(str(value(category, "name", where)), where)
    return names


def _labels(
    content: dict[str, Any], names: dict[Any, str], images: list[dict[str, Any]], file: Path
) -> dict[Any, set[str]]:
    """Classes by the id of the image."""
    labels: dict[Any, set[str]] = {}
    for position, image in enumerate(images):
        where = f"{file}: images[{position}]"
        id_ = value(image, "id", where)
        if id_ in labels:
            raise DataProblem(f"{where}: the id {id_!r} is not unique")
        image["id"], labels[id_] = id_, set()
    for position, annotation in enumerate(objects(content, "annotations", file)):
        where = f"{file}: annotations[{position}]"
        of, category = value(annotation, "image_id", where), value(annotation, "category_id", where)
        if of not in labels:
            raise DataProblem(f"{where}: no image has the id {of!r}")
        if category not in names:
            raise DataProblem(f"{where}: no category has the id {category!r}")
        labels[of].add(names[category])
    return labels


def _folder(images: list[dict[str, Any]], file: Path) -> Path:
    """Where ``file_name`` starts from: beside the file, in images/, or where COCO's own archives have them.

    Raises:
        DataProblem: none of the first images is in any of these folders.
    """
    beside = file.absolute().parent
    places = [beside, beside / "images", beside.parent, beside.parent / "images"]
    parts = file.stem.split("_")  # instances_train2017.json is of the images in train2017/
    places += [place / part for part in parts for place in tuple(places)]
    names = [str(image["file_name"]) for image in islice(images, _TRIED) if image.get("file_name")]
    hits: dict[Path, int] = defaultdict(int)
    for place in places:
        hits[place] = sum(is_file(place / name.replace("\\", "/")) for name in names)
    best = max(places, key=lambda place: hits[place])
    if names and not hits[best]:
        raise DataProblem(
            f"{file}: images not found: of its first {counted(len(names), 'image')} ({some(names)}) none is in "
            f"{', '.join(map(str, places[:4]))}; put the file beside its images"
        )
    return best
