"""CIFAR-100 against Tiny ImageNet resized (Liu et al. 2019, Table 2), and CIFAR-100-LT and CIFAR-10-LT.

The paper trains on all 50,000 training images, so nothing is held out of them. Validation is 10 images per class of the
official test set, test the other 90; of the open images a tenth is open validation, the others open test. Which ones
follows from the file names alone, so that both layouts of the same images give the same splits. The tenth is drawn by
image, not by class: open validation and open test share their classes, as where the paper marks a figure with †.

CIFAR-LT is an exponential tail drawn from the training images. Source: Cui et al., "Class-Balanced Loss Based on
Effective Number of Samples", CVPR 2019; Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin
Loss", NeurIPS 2019, whose rounding and class order (that of the labels) give the 10,847 and 12,406 images of imbalance
factor 100 that the literature counts.

The literature validates on the test set that it reports. Here 10 % of the official test images are validation, as in
the balanced ``cifar100``, and the others test; held out of training, they would change the published counts (the first
class has all its images in them). Which images are drawn follows from the file names alone, and a larger factor uses a
subset of the images of a smaller one.

The images stay where they are, shared with the balanced set: the folder of the lists gets links to them. A factor other
than 100 makes a separate dataset, ``cifar100-lt-if50``.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.markup import escape

from oltr_cli.base.display import Display
from oltr_cli.data.prepare.cifar_folders import (
    CIFAR100,
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
from oltr_cli.data.prepare.common import (
    Prepared,
    as_lines,
    drawn,
    lists_to_write,
    variant_recipe,
    write_lists,
    write_recipe,
)
from oltr_cli.data.prepare.resize import resize_images
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.recipe.home import data_home

OPEN = 10_000  # images of the paper's open set
OPEN_LISTS = ("open", "open_val")
IMBALANCE = 100.0  # in the recipes
_HELD_OUT = {
    "test": "the other images of the official test set",
    "open_val": "a tenth of the open images, drawn by image: its classes are in open, too",
    "open": f"the other open images, {SIDE}×{SIDE}",
}
MEANING = {
    "train": "all training images: nothing is held out of them",
    "val": f"{CIFAR100.val_per_class} images per class of the official test set",
    **_HELD_OUT,
}


def meaning(cifar: Cifar, imbalance: float) -> dict[str, str]:
    """What each list of a set with a tail holds."""
    counts = exponential_counts(cifar.classes, cifar.per_class["train"], imbalance)
    return {
        "train": f"{counts[0]:,} to {counts[-1]:,} images per class: imbalance factor {imbalance:g}",
        "val": "a tenth of the official test set, equally many per class",
        **_HELD_OUT,
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
    texts = _known_lists(CIFAR100, folders, folders["train"])
    sources = _given(open_images, [root])
    if open_images is not None and len(sources) != OPEN:
        prepared.warnings.append(f"{len(sources):,} open images; the paper's set has {OPEN:,}")
    _write(prepared, CIFAR100, texts, sources, display)
    return prepared


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
    # The largest class is the first: the order of the labels is the literature's.
    tail = {
        one: sorted(drawn(cifar.name, "tail", images, count))
        for (one, images), count in zip(folders["train"].items(), counts, strict=True)
    }
    texts = _known_lists(cifar, folders, tail)
    links = {folder / part: root / part for part in ("train", "test")}
    sources = _given(open_images, [root, folder])
    if open_images is None and (shared := _shared_open(root, folder, cifar)) is not None:
        texts |= {split: (shared / f"{split}.txt").read_text(encoding="utf-8") for split in OPEN_LISTS}
        links[folder / "open"] = shared / "open"
    _write(prepared, cifar, texts, sources, display, links)
    if imbalance != IMBALANCE:
        opening = (
            f"{cifar.download.title} with an exponential tail of imbalance factor {imbalance:g}: {sum(counts):,} "
            f"training images, {counts[0]} to {counts[-1]} per class."
        )
        write_recipe(prepared, variant_recipe(dataset_name(cifar, IMBALANCE), name, opening))
    return name, prepared


def _known_lists(cifar: Cifar, folders: Folders, train: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The text of all lists but the open ones; ``train``: class → its training images."""
    rows = (f"train/{name}/{file} {i}" for i, (name, images) in enumerate(train.items()) for file in images)
    return {"classes": as_lines(train), "train": as_lines(rows), **held_out_lists(folders, cifar)}


def _given(open_images: Path | None, places: list[Path]) -> dict[str, Path]:
    """``open_sources`` of the folder that is given, if one is; the set's own folders are in ``places``."""
    if open_images is None:
        return {}
    own = [place / part for place in places for part in ("train", "test", "open")]
    return open_sources(open_images.expanduser(), own)


def _write(
    prepared: Prepared,
    cifar: Cifar,
    texts: dict[str, str],
    sources: dict[str, Path],
    display: Display,
    links: Mapping[Path, Path] | None = None,
) -> None:
    """Write the lists, ``links`` (link → folder) and the open images that ``sources`` gives."""
    folder = prepared.root
    if sources:
        texts |= open_lists(list(sources), cifar)
    elif "open" not in texts and not (folder / "open.txt").is_file():
        prepared.warnings.append("no open images, so no open-set evaluation; give --open")
    new = lists_to_write(folder, texts)  # before the long part: refuse early
    for link, target in (links or {}).items():
        _link(target, link, display)
    if sources:
        prepared.images_written["open"] = resize_images(sources, folder / "open", SIDE, FILTER, display)
    write_lists(prepared, texts, new)


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
