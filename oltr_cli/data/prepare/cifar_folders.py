"""CIFAR as class folders: unpacked if there is only torchvision's download, and checked for completeness.

What all sets made of CIFAR share: which images they are, which of the official test images are validation, and the open
images that are set against them.
"""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted, some
from oltr_cli.data.prepare.cifar_pickles import CIFAR10_PYTHON, CIFAR100_PYTHON, Download, read_class_names, read_split
from oltr_cli.data.prepare.common import as_lines, drawn, folders_in, images_in, is_image
from oltr_cli.data.prepare.resize import is_written, save_png
from oltr_cli.errors import DataProblem, several

SIDE = 32
# Of Pillow's filters this one leaves the resized images with the power spectrum nearest to CIFAR's own; sharper ones
# (and resizing without antialiasing) leave fine detail by which "open" can be told without looking at the object.
FILTER = Image.Resampling.BILINEAR

Folders = dict[str, dict[str, list[str]]]  # split → class → sorted file names


@dataclass(frozen=True)
class Cifar:
    """One of the two sets.

    Attributes:
        name: of the balanced set, and of its folder; the key of all draws, so that every set made of the same images
            has the same validation and open validation images.
        per_class: split → images of each class. val_per_class: of the official test images, for validation.
    """

    name: str
    classes: int
    per_class: dict[str, int]
    val_per_class: int
    download: Download


CIFAR100 = Cifar("cifar100", 100, {"train": 500, "test": 100}, 10, CIFAR100_PYTHON)
CIFAR10 = Cifar("cifar10", 10, {"train": 5000, "test": 1000}, 100, CIFAR10_PYTHON)


def whole_folders(root: Path, cifar: Cifar, display: Display) -> tuple[Folders, dict[str, int]]:
    """The class folders ``{train,test}/<class>/*`` in ``root``, and how many images were unpacked into them.

    Raises:
        DataProblem: images are missing, too many, damaged or of another size, or the classes are in another order.
    """
    unpacked = _unpack(root, cifar, display)
    folders = _class_folders(root, cifar)
    if problems := _wrong_counts(folders, cifar) or _wrong_sizes(root, folders):
        raise DataProblem(several(str(root), problems))
    _check_official_order(root, cifar, list(folders["train"]))
    return folders, unpacked


def holds_images(root: Path, cifar: Cifar) -> bool:
    """Whether ``root`` holds any part of the set."""
    return any((root / name).is_dir() for name in ("train", "test", cifar.download.folder))


def held_out_lists(folders: Folders, cifar: Cifar) -> dict[str, str]:
    """``val`` and ``test``: of each class's official test images a few are validation."""
    lines: dict[str, list[str]] = {"val": [], "test": []}
    for label, (name, images) in enumerate(folders["test"].items()):
        held_out = set(drawn(cifar.name, "val", images, cifar.val_per_class))
        for file in images:
            lines["val" if file in held_out else "test"].append(f"test/{name}/{file} {label}")
    return {split: as_lines(rows) for split, rows in lines.items()}


def open_sources(folder: Path, own: list[Path]) -> dict[str, Path]:
    """Path below ``open/`` → source file, sorted.

    Args:
        own: folders of the set itself: they hold no open images.
    Raises:
        DataProblem: no such folder, too few images, or two that would become one.
    """
    if not folder.is_dir():
        raise DataProblem(f"--open {folder}: no such folder")
    if (folder / "val").is_dir():  # the whole of Tiny ImageNet: its validation images are meant
        folder = folder / "val"
    where = folder.resolve()
    if any(where.is_relative_to(path) or path.is_relative_to(where) for path in (one.resolve() for one in own)):
        raise DataProblem(f"--open {folder}: contains or is the folder of the prepared images; give only the originals")
    sources: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if is_image(path) and path.is_file()):
        name = path.relative_to(folder).with_suffix(".png").as_posix()
        if name in sources:
            raise DataProblem(
                f"--open {folder}: {sources[name].name} and {path.name} would both become {name}; rename one"
            )
        sources[name] = path
    if len(sources) < 2:
        raise DataProblem(
            f"--open {folder}: has {counted(len(sources), 'image')}; open test and open validation need one each"
        )
    return sources


