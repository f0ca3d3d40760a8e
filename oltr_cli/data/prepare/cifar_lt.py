"""CIFAR-100-LT and CIFAR-10-LT: an exponential tail of the training images.

Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019; Cao et al., "Learning
Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019, whose rounding and class order (that of
the labels) give the 10,847 and 12,406 images of imbalance factor 100 that the literature counts.

The literature validates on the test set that it reports. Here 10 % of the official test images are validation, as in
the balanced ``cifar100``, and the others test; held out of training, they would change the published counts (the first
class has all its images in them). Which images are drawn follows from the file names alone, and a larger factor uses a
subset of the images of a smaller one.

The images stay where they are, shared with the balanced set: the folder of the lists gets links to them. A factor other
than 100 makes a separate dataset, ``cifar100-lt-if50``.

With ``unseen`` some of the set's own classes are the open ones. The tail is drawn before they are taken out, so the
other classes keep the training images that they have in the whole set.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.data.prepare.cifar import HELD_OUT, OPEN_LISTS, given_open, known_lists, write_set
from oltr_cli.data.prepare.cifar_folders import Cifar, Folders, holds_images, whole_folders
from oltr_cli.data.prepare.common import Prepared, as_lines, drawn, variant_recipe, write_recipe
from oltr_cli.errors import UsageProblem
from oltr_cli.recipe.home import data_home

IMBALANCE = 100.0  # in the recipes


def meaning(cifar: Cifar, imbalance: float, unseen: int = 0) -> dict[str, str]:
    """What each list of a set with a tail holds."""
    counts = exponential_counts(cifar.classes, cifar.per_class["train"], imbalance)
    if unseen:
        counts = [n for label, n in enumerate(counts) if label not in unseen_labels(cifar, unseen)]
    of_unseen = dict.fromkeys(OPEN_LISTS, f"official test images of {unseen // 2} classes that are not trained on")
    return {
        "train": f"{counts[0]:,} to {counts[-1]:,} images per class: imbalance factor {imbalance:g}",
        "val": "a tenth of the official test set, equally many per class",
        **HELD_OUT,
        **(of_unseen if unseen else {}),
    }


def exponential_counts(classes: int, most: int, imbalance: float) -> list[int]:
    """n_i = ⌊most · (1/imbalance)^(i/(K−1))⌋ for i = 0..K−1, in the floating-point arithmetic of Cao et al.'s code.

    Raises:
        UsageProblem: a factor below 1, or one that leaves a class without images.
    """
    if not 1 <= imbalance <= most:
        raise UsageProblem(f"--imbalance {imbalance:g} must be between 1 and {most:,}, the size of the largest class")
    return [max(1, int(most * (1 / imbalance) ** (i / (classes - 1)))) for i in range(classes)]


def unseen_labels(cifar: Cifar, unseen: int) -> list[int]:
    """The labels of ``unseen`` classes that become open ones: evenly from the largest class to the smallest.

    Raises:
        UsageProblem: not an even number, which open and open_val share, or too few classes are left.
    """
    if unseen % 2 or not 2 <= unseen <= cifar.classes - 2:
        raise UsageProblem(f"--unseen {unseen} must be an even number from 2 to {cifar.classes - 2}")
    return [(2 * i + 1) * cifar.classes // (2 * unseen) for i in range(unseen)]


def dataset_name(cifar: Cifar, imbalance: float, unseen: int = 0) -> str:
    """``cifar100-lt``, or ``cifar100-lt-if50-unseen20`` for a factor other than the recipe's and 20 open classes."""
    factor = "" if imbalance == IMBALANCE else f"-if{imbalance:g}"
    return f"{cifar.name}-lt{factor}" + (f"-unseen{unseen}" if unseen else "")


