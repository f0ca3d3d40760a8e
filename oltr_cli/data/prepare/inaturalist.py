"""iNaturalist 2018: 8,142 species with a natural long tail; only lists are written.

Source: the iNaturalist 2018 challenge (Van Horn et al., "The iNaturalist Species Classification and Detection Dataset",
CVPR 2018, describes its making). Labels are the category ids. The training list is the official one in full: held out
of it, validation would take the last images of classes that have two. The labels of the test set are not public, and
the literature reports on the official validation set, three images per class; no model is selected on what is reported
here, so one of the three is validation and the other two are test. Which one follows from the file names alone.

There are no open images. Classes set aside are left out of training, and their validation images are open; that is a
separate dataset, ``inaturalist2018-open500``.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from oltr_cli.base.display import Display
from oltr_cli.base.seeding import derive
from oltr_cli.base.text import counted
from oltr_cli.data.prepare.common import (
    Prepared,
    as_lines,
    drawn,
    folders_in,
    lists_to_write,
    variant_recipe,
    write_lists,
    write_recipe,
)
from oltr_cli.data.prepare.folders import file_problems
from oltr_cli.data.prepare.inaturalist_json import Listed, category_names, read_json_list, read_text_list
from oltr_cli.errors import DataProblem, UsageProblem, nearest, several
from oltr_cli.recipe.home import data_home

NAME = "inaturalist2018"
CLASSES = 8142
IMAGES = {"train2018.json": 437_513, "val2018.json": 24_426}
LISTS = {
    "train2018.json": "iNaturalist18_train.txt",
    "val2018.json": "iNaturalist18_val.txt",
}  # used if there is no JSON
PER_CLASS = 3  # images in val2018.json; one of them is validation
OPEN_VAL = 0.3  # of the classes set aside
ARCHIVE, TORCHVISION = "train_val2018", "2018"  # the folder as the archive has it, and as torchvision renames it
ADDRESS = "https://ml-inat-competition-datasets.s3.amazonaws.com/2018"
ORIGIN = {
    "train": "train2018.json",
    "val": "one image per class of val2018.json",
    "test": "the other two of each class",
    "open": "val2018.json, classes set aside",
    "open_val": "val2018.json, other classes set aside",
}


def prepare_inaturalist2018(
    root: Path, lists: Path | None, open_classes: str, display: Display
) -> tuple[str, Prepared]:
    """Write the lists; return the name of the dataset and what is there now.

    Args:
        root: holds ``train2018.json``, ``val2018.json`` (or the lists ``iNaturalist18_train.txt``, ``…_val.txt`` of the
            literature) and ``train_val2018/``, which torchvision calls ``2018/``.
        lists: where the lists go; None: ``root``.
        open_classes: how many classes to set aside, or a supercategory; "" none.
    Raises:
        UsageProblem: classes to set aside that do not exist.
        DataProblem: files are missing, cut short or of another year, or a list of another origin is in the way.
    """
    if open_classes and lists:
        raise UsageProblem(f"--lists: the lists of a set with --open-classes go to $OLTR_DATA/{_name(open_classes)}")
    if problems := _missing_parts(root):
        raise DataProblem(several(str(root), problems))
    images = ARCHIVE if (root / ARCHIVE).is_dir() else TORCHVISION
    train, val = (
        read_json_list(root / file, ARCHIVE, images, display)
        if (root / file).is_file()
        else read_text_list(root / LISTS[file], ARCHIVE, images)
        for file in IMAGES
    )
    if problems := [*_wrong_counts(train, val)]:
        raise DataProblem(several(str(root), problems))
    aside = _set_aside(open_classes, train) if open_classes else []
    name = _name(open_classes)
    folder = data_home() / name if open_classes else lists or root
    texts = _texts(train, val, aside, root)
    new = lists_to_write(folder, texts)
    listed = dict(zip(IMAGES, (train.names, val.names), strict=True))
    if problems := file_problems(root, listed, display):
        raise DataProblem(several(str(root), problems))
    origin = dict(ORIGIN)
    for file in IMAGES:
        if not (root / file).is_file():
            origin = {split: text.replace(file, LISTS[file]) for split, text in origin.items()}
    prepared = Prepared(root, CLASSES - len(aside), lists=folder, origin=origin)
    if not (root / "categories.json").is_file():
        prepared.warnings.append(
            f"categories.json is missing, so species are named by number; it comes in {ADDRESS}/categories.json.tar.gz"
        )
    write_lists(prepared, texts, new)
    if open_classes:
        which = counted(len(aside), "class") + ("" if open_classes.isdigit() else f" of {open_classes}")
        opening = f"iNaturalist 2018 with {which} set aside as open."
        write_recipe(prepared, variant_recipe(NAME, name, opening, root, folder))
        prepared = replace(prepared, root=folder, lists=None)
    return name, prepared


def _name(open_classes: str) -> str:
    if not open_classes:
        return NAME
    return f"{NAME}-open{open_classes}" if open_classes.isdigit() else f"{NAME}-open-{open_classes.lower()}"


def _missing_parts(root: Path) -> list[str]:
    """Which of the three downloads are missing."""
    if not root.is_dir():
        return ["no such folder; give --root, a folder with train2018.json, val2018.json and train_val2018/"]
    if (root / "Plantae").is_dir():
        return [f"holds the images themselves; give the folder that contains it as {ARCHIVE}/, with the .json files"]
    problems = []
    if not any(folders_in(root / name) for name in (ARCHIVE, TORCHVISION)):
        problems.append(f"no images in {ARCHIVE}/ or {TORCHVISION}/; unpack {ADDRESS}/{ARCHIVE}.tar.gz here (120 GB)")
    for file in IMAGES:
        if not (root / file).is_file() and not (root / LISTS[file]).is_file():
            problems.append(
                f"no {file}; unpack {ADDRESS}/{file}.tar.gz here (26 MB; torchvision does not download it), or add "
                f"{LISTS[file]}"
            )
    return problems


def _wrong_counts(train: Listed, val: Listed) -> list[str]:
    """How the two files differ from those of 2018."""
    problems = []
    for (file, images), listed in zip(IMAGES.items(), (train, val), strict=True):
        if len(listed.names) != images:
            problems.append(
                f"{file} lists {counted(len(listed.names), 'image')}, not {images:,}: from another year, or incomplete"
            )
        ids = np.unique(listed.categories)
        if len(ids) != CLASSES or ids[0] != 0 or ids[-1] != CLASSES - 1:
            problems.append(
                f"{file} has images of {len(ids):,} categories, {ids[0]} to {ids[-1]}, not of 0 to {CLASSES - 1}"
            )
    if not problems and (np.bincount(val.categories) != PER_CLASS).any():
        wrong = np.flatnonzero(np.bincount(val.categories) != PER_CLASS)
        problems.append(
            f"val2018.json should have {PER_CLASS} images per class, but not so for {len(wrong):,}, such as {wrong[0]}"
        )
    if not problems and (both := set(train.names) & set(val.names)):
        problems.append(f"images that are in both files ({len(both):,}), such as {min(both)}")
    return problems


def _set_aside(which: str, train: Listed) -> list[int]:
    """The categories to set aside: those of a supercategory, or as many as ``which`` says, drawn by seed; shuffled."""
    shuffled = sorted(range(CLASSES), key=lambda category: derive(NAME, "open", category))
    if which.isdigit():
        chosen = shuffled[: int(which)]
    else:
        known = {name.lower(): name for name in train.supercategories.values()}
        if which.lower() not in known:
            raise UsageProblem(f"--open-classes: no supercategory '{which}'{nearest(which, known.values())}")
        chosen = [c for c in shuffled if train.supercategories.get(c, "").lower() == which.lower()]
    if not 2 <= len(chosen) <= CLASSES - 2:
        raise UsageProblem(
            f"--open-classes {which}: {len(chosen):,} of {CLASSES:,}; open test and open validation need one class "
            "each, and two must stay known"
        )
    return chosen


def _texts(train: Listed, val: Listed, aside: list[int], root: Path) -> dict[str, str]:
    """The text of each list; labels are the category ids, renumbered without gaps if classes are set aside."""
    known = sorted(set(range(CLASSES)) - set(aside))
    label_of = {category: label for label, category in enumerate(known)}
    open_val = set(aside[: max(1, round(len(aside) * OPEN_VAL))])
    by_class: dict[int, list[str]] = {category: [] for category in range(CLASSES)}
    for name, category in zip(val.names, val.categories.tolist(), strict=True):
        by_class[category].append(name)
    rows: dict[str, list[tuple[int, str]]] = {split: [] for split in ORIGIN if aside or "open" not in split}
    rows["train"] = [
        (label_of[category], name)
        for name, category in zip(train.names, train.categories.tolist(), strict=True)
        if category in label_of
    ]
    for category, three in by_class.items():
        if category in label_of:
            order = drawn(NAME, "val", three, len(three))
            rows["val"] += [(label_of[category], order[0])]
            rows["test"] += [(label_of[category], name) for name in order[1:]]
        else:
            rows["open_val" if category in open_val else "open"] += [(-1, name) for name in three]
    names = category_names(root, train)
    texts = {"classes": as_lines(f"{category:04d} {names[category]}" for category in known)}
    return texts | {s: as_lines(f"{name} {label}" for label, name in sorted(pairs)) for s, pairs in rows.items()}
