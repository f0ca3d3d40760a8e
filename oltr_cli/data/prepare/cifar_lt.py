"""CIFAR-100-LT and CIFAR-10-LT: an exponential tail drawn from the training images of CIFAR.

Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019; Cao et al., "Learning
Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019, whose rounding and class order (that of
the labels) give the 10,847 and 12,406 images of imbalance factor 100 that the literature counts.

The literature validates on the test set that it reports. Here 10 % of the official test images are validation, as in
the balanced ``cifar100``, and the others test; held out of training, they would change the published counts (the first
class has all its images in them). Which images are drawn follows from the file names alone, and a larger factor uses a
subset of the images of a smaller one.

The images stay where they are, shared with the balanced set: the folder of the lists gets links to them. A factor other
than 100 makes a separate dataset, ``cifar100-lt-if50``.
"""

import os
from pathlib import Path

from rich.markup import escape

from oltr_cli.base.display import Display
from oltr_cli.data.prepare.cifar_folders import (
    FILTER,
    SIDE,
    Cifar,
    Folders,
    held_out_lists,
    holds_images,
    open_lists,
    open_sources,
    whole_folders,
)
from oltr_cli.data.prepare.common import Prepared, as_lines, drawn, lists_to_write, write_lists
from oltr_cli.data.prepare.resize import resize_images
from oltr_cli.data.prepare.variants import variant_recipe, write_recipe
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.recipe.home import data_home

IMBALANCE = 100.0  # in the recipes
OPEN = ("open", "open_val")
HELD_OUT = {
    "val": "a tenth of the official test set, equally many per class",
    "test": "the other images of the official test set",
    "open_val": "a tenth of the open images, drawn by image: its classes are in open, too",
    "open": f"the other open images, {SIDE}×{SIDE}",
}


def meaning(cifar: Cifar, imbalance: float) -> dict[str, str]:
    """What each list holds."""
    counts = exponential_counts(cifar.classes, cifar.per_class["train"], imbalance)
    return {"train": f"{counts[0]:,} to {counts[-1]:,} images per class: imbalance factor {imbalance:g}", **HELD_OUT}


def exponential_counts(classes: int, most: int, imbalance: float) -> list[int]:
    """n_i = ⌊most · (1/imbalance)^(i/(K−1))⌋ for i = 0..K−1, in the floating-point arithmetic of Cao et al.'s code.

    Raises:
        UsageProblem: a factor below 1, or one that leaves a class without images.
    """
    if not 1 <= imbalance <= most:
        raise UsageProblem(f"--imbalance {imbalance:g} must be between 1 and {most:,}, the size of the largest class")
    return [max(1, int(most * (1 / imbalance) ** (i / (classes - 1)))) for i in range(classes)]


def dataset_name(cifar: Cifar, imbalance: float) -> str:
    """``cifar100-lt``, or ``cifar100-lt-if50`` for a factor other than the recipe's."""
    return f"{cifar.name}-lt" + ("" if imbalance == IMBALANCE else f"-if{imbalance:g}")


def prepare_cifar_lt(
    cifar: Cifar, imbalance: float, root: Path | None, open_images: Path | None, display: Display
) -> tuple[str, Prepared]:
    """Write lists, and links to the images, to ``$OLTR_DATA/NAME``; return the name and what is there now.

    Args:
        root: holds the images as class folders or torchvision's download; None: look in the usual places.
        open_images: as for ``cifar100``; None takes the balanced set's open images, if it has some.
    Raises:
        UsageProblem: a factor out of range.
        DataProblem: images are missing, too many or damaged, or something of another origin is in the way.
    """
    counts = exponential_counts(cifar.classes, cifar.per_class["train"], imbalance)
    name = dataset_name(cifar, imbalance)
    folder = data_home() / name
    root = (root or _expected_root(folder, cifar)).absolute()
    folders, unpacked = whole_folders(root, cifar, display)
    prepared = Prepared(folder, cifar.classes, images_written=unpacked)
    texts = {"classes": as_lines(folders["train"]), "train": _tail(folders, counts, cifar)}
    texts |= held_out_lists(folders, cifar)
    shared = None
    sources: dict[str, Path] = {}
    if open_images is not None:
        own = [place / part for place in (root, folder) for part in ("train", "test", "open")]
        sources = open_sources(open_images.expanduser(), own)
        texts |= open_lists(list(sources), cifar)
    elif (shared := _shared_open(root, folder, cifar)) is not None:
        texts |= {split: (shared / f"{split}.txt").read_text(encoding="utf-8") for split in OPEN}
    elif not (folder / "open.txt").is_file():
        prepared.warnings.append("no open images, so no open-set evaluation; give --open")
    new = lists_to_write(folder, texts)  # before the long part: refuse early
    for part, where in (("train", root), ("test", root), ("open", shared)):
        if where is not None:
            _link(where / part, folder / part, display)
    if sources:
        prepared.images_written["open"] = resize_images(sources, folder / "open", SIDE, FILTER, display)
    write_lists(prepared, texts, new)
    if imbalance != IMBALANCE:
        opening = (
            f"{cifar.download.title} with an exponential tail of imbalance factor {imbalance:g}: {sum(counts):,} "
            f"training images, {counts[0]} to {counts[-1]} per class."
        )
        write_recipe(prepared, variant_recipe(dataset_name(cifar, IMBALANCE), name, opening))
    return name, prepared


def _tail(folders: Folders, counts: list[int], cifar: Cifar) -> str:
    """The largest class is the first: the order of the labels is the literature's."""
    return as_lines(
        f"train/{name}/{file} {label}"
        for label, ((name, images), count) in enumerate(zip(folders["train"].items(), counts, strict=True))
        for file in sorted(drawn(cifar.name, "tail", images, count))
    )


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
        if theirs.is_dir() and all((place / f"{split}.txt").is_file() for split in OPEN):
            return place if not own.exists() or own.resolve() == theirs.resolve() else None
    return None


def _link(target: Path, link: Path, display: Display) -> None:
    """Make ``link`` point to the folder ``target``.

    Raises:
        DataProblem: something else is there.
        OltrError: links cannot be made there.
    """
    if link.resolve() == target.resolve():
        return
    if link.is_symlink() and not link.exists():
        link.unlink()  # it pointed to a folder that was moved away
    if link.exists():
        raise DataProblem(f"{link}: already exists and is not {target}; move it away, or leave out --root")
    folder, source = link.parent, target.parent
    # A relative link between neighbours stays valid when the folder that holds both is moved.
    beside = source.parent.resolve() == folder.absolute().parent.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path("..", source.name, target.name) if beside else target, target_is_directory=True)
    except OSError as error:
        raise OltrError(f"cannot link {link} to {target}: {error}; put the images into {folder} itself") from None
    display.say(f"[dim]{escape(str(link))} points to {escape(str(target))}[/]")
