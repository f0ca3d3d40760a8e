"""CIFAR-100 against Tiny ImageNet resized (Liu et al. 2019, Table 2): class folders, resized open images, lists.

The paper trains on all 50,000 training images, so nothing is held out of them. Validation is 10 images per class of the
official test set, test the other 90; of the open images a tenth is open validation, the others open test. Which ones
follows from the file names alone, so that both layouts of the same images give the same splits. The tenth is drawn by
image, not by class: open validation and open test share their classes, as where the paper marks a figure with †.
"""

from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.data.prepare.cifar_folders import (
    CIFAR100,
    FILTER,
    SIDE,
    Folders,
    held_out_lists,
    open_lists,
    open_sources,
    whole_folders,
)
from oltr_cli.data.prepare.common import Prepared, as_lines, lists_to_write, write_lists
from oltr_cli.data.prepare.resize import resize_images

OPEN = 10_000
MEANING = {
    "train": "all training images: nothing is held out of them",
    "val": f"{CIFAR100.val_per_class} images per class of the official test set",
    "test": "the other images of the official test set",
    "open_val": "a tenth of the open images, drawn by image: its classes are in open, too",
    "open": f"the other open images, {SIDE}×{SIDE}",
}


def prepare_cifar100(root: Path, open_images: Path | None, display: Display) -> Prepared:
    """Bring the folder ``root`` into the form that the recipe ``cifar100`` reads.

    Existing files are left unchanged; an interrupted call resumes where it stopped.

    Args:
        root: holds ``{train,test}/<class>/*``, or torchvision's download ``cifar-100-python/``.
        open_images: Tiny ImageNet, its ``val`` or any folder of images; None leaves the open images as they are.
    Raises:
        DataProblem: images are missing, too many or damaged, or a list of another origin is in the way.
    """
    folders, unpacked = whole_folders(root, CIFAR100, display)
    prepared = Prepared(root, CIFAR100.classes, images_written=unpacked)
    texts = {"classes": as_lines(folders["train"]), "train": _all_training_images(folders)}
    texts |= held_out_lists(folders, CIFAR100)
    sources: dict[str, Path] = {}
    if open_images is not None:
        sources = open_sources(open_images.expanduser(), [root / name for name in ("train", "test", "open")])
        texts |= open_lists(list(sources), CIFAR100)
        if len(sources) != OPEN:
            prepared.warnings.append(f"{len(sources):,} open images; the paper's set has {OPEN:,}")
    elif not (root / "open.txt").is_file():
        prepared.warnings.append("no open images, so no open-set evaluation; give --open")
    new = lists_to_write(root, texts)  # before the long part: refuse early
    if sources:
        prepared.images_written["open"] = resize_images(sources, root / "open", SIDE, FILTER, display)
    write_lists(prepared, texts, new)
    return prepared


def _all_training_images(folders: Folders) -> str:
    return as_lines(
        f"train/{name}/{file} {label}"
        for label, (name, images) in enumerate(folders["train"].items())
        for file in images
    )
