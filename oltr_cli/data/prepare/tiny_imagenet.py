"""tiny-imagenet-lt: Tiny ImageNet with ImageNet-LT's tail in small, drawn from the ordinary download.

Tiny ImageNet (Le and Yang, CS 231N, Stanford 2015): 200 classes of ILSVRC2012, 500 training and 50 validation images of
each, 64×64. 150 classes are known, 35 open, 15 open validation. Known classes have 5 to 450 training images,
5 + Lomax(α = 6, scale 550), 20 others are validation; the 50 validation images of each class are test or open.
"""

from collections import defaultdict
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted, some
from oltr_cli.data.inspect.published import PUBLISHED
from oltr_cli.data.lists.lists import read_lists
from oltr_cli.data.longtail import pareto_counts
from oltr_cli.data.prepare.common import Prepared, Row, drawn
from oltr_cli.data.prepare.draw import deal_counts, split_class
from oltr_cli.data.prepare.folders import image_folders
from oltr_cli.data.prepare.ilsvrc import class_lines
from oltr_cli.data.prepare.splits import SplitLists

NAME, DOWNLOAD = "tiny-imagenet-lt", "tiny-imagenet-200"
KNOWN, OPEN, OPEN_VAL = 150, 35, 15  # classes
TRAIN, VAL, TEST = 500, 20, 50  # images of each class: of the download, those held out of them, test images
MAXIMUM = 450
ANNOTATIONS = "val_annotations.txt"
LISTS = ("train", "val", "test", "open", "open_val")
ORIGIN = {
    "train": "drawn: a Pareto tail of 5 to 450 of each known class, by the names of classes and files",
    "val": f"drawn: {VAL} other training images of each known class",
    "test": f"all {TEST} validation images of each known class",
    "open": f"those of {OPEN} other classes",
    "open_val": f"those of the last {OPEN_VAL}",
}


def prepare_tiny_imagenet_lt(root: Path, lists: Path | None, display: Display) -> Prepared:
    """Write the lists that the recipe ``tiny-imagenet-lt`` reads; if all five exist, they are checked and left.

    Args:
        root: holds Tiny ImageNet, as the folder ``tiny-imagenet-200`` or what is in it.
        lists: folder of the lists; None: ``root``.
    Raises:
        DataProblem: class folders or images are missing, lists are of other numbers, or a list is in the way.
    """
    made = SplitLists(root, lists, f"the folder that {DOWNLOAD}.zip was unpacked to")
    if all((made.folder / f"{split}.txt").is_file() for split in LISTS):
        _check_lists(made)
        return made.finish(KNOWN, [], display)
    start = f"{DOWNLOAD}/" if (root / DOWNLOAD).is_dir() else ""
    # train/<wnid>/images/ or train/<wnid>/
    train = _by_folder(f"{start}train", image_folders(root / start / "train", display, f"reading {start}train/"))
    test = _val_images(start, made, display)
    classes = _classes(start, train, test, made)
    made.fail_if_wrong()
    assert test is not None  # else there was a problem
    wrong = [f"{name} {len(train[name])}" for name in classes if len(train[name]) != TRAIN]
    if wrong:
        made.problems.append(f"{start}train/ should have {TRAIN} images of each class, but: {some(wrong)}")
    wrong = [f"{name} {len(test[name])}" for name in classes if len(test[name]) != TEST]
    if wrong:
        made.problems.append(f"{start}val/ should have {TEST} images of each class, but: {some(wrong)}")
    made.fail_if_wrong()
    rows = _draw(train, test, classes, display)
    for split, origin in ORIGIN.items():
        made.draw(split, rows[split], origin)
    known = sorted(_groups(classes)["known"])
    return made.finish(len(known), class_lines(known, (root / start, root)), display)


def _groups(classes: list[str]) -> dict[str, list[str]]:
    """Which classes are known, open and open validation."""
    order = drawn(NAME, "classes", classes, len(classes))
    return {"known": order[:KNOWN], "open": order[KNOWN : KNOWN + OPEN], "open_val": order[KNOWN + OPEN :]}


