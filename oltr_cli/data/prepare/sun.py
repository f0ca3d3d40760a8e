"""SUN-LT (Wang et al. 2017; Liu et al. 2019, Table 4, right): lists drawn over the images of SUN397.

Source: Wang, Ramanan, Hebert, "Learning to Model the Tail", NeurIPS 2017. Half of each class is for training, and 49
images are taken out of that half: the tail that SUN397 has by nature becomes 1 to 1132 images per class. 40 of each
class are test. Their lists are not public, so these are of the same shape, not of the same images. Deviation: their
validation set has a long tail (1 to 227); here it is 10 of each class, for the test set is balanced.
"""

from collections import defaultdict
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted, some
from oltr_cli.data.prepare.common import Prepared, Row, read_text
from oltr_cli.data.prepare.draw import split_class
from oltr_cli.data.prepare.folders import image_folders
from oltr_cli.data.prepare.splits import SplitLists

NAME = "sun-lt"
CLASSES = 397
SMALLEST = 100  # images of the smallest class of SUN397
TEST, VAL, TAKEN_OUT = 40, 10, 49
FOLDER, CLASS_NAMES = "SUN397", "ClassName.txt"
ORIGIN = {
    "train": f"drawn: half of each class less {TAKEN_OUT}, a tail of 1 to 1,132 in the whole of SUN397",
    "val": f"drawn: {VAL} other images of each class",
    "test": f"drawn: {TEST} other images of each class",
}


def training_images(images: int) -> int:
    """How many of a class with ``images`` are trained on: 1 of 100, 1132 of 2361."""
    return (images + 1) // 2 - TAKEN_OUT


def prepare_sun_lt(root: Path, lists: Path | None, display: Display) -> Prepared:
    """Write the lists that the recipe ``sun-lt`` reads, that do not exist yet.

    Args:
        root: holds SUN397, as torchvision leaves it or as the folder itself: ``[SUN397/]a/abbey/*.jpg``.
        lists: where the lists go; None: ``root``.
    Raises:
        DataProblem: class folders or images are missing, or a list of another origin is in the way.
    """
    made = SplitLists(root, lists, "the folder that SUN397.tar.gz was unpacked to")
    start = f"{FOLDER}/" if (root / FOLDER).is_dir() else ""
    found = image_folders(root / start, display, f"reading {start or root.name}")
    # Class folders are below folders of one letter; Partitions/ and the like do not.
    images = {path: files for path, files in found.items() if path[1:2] == "/"}
    classes = _classes(start, images, made)
    made.fail_if_wrong()
    short = [f"{name} {len(images[name])}" for name in classes if len(images[name]) < SMALLEST]
    if short:
        made.problems.append(
            f"{counted(len(short), 'class')} with fewer than SUN397's minimum of {SMALLEST} images: {some(short)}; "
            "was the download cut short?"
        )
    made.fail_if_wrong()
    rows: dict[str, list[Row]] = defaultdict(list)
    for label, name in enumerate(classes):
        sizes = {"test": TEST, "val": VAL, "train": training_images(len(images[name]))}
        for split, files in split_class(NAME, name, images[name], sizes).items():
            rows[split] += [(f"{start}{name}/{file}", label) for file in files]
    for split, origin in ORIGIN.items():
        made.draw(split, rows[split], origin)
    return made.finish(len(classes), [name.partition("/")[2] for name in classes], display)


def _classes(start: str, images: dict[str, list[str]], made: SplitLists) -> list[str]:
    """The class folders, sorted; those of ``ClassName.txt`` if it exists."""
    path = made.root / start / CLASS_NAMES
    if path.is_file():
        named = sorted({line.strip().removeprefix("/") for line in read_text(path).splitlines()} - {""})
        missing = [name for name in named if name not in images]
        if missing:
            made.problems.append(
                f"{start or './'} lacks {len(missing):,} of the {len(named):,} class folders that {CLASS_NAMES} names: "
                f"{some(missing)}"
            )
    else:
        named = sorted(images)
    if len(named) != CLASSES:
        what = f"{counted(len(named), 'class folder')}, not {CLASSES}" if named else "no class folders LETTER/CLASS/"
        made.problems.append(f"{start or './'} has {what}; unpack SUN397.tar.gz in {made.root}")
    return named
