"""Places-LT (Liu et al. 2019, section 4 and Table 3 b): lists over the images of Places365-Standard.

The authors' lists are used if they are there, with their paths adapted: torchvision names the folders differently.
Otherwise training images are drawn with exactly the published number of each class (``places_lt_counts.txt``).

Labels are those of the authors' lists: the order of the classes' paths with "/" read as "_". Places365's own numbers
differ from it in five classes (desert/sand, desert/vegetation, desert_road, field/wild, field_road), in
``places365_val.txt`` for one; the authors' test list has them turned over, so that all of their lists agree.

The same lists are in circulation with flattened paths, for example in Kang et al.'s classifier-balancing:
``train/desert-sand/x.jpg`` for ``data_256/d/desert/sand/x.jpg``, ``val/desert-sand/x.jpg`` for ``val_256/x.jpg``.
"""

from collections.abc import Callable
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted, some
from oltr_cli.data.lists.lists import read_list
from oltr_cli.data.prepare.common import Prepared
from oltr_cli.data.prepare.draw import draw_train_val, published_counts, unequal
from oltr_cli.data.prepare.folders import image_folders
from oltr_cli.data.prepare.official import label_problems, read_official
from oltr_cli.data.prepare.splits import SplitLists

NAME, PREFIX = "places-lt", "Places_LT"
COUNTS = "places_lt_counts.txt"
VAL, TEST = 20, 100  # images of each class
SMALLEST = 3068  # training images of the smallest class of Places365-Standard
TRAIN_FOLDERS = ("data_256", "data_256_standard", "data_large", "data_large_standard")
VAL_FOLDERS = ("val_256", "val_large")
VAL_LABELS = "places365_val.txt"
OPEN_FOLDERS = ("Places_open", "open")


def prepare_places_lt(root: Path, lists: Path | None, display: Display) -> Prepared:
    """Write the lists that the recipe ``places-lt`` reads, that do not exist yet.

    Args:
        root: holds Places365-Standard, as it is unpacked or as torchvision leaves it, and the open images.
        lists: folder of official lists, where the others are written; None: ``root``.
    Raises:
        DataProblem: folders, images or labels are missing, an official list is not the published one, or a list of
            another origin is in the way. All problems are listed.
    """
    made = SplitLists(root, lists, "the folder that Places365-Standard was unpacked to")
    counts = published_counts(COUNTS)
    classes = list(counts)
    official = read_official(NAME, PREFIX, (made.folder, root), list(counts.values()))
    flat = {path.partition("/")[2].replace("/", "-"): path for path in classes}

    def class_of(path: str) -> str:
        """``data_256/d/desert/sand/x.jpg`` → ``d/desert/sand``; "" for a path that names no class."""
        folder = path.partition("/")[2].rpartition("/")[0]
        return flat.get(folder, folder)

    for listed in official.values():
        made.problems += label_problems(listed, classes, class_of)
    made.fail_if_wrong()
    train_folder = next((name for name in TRAIN_FOLDERS if (root / name).is_dir()), TRAIN_FOLDERS[0])
    val_folder = next((name for name in VAL_FOLDERS if (root / name).is_dir()), VAL_FOLDERS[0])
    rename = _renamer(train_folder, val_folder, {} if (root / "train").is_dir() else flat)
    for split in ("train", "val"):
        if split in official:
            made.take(split, official[split], rename)
    if not {"train", "val"} <= official.keys():
        images = image_folders(root / train_folder, display, f"reading {train_folder}/")
        if _all_there(train_folder, images, classes, made):
            draw_train_val(NAME, train_folder, images, counts, VAL, class_of, official, made, display)
    if "test" in official:
        made.take("test", official["test"], rename)
    else:
        _test(val_folder, classes, made, display)
    made.open_images(
        NAME,
        PREFIX,
        official,
        lambda: {name: image_folders(root / name, display, f"reading {name}/") for name in OPEN_FOLDERS},
        if_none="they are test images of Places-Extra69, renamed by the authors: put their folder Places_open/ here, "
        "or move the list away to go without them",
        without=f"put Places-Extra69's test images into open/, or add the authors' Places_open/ and {PREFIX}_open.txt",
    )
    return made.finish(len(classes), [path.partition("/")[2] for path in classes], display)


def _renamer(train_folder: str, val_folder: str, flat: dict[str, str]) -> Callable[[str], str]:
    """Listed path → path with the names that folders have here; ``flat``: class in a flattened path → its folder."""
    folders = {TRAIN_FOLDERS[0]: train_folder, VAL_FOLDERS[0]: val_folder}

    def rename(path: str) -> str:
        first, slash, rest = path.partition("/")
        name, _, file = rest.rpartition("/")
        if first == "train" and name in flat:
            return f"{train_folder}/{flat[name]}/{file}"
        if first == "val" and name in flat:
            return f"{val_folder}/{file}"
        return f"{folders.get(first, first)}{slash}{rest}"

    return rename


def _all_there(train_folder: str, images: dict[str, list[str]], classes: list[str], made: SplitLists) -> bool:
    """Whether there is a folder of each class; other oddities are warnings."""
    if missing := [name for name in classes if name not in images]:
        made.problems.append(
            f"{train_folder}/ lacks {len(missing):,} of {len(classes):,} class folders LETTER/CLASS/: "
            f"{some(missing)}; unpack train_256_places365standard.tar in {made.root}"
        )
        return False
    if others := sorted(images.keys() - {"", *classes}):
        made.warnings.append(f"left out, folders of {train_folder}/ that are not classes of Places365: {some(others)}")
    small = [f"{name} {len(images[name]):,}" for name in classes if len(images[name]) < SMALLEST]
    if small:
        made.warnings.append(
            f"{train_folder}/ has {counted(len(small), 'class')} with fewer images than any of Places365-Standard has "
            f"({SMALLEST:,}); was the download cut short? {some(small)}"
        )
    return True


def _test(val_folder: str, classes: list[str], made: SplitLists, display: Display) -> None:
    """Places365's validation images with their classes from ``places365_val.txt``."""
    labels_file = made.root / VAL_LABELS
    if not labels_file.is_file():
        made.problems.append(
            f"no file gives the classes of {val_folder}/: add {VAL_LABELS} (in filelist_places365-standard.tar) or "
            f"{PREFIX}_test.txt"
        )
        return
    names, numbers = read_list(labels_file)
    own_order = sorted(classes)  # Places365's own numbers: those of categories_places365.txt
    if numbers.min() < 0 or numbers.max() >= len(classes):
        made.problems.append(
            f"{VAL_LABELS} has numbers {numbers.min()} to {numbers.max()}, not 0 to {len(classes) - 1}"
        )
        return
    labels = {name: label for label, name in enumerate(classes)}
    rows = [(f"{val_folder}/{name}", labels[own_order[i]]) for name, i in zip(names, numbers.tolist(), strict=True)]
    if wrong := unequal(classes, rows, TEST):
        made.problems.append(f"{VAL_LABELS} should name {TEST} images of each class, but: {wrong}")
        return
    there = set(image_folders(made.root / val_folder, display, f"reading {val_folder}/").get("", ()))
    if missing := [name for name in names if name not in there]:
        made.problems.append(
            f"{val_folder}/ lacks {len(missing):,} of the {len(names):,} images that {VAL_LABELS} names: "
            f"{some(missing)}"
        )
        return
    made.draw("test", rows, f"Places365's validation images, classes by {VAL_LABELS}")