def _draw(
    train: dict[str, list[str]], test: dict[str, list[str]], classes: list[str], display: Display
) -> dict[str, list[Row]]:
    groups = _groups(classes)
    known = sorted(groups["known"])
    counts = deal_counts(NAME, pareto_counts(KNOWN, maximum=MAXIMUM).tolist(), {n: len(train[n]) - VAL for n in known})
    rows: dict[str, list[Row]] = defaultdict(list)
    with display.bar("drawing", len(known), "classes") as bar:
        for label, name in enumerate(known):
            for split, files in split_class(NAME, name, train[name], {"val": VAL, "train": counts[name]}).items():
                rows[split] += [(file, label) for file in files]
            rows["test"] += [(file, label) for file in test[name]]
            bar.advance()
    for split in ("open", "open_val"):
        rows[split] = [(file, -1) for name in groups[split] for file in test[name]]
    return rows


def _by_folder(start: str, found: dict[str, list[str]]) -> dict[str, list[str]]:
    """First folder → all images in it and below it, by their paths below the root."""
    images: dict[str, list[str]] = defaultdict(list)
    for path, files in found.items():
        if path:
            images[path.split("/")[0]] += [f"{start}/{path}/{file}" for file in files]
    return dict(images)


def _val_images(start: str, made: SplitLists, display: Display) -> dict[str, list[str]] | None:
    """Class → its validation images: by ``val_annotations.txt`` in ``val/images/``, or in ``val/<wnid>/``.

    None if there are images, but nothing gives their classes.
    """
    found = image_folders(made.root / start / "val", display, f"reading {start}val/")
    annotations = made.root / start / "val" / ANNOTATIONS
    flat = next((path for path in ("images", "") if found.get(path)), None)
    if flat is None:
        return _by_folder(f"{start}val", found)
    try:
        words = [line.split() for line in annotations.read_text(encoding="utf-8").splitlines()]
        class_of = {row[0]: row[1] for row in words if row}
    except (OSError, UnicodeDecodeError, IndexError) as error:
        made.problems.append(f"{start}val/{ANNOTATIONS} cannot be read ({error}); it gives the class of each image")
        return None
    there = set(found[flat])
    if unknown := sorted(there - class_of.keys()):
        made.problems.append(f"{ANNOTATIONS} has no class for {counted(len(unknown), 'image')}: {some(unknown)}")
    folder = f"{start}val/{flat}/" if flat else f"{start}val/"
    if missing := sorted(class_of.keys() - there):
        made.problems.append(
            f"{folder} lacks {counted(len(missing), 'image')} that {ANNOTATIONS} names: {some(missing)}"
        )
    images: dict[str, list[str]] = defaultdict(list)
    for file in found[flat]:
        if file in class_of:
            images[class_of[file]].append(folder + file)
    return dict(images)


def _classes(start: str, train: dict[str, list[str]], test: dict[str, list[str]] | None, made: SplitLists) -> list[str]:
    """All 200 classes, sorted: those of ``wnids.txt`` if it exists."""
    path = made.root / start / "wnids.txt"
    if not train and test == {}:
        made.problems.append(f"no train/<wnid>/ and val/; unpack {DOWNLOAD}.zip here, or give --root")
        return []
    named = sorted(set(path.read_text(encoding="utf-8").split())) if path.is_file() else sorted(train)
    for part, images in (("train", train), ("val", test)):
        if images is not None and (missing := [name for name in named if name not in images]):
            made.problems.append(
                f"{start}{part}/ has no images of {len(missing)} of the {counted(len(named), 'class')}: {some(missing)}"
            )
    total = KNOWN + OPEN + OPEN_VAL
    if len(named) != total:
        where = path.name if path.is_file() else f"{start}train/"
        made.problems.append(f"{where} has {counted(len(named), 'class')}, Tiny ImageNet has {total}")
    return named


def _check_lists(made: SplitLists) -> None:
    """Existing lists must have the numbers of images that the recipe's results were measured with."""
    published, read = PUBLISHED[NAME], read_lists(NAME, made.folder)
    for split in LISTS:
        images = len(read.names[split])
        if images != published.images[split]:
            made.problems.append(f"{split}.txt has {counted(images, 'image')}, not {published.images[split]:,}")
    if read.num_classes != published.classes:
        made.problems.append(f"train.txt has {counted(read.num_classes, 'class')}, not {published.classes}")
