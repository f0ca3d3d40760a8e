"""``oltr data build``: class folders or a table of photographs become a dataset; no image is changed.

It writes lists, class names and a recipe to ``$OLTR_DATA/NAME``; paths in the lists start from the folder that holds
all images. Repeating a call with the same arguments changes nothing; lists of another draw are replaced only on
request.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted
from oltr_cli.data.build import point_out
from oltr_cli.data.build.earlier import Earlier
from oltr_cli.data.build.find import class_folders, find_photographs, split_folders
from oltr_cli.data.build.recipe import Sizing, recipe_text
from oltr_cli.data.build.screen import Checked
from oltr_cli.data.build.split import (
    Held,
    Photographs,
    Tail,
    draw_tail,
    set_aside,
    split_as_given,
    split_as_is,
    split_open,
    split_with_tail,
)
from oltr_cli.data.build.write import check_folder, write_dataset
from oltr_cli.data.lists.lists import digest_of
from oltr_cli.data.prepare.common import as_lines
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.protocol.shots import shot_groups
from oltr_cli.recipe.files import BUILT_RECIPE


@dataclass(frozen=True)
class Wish:
    """What ``oltr data build`` should do.

    Attributes:
        tail: the Pareto tail to draw; None uses all images and keeps the class sizes.
        as_classes: folders called train, valid, test, … are parts of class names, not splits.
        open_classes: classes of ``images`` to set aside as unknown: names, or how many to draw.
        held: share of each class's images that is held out.
        decode: decode every file in full; None: only where that is quick.
        redraw: draw the splits of all images; otherwise those of an earlier build stay in theirs.
        fresh_recipe: write the recipe for the images as they are now; otherwise an earlier one keeps its settings.
    """

    images: Path
    open_images: Path | None = None
    tail: Tail | None = None
    open_classes: tuple[str, ...] | int = ()
    held: Held = field(default_factory=Held)
    seed: int = 0
    decode: bool | None = None
    as_classes: bool = False
    sizing: Sizing = field(default_factory=Sizing)
    redraw: bool = False
    fresh_recipe: bool = False


@dataclass
class Built:
    """What ``folder`` contains now."""

    folder: Path
    name: str
    classes: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # images by list
    per_class: dict[str, tuple[int, int]] = field(default_factory=dict)  # smallest and largest class, by known list
    unused: int = 0  # training images that the drawn tail leaves out
    shots: dict[str, int] = field(default_factory=dict)  # classes by shot group
    warnings: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    as_before: int = 0  # images that stay in the split of an earlier build
    kept: str = ""  # name of the file that the replaced recipe was moved to


def build_dataset(wish: Wish, folder: Path, display: Display, force: bool = False) -> Built:
    """Lists, class names and recipe for the photographs that ``wish`` names, in ``folder``.

    Warnings are shown before an error is raised: they often explain it.

    Raises:
        UsageProblem: a name that is taken, classes that do not exist, values that do not fit.
        DataProblem: no images, too few of them, or the folder holds another build or something else.
        OltrError: the folder cannot be written.
    """
    folder = folder.absolute()
    check_folder(folder)
    built = Built(folder, folder.name)
    try:
        _build(wish, built, display, force)
    finally:
        for warning in built.warnings:
            display.warn(warning)
    return built


def _build(wish: Wish, built: Built, display: Display, force: bool) -> None:
    checked = _find(wish, built)
    checked.keep_listable()
    checked.keep_readable(wish.decode, display)
    checked.keep_one_of_each(display)
    earlier = Earlier.read(built.folder, wish.redraw)
    before = earlier.split_of
    if force:
        earlier.check(path for files in checked.known.values() for path in files)
    aside, known = set_aside(checked.known, wish.open_classes, wish.seed)
    if checked.given:  # a class may have lost its training images: unreadable ones, copies
        known = {name: files for name, files in known.items() if any(checked.given[f] == "train" for f in files)}
    if len(known) < 2:
        raise DataProblem(
            f"{wish.images}: {counted(len(known), 'known class')} with readable images; at least two are needed"
        )
    if checked.given:
        splits = split_as_given(known, checked.given, wish.held, wish.seed, before)
        if wish.tail is not None:
            draw_tail(splits["train"], wish.seed, wish.tail)
    elif wish.tail is None:
        splits = split_as_is(known, wish.held, wish.seed, before)
    else:
        splits = split_with_tail(known, wish.held, wish.seed, wish.tail, before)
    if not splits["val"]:
        raise DataProblem(
            f"{wish.images}: no class has three readable images, one each for training, validation and test"
        )
    classes = list(known)
    point_out.names(classes, wish.images, built.warnings)
    open_, open_val = _open(aside, checked.foreign, wish, built)
    point_out.small(splits, classes, built.warnings)
    point_out.large(checked.sides, built.name, built.warnings)
    rows = {
        split: [(path, label) for label, c in enumerate(classes) for path in files.get(c, ())]
        for split, files in splits.items()
    }
    rows |= {name: [(path, -1) for path in files] for name, files in (("open", open_), ("open_val", open_val)) if files}
    point_out.near(rows, checked, built.warnings)
    sizes = {split: [len(files.get(c, ())) for c in classes] for split, files in splits.items()}
    texts = {
        f"{split}.txt": as_lines(f"{checked.name(path)} {label}" for path, label in pairs)
        for split, pairs in rows.items()
    }
    # A number that all lines begin with is not read as part of the names: names that begin with one stay whole.
    texts["classes.txt"] = as_lines(f"{label:06d} {c}" for label, c in enumerate(classes))
    digest = digest_of({split: texts[f"{split}.txt"].encode() for split in rows})
    recipe = recipe_text(
        built.name, checked.root, built.folder, digest, sizes["train"], checked.sides, wish.sizing, wish.tail is None
    )
    texts[BUILT_RECIPE] = recipe if wish.sizing.given or wish.fresh_recipe else earlier.recipe_for(recipe)
    built.written, built.kept = write_dataset(built.folder, texts, force)
    built.as_before = sum(before.get(path) == split for split, pairs in rows.items() for path, _ in pairs)
    built.classes = len(classes)
    built.counts = {split: len(pairs) for split, pairs in rows.items()}
    built.per_class = {split: (min(counts), max(counts)) for split, counts in sizes.items()}
    built.unused = sum(map(len, known.values())) - sum(map(sum, sizes.values()))
    built.shots = {name: int(mask.sum()) for name, mask in shot_groups(sizes["train"]).items()}


def _find(wish: Wish, built: Built) -> Checked:
    """Photographs of known classes and foreign ones, and the folder that holds all of them."""
    images, foreign_images = wish.images, wish.open_images
    inside = None
    if foreign_images is not None and foreign_images.is_dir() and images.is_dir():
        if foreign_images.samefile(images):
            raise UsageProblem("--images and --open are the same folder; use --open-classes to set classes aside")
        inside = foreign_images
    known = find_photographs(images, "--images", inside, built.warnings)
    given: dict[Path, str] = {}
    if images.is_dir():
        if not wish.as_classes:
            known, given = split_folders(known, built.warnings)
        known = class_folders(known, images, built.warnings)
    foreign: Photographs = {}
    if foreign_images is not None:
        # A folder inside the other one belongs to its own option only.
        foreign = find_photographs(foreign_images, "--open", images if inside else None, built.warnings)
    every = [path for part in (known, foreign) for files in part.values() for path in files]
    try:
        root = Path(os.path.commonpath([path.parent for path in every]))
    except ValueError:
        raise DataProblem(
            "the images are on different drives, but the paths in a list start from one folder; move them to one drive"
        ) from None
    for path in (root, built.folder):
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise DataProblem(f"{str(path)!r}: the path of this folder is not UTF-8; rename it") from None
    return Checked(known, foreign, root, built.warnings, given)


def _open(aside: Photographs, foreign: Photographs, wish: Wish, built: Built) -> tuple[list[Path], list[Path]]:
    """Open test and open validation images."""
    groups = {**{f"{name} (set aside)": files for name, files in aside.items()}, **foreign}
    if not groups:
        built.warnings.append(
            "no open images, so no open-set metrics and no threshold tuned on unknowns; give --open or --open-classes"
        )
        return [], []
    open_, open_val = split_open(groups, wish.seed)
    if not open_val:
        built.warnings.append(
            "only one open image: it goes to the open test, and no threshold can be tuned on unknowns"
        )
    elif len(groups) == 1:
        built.warnings.append(
            "all open images are of one kind, which open validation and open test share: a tuned threshold will look "
            "better than it is on new kinds; sort open images into one folder per kind"
        )
    return open_, open_val
