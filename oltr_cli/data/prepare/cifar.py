"""CIFAR-100 against Tiny ImageNet resized (Liu et al. 2019, Table 2); what it shares with the sets with a tail.

The paper trains on all 50,000 training images, so nothing is held out of them. Validation is 10 images per class of the
official test set, test the other 90; of the open images a tenth is open validation, the others open test. Which ones
follows from the file names alone, so that both layouts of the same images give the same splits. The tenth is drawn by
image, not by class: open validation and open test share their classes, as where the paper marks a figure with †.

"""

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
    open_lists,
    open_sources,
    whole_folders,
)
from oltr_cli.data.prepare.common import (
    Prepared,
    as_lines,
    lists_to_write,
    write_lists,
)
from oltr_cli.data.prepare.resize import resize_images
from oltr_cli.errors import DataProblem, OltrError

OPEN = 10_000  # images of the paper's open set
OPEN_LISTS = ("open", "open_val")
HELD_OUT = {
    "test": "the other images of the official test set",
    "open_val": "a tenth of the open images, drawn by image: its classes are in open, too",
    "open": f"the other open images, {SIDE}×{SIDE}",
}
MEANING = {
    "train": "all training images: nothing is held out of them",
    "val": f"{CIFAR100.val_per_class} images per class of the official test set",
    **HELD_OUT,
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
    texts = known_lists(CIFAR100, folders, folders["train"])
    sources = given_open(open_images, [root])
    if open_images is not None and len(sources) != OPEN:
        prepared.warnings.append(f"{len(sources):,} open images; the paper's set has {OPEN:,}")
    write_set(prepared, CIFAR100, texts, sources, display)
    return prepared


def known_lists(cifar: Cifar, folders: Folders, train: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The text of all lists but the open ones; ``train``: class → its training images."""
    rows = (f"train/{name}/{file} {i}" for i, (name, images) in enumerate(train.items()) for file in images)
    return {"classes": as_lines(train), "train": as_lines(rows), **held_out_lists(folders, cifar)}


def given_open(open_images: Path | None, places: list[Path]) -> dict[str, Path]:
    """``open_sources`` of the folder that is given, if one is; the set's own folders are in ``places``."""
    if open_images is None:
        return {}
    own = [place / part for place in places for part in ("train", "test", "open")]
    return open_sources(open_images.expanduser(), own)


def write_set(
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
