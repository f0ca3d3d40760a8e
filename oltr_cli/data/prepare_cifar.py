"""CIFAR-100 against Tiny ImageNet resized (Liu et al. 2019, Table 2): class folders, resized open images, lists.

The paper trains on all 50,000 training images, so nothing is held out of them. Validation is 10 images a class of the
official test set, test the other 90; of the open images a tenth is open validation, the others open test. Which ones
follows from the file names alone, so that both layouts of the same images give the same splits. The tenth is drawn by
image, not by class: open validation and open test share their classes, as where the paper marks a figure with †.
"""

from pathlib import Path

from PIL import Image

from oltr_cli.data.cifar_pickles import FOLDER, read_class_names, read_split
from oltr_cli.data.preparing import (
    Prepared,
    as_lines,
    drawn,
    first_few,
    folders_in,
    images_in,
    is_image,
    lists_to_write,
    write_lists,
)
from oltr_cli.data.resized import is_written, resize_images, save_png
from oltr_cli.errors import DataProblem, several
from oltr_cli.progress import Display

CLASSES = 100
PER_CLASS = {"train": 500, "test": 100}
VAL_PER_CLASS = 10
OPEN = 10_000
SIDE = 32
# Of Pillow's filters this one leaves the resized images with the power spectrum nearest to CIFAR's own; sharper ones
# (and resizing without antialiasing) leave fine detail by which "open" can be told without looking at the object.
FILTER = Image.Resampling.BILINEAR
MEANING = {
    "train": "all training images: nothing is held out of them",
    "val": f"{VAL_PER_CLASS} a class of the official test set",
    "test": "the other images of the official test set",
    "open_val": "a tenth of the open images, drawn by image: its classes are in open, too",
    "open": f"the other open images, {SIDE}×{SIDE}",
}

_Folders = dict[str, dict[str, list[str]]]  # split → class → sorted file names


def prepare_cifar100(root: Path, open_images: Path | None, display: Display) -> Prepared:
    """Bring the folder ``root`` into the form that the recipe ``cifar100`` reads.

    What is there already is left as it is; an interrupted call is taken up where it stopped.

    Args:
        root: holds ``{train,test}/<class>/*``, or torchvision's download ``cifar-100-python/``.
        open_images: Tiny ImageNet, its ``val`` or any folder of images; None leaves the open half as it is.
    Raises:
        DataProblem: images are missing, too many or damaged, or a list of another origin is in the way.
    """
    unpacked = _unpack(root, display)
    folders = _class_folders(root)
    if problems := _wrong_counts(folders) or _wrong_sizes(root, folders):
        raise DataProblem(several(str(root), problems))
    classes = list(folders["train"])
    _check_official_order(root, classes)
    prepared = Prepared(root, len(classes), images_written=unpacked)
    texts = {"classes": as_lines(classes), **_known_lists(folders)}
    sources: dict[str, Path] = {}
    if open_images is not None:
        sources = _open_sources(open_images.expanduser(), root)
        texts |= _open_lists(list(sources))
        if len(sources) != OPEN:
            prepared.warnings.append(f"{len(sources):,} open images; the paper's set has {OPEN:,}")
    elif not (root / "open.txt").is_file():
        prepared.warnings.append("no open images: give --open, or there is no open half")
    new = lists_to_write(root, texts)  # before the long part: refuse early
    if sources:
        prepared.images_written["open"] = resize_images(sources, root / "open", SIDE, FILTER, display)
    write_lists(prepared, texts, new)
    return prepared


def _unpack(root: Path, display: Display) -> dict[str, int]:
    """Write torchvision's download as class folders, where it is there and they are not; images written by split."""
    pickles = root / FOLDER
    if not pickles.is_dir() or not _wrong_counts(_class_folders(root)):
        return {}
    names = read_class_names(pickles)
    written = dict.fromkeys(PER_CLASS, 0)
    for split in PER_CLASS:
        pixels, files = read_split(pickles, split, names)
        with display.bar(f"unpack {split}", len(files)) as bar:
            for image, file in zip(pixels, files, strict=True):
                if not is_written(root / split / file):
                    save_png(Image.fromarray(image), root / split / file)
                    written[split] += 1
                bar.advance()
    return written