def open_lists(targets: list[str], cifar: Cifar) -> dict[str, str]:
    """``open`` and ``open_val``: a tenth of the images, drawn by image."""
    held_out = set(drawn(cifar.name, "open_val", targets, max(1, len(targets) // 10)))
    rows: dict[bool, list[str]] = {True: [], False: []}
    for name in targets:
        rows[name in held_out].append(f"open/{name} -1")
    return {"open": as_lines(rows[False]), "open_val": as_lines(rows[True])}


def _unpack(root: Path, cifar: Cifar, display: Display) -> dict[str, int]:
    """Unpack torchvision's download into class folders if these are missing; returns images written by split."""
    if not (root / cifar.download.folder).is_dir() or not _wrong_counts(_class_folders(root, cifar), cifar):
        return {}
    names = read_class_names(root, cifar.download)
    written = dict.fromkeys(cifar.per_class, 0)
    for split in cifar.per_class:
        pixels, files = read_split(root, cifar.download, split, names)
        with display.bar(f"unpack {split}", len(files)) as bar:
            for image, file in zip(pixels, files, strict=True):
                if not is_written(root / split / file):
                    save_png(Image.fromarray(image), root / split / file)
                    written[split] += 1
                bar.advance()
    return written


def _check_official_order(root: Path, cifar: Cifar, classes: list[str]) -> None:
    """Check that labels by sorted class name are the official ones, if the download is there to compare with."""
    meta = root / cifar.download.folder / cifar.download.meta
    if meta.is_file():
        official = read_class_names(root, cifar.download)
        if official != classes:
            label = next((i for i, (a, b) in enumerate(zip(official, classes, strict=False)) if a != b), len(classes))
            raise DataProblem(f"{meta}: from label {label} on it differs from the sorted class folders")


def _class_folders(root: Path, cifar: Cifar) -> Folders:
    return {split: {path.name: images_in(path) for path in folders_in(root / split)} for split in cifar.per_class}


def _wrong_counts(folders: Folders, cifar: Cifar) -> list[str]:
    """What is missing or wrong in the folders, one line each; the first few of a kind."""
    if not any(folders.values()):
        return [
            f"no train/<class>/ and test/<class>/, and no {cifar.download.folder}/; "
            f"unpack the download: tar -xzf {cifar.download.archive}"
        ]
    problems = []
    for split, per_class in cifar.per_class.items():
        found = folders[split]
        if len(found) != cifar.classes:
            problems.append(f"{split}/ has {counted(len(found), 'class folder')}, not {cifar.classes}")
        wrong = [f"{name} {len(images)}" for name, images in found.items() if len(images) != per_class]
        if wrong:
            problems.append(f"{split}/ should have {per_class} images per class, but: {some(wrong)}")
    one_sided = sorted(set(folders["train"]) ^ set(folders["test"]))
    if one_sided:
        problems.append(f"class folders in only one of train/ and test/: {some(one_sided)}")
    return problems


def _wrong_sizes(root: Path, folders: Folders) -> list[str]:
    """Check one image per class: enlarged copies of CIFAR could be told from the open images by their blur."""
    problems = []
    for split, found in folders.items():
        for name, images in found.items():
            path = root / split / name / images[0]
            try:
                with Image.open(path) as image:
                    if image.size != (SIDE, SIDE):
                        problems.append(f"{path.relative_to(root)} is {image.width}×{image.height}, not {SIDE}×{SIDE}")
            except (OSError, ValueError, SyntaxError):
                problems.append(f"{path.relative_to(root)} cannot be decoded")
    return problems[:5]
