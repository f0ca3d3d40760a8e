"""``oltr data build``: class folders or a table of photographs become a dataset; no image is changed.

It writes lists, class names and a recipe to ``$OLTR_DATA/NAME``; paths in the lists start from the folder that holds
all images. Repeating a call with the same arguments changes nothing; lists of another draw are replaced only on
request.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted, some
from oltr_cli.data.build import point_out
from oltr_cli.data.build.allocate import Evenness
from oltr_cli.data.build.earlier import Earlier
from oltr_cli.data.build.find import (
    by_class,
    class_folders,
    find_photographs,
    in_folders,
    one_for_each_file,
    sizes_of,
    split_folders,
)
from oltr_cli.data.build.group import group_by, with_dates
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
    split_with_tail,
)
from oltr_cli.data.build.together import check_given, groups_text, kept_together, why_no_split
from oltr_cli.data.build.unknown import open_by, split_unknown
from oltr_cli.data.build.write import check_folder, write_dataset
from oltr_cli.data.lists.kept_together import GROUPS
from oltr_cli.data.lists.lists import digest_of
from oltr_cli.data.prepare.common import as_lines
from oltr_cli.data.sources.table import Photograph
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
        decode: decode every file in full, and look for near copies.
        group_by, open_by: the options of the same name; "" for none.
        keep_near: near copies are one group.
        redraw: draw the splits of all images; otherwise those of an earlier build stay in theirs.
        fresh_recipe: write the recipe for the images as they are now; otherwise an earlier one keeps its settings.
    """

    images: Path
    open_images: Path | None = None
    tail: Tail | None = None
    open_classes: tuple[str, ...] | int = ()
    held: Held = field(default_factory=Held)
    seed: int = 0
    decode: bool = True
    as_classes: bool = False
    sizing: Sizing = field(default_factory=Sizing)
    redraw: bool = False
    fresh_recipe: bool = False
    group_by: str = ""
    open_by: str = ""
    keep_near: bool = True


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
    even: Evenness | None = None  # how even groups leave the shares of classes; None without groups


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
    checked, groups = _find(wish, built, display)
    checked.keep_listable()
    checked.keep_readable(wish.decode, display)
    checked.keep_one_of_each(display)
    checked.find_near()
    earlier = Earlier.read(built.folder, wish.redraw)
    before = earlier.split_of
    if force:
        earlier.check(path for files in checked.known.values() for path in files)
    aside, known = set_aside(checked.known, wish.open_classes, wish.seed)
    if checked.given:  # a class may have lost its training images: unreadable ones, copies
        untrained = [
            name for name, files in known.items() if all(checked.given.get(f, "train") != "train" for f in files)
        ]
        known = {name: files for name, files in known.items() if name not in untrained}
        if untrained:
            built.warnings.append(f"left out, classes without an image for training: {some(untrained)}")
    if len(known) < 2:
        raise DataProblem(
            f"{wish.images}: {counted(len(known), 'known class')} with readable images; at least two are needed"
        )
    near = checked.near if wish.keep_near else []
    together = kept_together(known, groups, near)
    given = {path: split for files in known.values() for path in files if (split := checked.given.get(path))}
    check_given(groups, given)
    if given:
        splits, even = split_as_given(known, given, wish.held, wish.seed, before, together)
        if wish.tail is not None:
            draw_tail(splits["train"], wish.seed, wish.tail)
    elif wish.tail is None:
        splits, even = split_as_is(known, wish.held, wish.seed, before, together)
    else:
        splits, even = split_with_tail(known, wish.held, wish.seed, wish.tail, before, together)
    if not splits["val"] or not splits["test"]:
        raise DataProblem(f"{wish.images}: {why_no_split(known, together)}")
    classes = list(known)
    point_out.names(classes, wish.images, built.warnings)
    open_, open_val = _open(aside, checked, groups, near, wish, built)
    built.even = even if together else None
    point_out.small(splits, classes, even, built.warnings)
    point_out.groups(together, splits, checked, built.warnings)
    point_out.large(checked.sides, built.name, built.warnings)
    rows = {
        split: [(path, label) for label, c in enumerate(classes) for path in files.get(c, ())]
        for split, files in splits.items()
    }
    rows |= {name: [(path, -1) for path in files] for name, files in (("open", open_), ("open_val", open_val)) if files}
    point_out.near(rows, checked, built.name, built.warnings)
    sizes = {split: [len(files.get(c, ())) for c in classes] for split, files in splits.items()}
    texts = {
        f"{split}.txt": as_lines(f"{checked.name(path)} {label}" for path, label in pairs)
        for split, pairs in rows.items()
    }
    # A number that all lines begin with is not read as part of the names: names that begin with one stay whole.
    texts["classes.txt"] = as_lines(f"{label:06d} {c}" for label, c in enumerate(classes))
    if groups:
        texts[GROUPS] = groups_text(rows, groups, checked.name)
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