def prepare_cifar_lt(
    cifar: Cifar, imbalance: float, root: Path | None, open_images: Path | None, display: Display, unseen: int = 0
) -> tuple[str, Prepared]:
    """Write lists, and links to the images, to ``$OLTR_DATA/NAME``; return the name and what is there now.

    Args:
        root: holds the images as class folders or torchvision's download; None: look in the usual places.
        open_images: as for ``cifar100``; None takes the balanced set's open images, if it has some.
        unseen: so many of the set's own classes are the open ones instead; the others keep their training images.
    Raises:
        UsageProblem: a factor or a number out of range.
        DataProblem: images are missing, too many or damaged, or something of another origin is in the way.
    """
    counts = exponential_counts(cifar.classes, cifar.per_class["train"], imbalance)
    open_classes = set(unseen_labels(cifar, unseen)) if unseen else set()
    if unseen and open_images is not None:
        raise UsageProblem("--open and --unseen both say which images are open; leave one out")
    name = dataset_name(cifar, imbalance, unseen)
    folder = data_home() / name
    root = (root or _expected_root(folder, cifar)).absolute()
    folders, unpacked = whole_folders(root, cifar, display)
    prepared = Prepared(folder, cifar.classes - unseen, images_written=unpacked)
    known: Folders = {part: _without(of, open_classes) for part, of in folders.items()}
    # The largest class is the first: the order of the labels is the literature's.
    kept = [count for label, count in enumerate(counts) if label not in open_classes]
    tail = {
        one: sorted(drawn(cifar.name, "tail", images, count))
        for (one, images), count in zip(known["train"].items(), kept, strict=True)
    }
    texts = known_lists(cifar, known, tail)
    links = {folder / part: root / part for part in ("train", "test")}
    sources = given_open(open_images, [root, folder])
    if unseen:
        texts |= _unseen_lists([one for label, one in enumerate(folders["test"].items()) if label in open_classes])
    elif open_images is None and (shared := _shared_open(root, folder, cifar)) is not None:
        texts |= {split: (shared / f"{split}.txt").read_text(encoding="utf-8") for split in OPEN_LISTS}
        links[folder / "open"] = shared / "open"
    write_set(prepared, cifar, texts, sources, display, links)
    standard = dataset_name(cifar, IMBALANCE)
    if name != standard:
        seen = f"{cifar.classes - unseen} of its classes, {unseen} unseen ones, " if unseen else ""
        opening = (
            f"{cifar.download.title} with an exponential tail of imbalance factor {imbalance:g}: {seen}{sum(kept):,} "
            f"training images, {kept[0]} to {kept[-1]} per class."
        )
        write_recipe(prepared, variant_recipe(standard, name, opening))
    return name, prepared


def _without(folders: Mapping[str, list[str]], labels: set[int]) -> dict[str, list[str]]:
    """The class folders except those at the given places."""
    return {one: images for label, (one, images) in enumerate(folders.items()) if label not in labels}


def _unseen_lists(classes: Sequence[tuple[str, list[str]]]) -> dict[str, str]:
    """``open`` and ``open_val``: test images of classes that are not trained on, taken in turns."""
    rows = {
        split: [f"test/{name}/{file} -1" for name, images in classes[start::2] for file in images]
        for start, split in enumerate(OPEN_LISTS)
    }
    return {split: as_lines(lines) for split, lines in rows.items()}


def _expected_root(folder: Path, cifar: Cifar) -> Path:
    """The folder that the links of an earlier call point to, else the first one that has images."""
    link = folder / "train"
    if link.is_symlink() and link.is_dir():
        return Path(os.path.normpath(folder / link.readlink())).parent
    places = (folder, data_home() / cifar.name, data_home() / dataset_name(cifar, IMBALANCE))
    return next((place for place in places if holds_images(place, cifar)), places[1])


def _shared_open(root: Path, folder: Path, cifar: Cifar) -> Path | None:
    """A set of the same images that has open ones, unless ``folder`` has open images of its own."""
    own = folder / "open"
    for place in (root, data_home().absolute() / dataset_name(cifar, IMBALANCE)):
        theirs = place / "open"
        if theirs.is_dir() and all((place / f"{split}.txt").is_file() for split in OPEN_LISTS):
            return place if not own.exists() or own.resolve() == theirs.resolve() else None
    return None