def _check_official_order(root: Path, classes: list[str]) -> None:
    """Labels by sorted class name are the official fine labels, where the download is there to compare with."""
    if (root / FOLDER / "meta").is_file():
        official = read_class_names(root / FOLDER)
        if official != classes:
            label = next((i for i, (a, b) in enumerate(zip(official, classes, strict=False)) if a != b), len(classes))
            raise DataProblem(
                f"{root / FOLDER / 'meta'}: from label {label} on it differs from the class folders, sorted"
            )


def _class_folders(root: Path) -> _Folders:
    return {split: {path.name: images_in(path) for path in folders_in(root / split)} for split in PER_CLASS}


def _wrong_counts(folders: _Folders) -> list[str]:
    """What keeps the folders from being CIFAR-100's, a line each; the first few of a kind."""
    if not any(folders.values()):
        return [
            f"neither train/<class>/ and test/<class>/ nor {FOLDER}/ is here; "
            f"unpack the download: tar -xzf {FOLDER}.tar.gz"
        ]
    problems = []
    for split, per_class in PER_CLASS.items():
        found = folders[split]
        if len(found) != CLASSES:
            problems.append(f"{split}/ has {len(found)} class folders, not {CLASSES}")
        wrong = [f"{name} {len(images)}" for name, images in found.items() if len(images) != per_class]
        if wrong:
            problems.append(f"{split}/ should have {per_class} images a class, but: {first_few(wrong)}")
    one_sided = sorted(set(folders["train"]) ^ set(folders["test"]))
    if one_sided:
        problems.append(f"class folders in only one of train/ and test/: {first_few(one_sided)}")
    return problems


def _wrong_sizes(root: Path, folders: _Folders) -> list[str]:
    """Headers of one image a class: enlarged copies of CIFAR would be told from the open images by their blur."""
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


def _known_lists(folders: _Folders) -> dict[str, str]:
    lines: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for label, (name, images) in enumerate(folders["train"].items()):
        lines["train"] += [f"train/{name}/{file} {label}" for file in images]
    for label, (name, images) in enumerate(folders["test"].items()):
        held_out = set(drawn("cifar100", "val", images, VAL_PER_CLASS))
        for file in images:
            lines["val" if file in held_out else "test"].append(f"test/{name}/{file} {label}")
    return {split: as_lines(rows) for split, rows in lines.items()}


def _open_lists(targets: list[str]) -> dict[str, str]:
    held_out = set(drawn("cifar100", "open_val", targets, max(1, len(targets) // 10)))
    rows: dict[bool, list[str]] = {True: [], False: []}
    for name in targets:
        rows[name in held_out].append(f"open/{name} -1")
    return {"open": as_lines(rows[False]), "open_val": as_lines(rows[True])}


def _open_sources(folder: Path, root: Path) -> dict[str, Path]:
    """Path below ``root/open`` → source file, sorted."""
    if not folder.is_dir():
        raise DataProblem(f"--open {folder}: no such folder")
    if (folder / "val").is_dir():  # the whole of Tiny ImageNet: its validation images are meant
        folder = folder / "val"
    own = [(root / name).resolve() for name in ("train", "test", "open")]
    where = folder.resolve()
    if any(where.is_relative_to(path) or path.is_relative_to(where) for path in own):
        raise DataProblem(f"--open {folder}: holds or is the folder of the prepared images; give the originals alone")
    sources: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if is_image(path) and path.is_file()):
        name = path.relative_to(folder).with_suffix(".png").as_posix()
        if name in sources:
            raise DataProblem(f"--open {folder}: {sources[name].name} and {path.name} would both become {name}")
        sources[name] = path
    if len(sources) < 2:
        raise DataProblem(f"--open {folder}: {len(sources)} images in it; open test and open validation need one each")
    return sources