def _find(wish: Wish, built: Built, display: Display) -> tuple[Checked, dict[Path, str]]:
    """Photographs of known classes and foreign ones, with the folder that holds all of them; and the group of each."""
    images, foreign_images = wish.images, wish.open_images
    inside = None
    if foreign_images is not None and foreign_images.is_dir() and images.is_dir():
        if foreign_images.samefile(images):
            raise UsageProblem("--images and --open are the same folder; use --open-classes to set classes aside")
        inside = foreign_images
    found = find_photographs(images, "--images", inside, built.folder / "images", display, built.warnings)
    others: list[Photograph] = []
    if foreign_images is not None:
        # A folder inside the other one belongs to its own option only.
        without, unpack_to = images if inside else None, built.folder / "open"
        others = find_photographs(foreign_images, "--open", without, unpack_to, display, built.warnings)
    sizes = sizes_of([*found, *others])
    if wish.open_by.startswith("date:"):
        found = with_dates(found, display)
    if wish.group_by:
        grouped = group_by([*found, *others], wish.group_by, display, built.warnings)
        found, others = grouped[: len(found)], grouped[len(found) :]
    if wish.open_by:
        found = open_by(found, wish.open_by, built.warnings)
    found, others = (one_for_each_file(photographs, built.warnings) for photographs in (found, others))
    for photograph in others:
        if photograph.split == "train":
            raise DataProblem(f"{photograph.where}: an image of --open cannot be for training")
    known = by_class(photograph for photograph in found if not photograph.open)
    foreign = by_class([photograph for photograph in found if photograph.open] + others)
    given = {photograph.path: photograph.split for photograph in [*found, *others] if photograph.split}
    if in_folders(found):
        if not wish.as_classes:
            known, of_folders = split_folders(known, built.warnings)
            given |= of_folders
        known = class_folders(known, images, built.warnings)
    groups = {photograph.path: photograph.group for photograph in [*found, *others] if photograph.group}
    every = [path for part in (known, foreign) for files in part.values() for path in files]
    if not every:
        raise DataProblem(f"{images}: every image is listed with several labels")
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
    return Checked(known, foreign, root, built.warnings, given, sizes), groups


def _open(
    aside: Photographs, checked: Checked, groups: Mapping[Path, str], near: list[list[Path]], wish: Wish, built: Built
) -> tuple[list[Path], list[Path]]:
    """Open test and open validation images."""
    kinds = {**{f"{name} (set aside)": files for name, files in aside.items()}, **checked.foreign}
    if not kinds:
        built.warnings.append(
            "no open images, so no open-set metrics and no threshold tuned on unknowns; give --open or --open-classes"
        )
        return [], []
    foreign = {path for files in checked.foreign.values() for path in files}
    given = {path: split for path, split in checked.given.items() if path in foreign}
    return split_unknown(kinds, given, kept_together(kinds, groups, near), wish.seed, built.warnings)
