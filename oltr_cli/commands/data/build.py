"""``oltr data build``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oltr_cli.commands.options import Json, MethodsFrom, Quiet
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from oltr_cli.base.display import Display
    from oltr_cli.data.build.allocate import Evenness
    from oltr_cli.data.build.dataset import Built
    from oltr_cli.data.build.split import Tail

_TAIL, _SPLIT, _RECIPE = "The tail", "The split", "The recipe"


def build(
    images: Annotated[
        Path,
        typer.Option(
            help="Folder of class folders, or a CSV with the columns path and label, and any others; or COCO, "
            "Camtrap DP, Darwin Core, Parquet, WebDataset"
        ),
    ],
    out: Annotated[str, typer.Option(help="Name of the dataset, written to $OLTR_DATA/NAME; or a folder's path")],
    open_: Annotated[
        Path | None,
        typer.Option("--open", help="Images of no known class, with one subfolder per kind"),
    ] = None,
    open_classes: Annotated[
        str,
        typer.Option(
            metavar="NAMES|N",
            help="Classes of --images to set aside as unknown: names separated by commas, or how many",
        ),
    ] = "",
    open_by: Annotated[
        str,
        typer.Option(
            metavar="date:2024-01-01|group:NAME|COLUMN:VALUE",
            help="Classes that are only seen from that day on, in that group or with that value become unknown",
        ),
    ] = "",
    as_is: Annotated[
        bool,
        typer.Option("--as-is", help="Use every image and keep the class sizes as they are", rich_help_panel=_TAIL),
    ] = False,
    alpha: Annotated[
        float | None,
        typer.Option(help="Exponent of the Pareto tail to draw; smaller is steeper. Default 6", rich_help_panel=_TAIL),
    ] = None,
    maximum: Annotated[
        int | None,
        typer.Option(
            "--max", help="Training images of the largest class, if it has enough. Default 1280", rich_help_panel=_TAIL
        ),
    ] = None,
    minimum: Annotated[
        int | None,
        typer.Option(
            "--min", help="Training images of the smallest class, if it has enough. Default 5", rich_help_panel=_TAIL
        ),
    ] = None,
    val: Annotated[float, typer.Option(help="Share of images for validation", rich_help_panel=_SPLIT)] = 0.1,
    test: Annotated[float, typer.Option(help="Share of images for the test", rich_help_panel=_SPLIT)] = 0.2,
    as_classes: Annotated[
        bool,
        typer.Option(
            "--as-classes", help="Folders train, valid and test are part of class names", rich_help_panel=_SPLIT
        ),
    ] = False,
    group_by: Annotated[
        str,
        typer.Option(
            metavar="COLUMN|folder|name-pattern:REGEX|exif-time:10m",
            help="Keep photographs of one site, camera, individual or sequence in one split. Default: the CSV's column "
            "group, if it has one",
            rich_help_panel=_SPLIT,
        ),
    ] = "",
    split_near: Annotated[
        bool,
        typer.Option(
            "--split-near", help="Nearly identical photographs may be in different splits", rich_help_panel=_SPLIT
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random choices", rich_help_panel=_SPLIT)] = 0,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=1024,
            help="Image side in pixels. Default 64, with --weights 224, at most that of the images",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="Network. Default resnet10, with --weights resnet18", rich_help_panel=_RECIPE)
    ] = "",
    weights: Annotated[
        str, typer.Option(metavar="FILE|torchvision|hub", help="Pre-trained backbone", rich_help_panel=_RECIPE)
    ] = "",
    decode: Annotated[
        bool,
        typer.Option(
            "--decode/--no-decode",
            help="Decode every image fully and find nearly identical ones, or look at headers and ends only",
        ),
    ] = True,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace an earlier build; its images stay in their split, its recipe keeps its settings"
        ),
    ] = False,
    redraw: Annotated[
        bool, typer.Option("--redraw", help="With --force: draw the splits of all images anew", rich_help_panel=_SPLIT)
    ] = False,
    fresh_recipe: Annotated[
        bool,
        typer.Option(
            "--fresh-recipe",
            help="With --force: write a new recipe; the earlier one is kept as recipe.old.toml",
            rich_help_panel=_RECIPE,
        ),
    ] = False,
    quiet: Quiet = False,
    json_: Json = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Build a dataset from your own photographs; all other commands then take its name.

    No image is moved, copied or changed; those inside of Parquet files and archives are unpacked to
    $OLTR_DATA/NAME/images. Unreadable files, copies, and images in two classes are left out and
    reported.

    With --as-is, each class holds out its shares, at least one image for the test: with two images, one goes to the
    test; with three, one to the test and one to validation; a single image is used for training. Without --as-is,
    validation and test have the same number of images of each class, as in the field's benchmarks, and training
    images are drawn to form a Pareto tail.

    ```
    oltr data build --images photos --open others --as-is --out mine
    oltr data build --images list.csv --as-is --open-classes moth,wasp --out bugs
    oltr data build --images photos --max 500 --min 5 --open-classes 10 --out tail
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.data.build.dataset import Wish, build_dataset
    from oltr_cli.data.build.recipe import Sizing
    from oltr_cli.data.build.split import Held

    wish = Wish(
        images.expanduser(),
        open_.expanduser() if open_ else None,
        _tail(as_is, alpha, maximum, minimum),
        _aside(open_classes),
        Held(val, test),
        seed,
        decode,
        as_classes,
        Sizing(image_size, backbone, weights),
        redraw,
        fresh_recipe,
        group_by,
        open_by,
        not split_near,
    )
    display = Display(quiet)
    built = build_dataset(wish, _folder(out), display, force)
    if json_:
        from dataclasses import asdict

        print_json(asdict(built))
    else:
        _print(built)
    _next(built, display)


def _folder(out: str) -> Path:
    """The folder that a name, or a path with a slash, stands for."""
    from oltr_cli.errors import UsageProblem
    from oltr_cli.recipe.home import data_home

    path = Path(out).expanduser()
    if not path.name:
        raise UsageProblem(f"--out '{out}': not a valid name; a dataset is named after its folder")
    return path if "/" in out else data_home() / path


def _tail(as_is: bool, alpha: float | None, maximum: int | None, minimum: int | None) -> "Tail | None":
    """None for --as-is."""
    from oltr_cli.data.build.split import Tail
    from oltr_cli.errors import UsageProblem

    given = {"alpha": alpha, "maximum": maximum, "minimum": minimum}
    chosen = {name: value for name, value in given.items() if value is not None}
    if as_is and chosen:
        raise UsageProblem("--as-is draws no tail; leave out --alpha, --max and --min, or --as-is")
    return None if as_is else Tail(**chosen)  # type: ignore[arg-type]  # a fraction and two whole numbers in one dict


def _aside(text: str) -> tuple[str, ...] | int:
    """``10`` is a number of classes; ``moth,wasp`` are names, and so is ``10,``."""
    if text.strip().isascii() and text.strip().isdecimal():
        return int(text)
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _print(built: "Built") -> None:
    from oltr_cli.base.text import counted

    print(f"{built.name}: {counted(built.classes, 'class')} in {built.folder}")
    for split, count in built.counts.items():
        fewest, most = built.per_class.get(split, (0, 0))
        spread = f"  {fewest}–{most} per class" if fewest < most else f"  {most} per class" if most else ""
        unused = f"; {built.unused:,} more are not used (--as-is uses all)" if split == "train" and built.unused else ""
        print(f"  {split:<8} {count:>8,}{spread}{unused}")
    if built.even is not None:
        print(f"  groups   {_evenness(built.even)}")
    print("  classes  " + ", ".join(f"{count} {group}-shot" for group, count in built.shots.items()))


def _evenness(even: "Evenness") -> str:
    text = f"{even.groups:,} of 2–{even.largest:,} images kept together"
    if not even.name:
        return f"{text}; shares of all classes as without groups"
    return f"{text}; largest deviation: {even.name} has {even.share:.0%} in {even.split} instead of {even.wanted:.0%}"


def _next(built: "Built", display: "Display") -> None:
    import shlex

    from rich.markup import escape

    from oltr_cli.base.added_files import given_files
    from oltr_cli.base.text import counted
    from oltr_cli.recipe.files import BUILT_RECIPE
    from oltr_cli.recipe.home import data_home

    if built.as_before:
        new = sum(built.counts[split] for split in ("train", "val", "test")) - built.as_before
        display.say(
            f"{counted(built.as_before, 'image')} as in the earlier build, {new:,} new; --redraw draws all splits "
            "anew, --fresh-recipe writes new settings"
        )
    display.say(
        f"wrote {escape(', '.join(built.written))}"
        if built.written
        else "nothing to write: everything is already there"
    )
    if built.kept:
        display.say(f"the earlier recipe is kept as {escape(str(built.kept))}; the new one does not have its settings")
    if built.folder.parent == data_home().absolute():
        where = f"--dataset {shlex.quote(built.name)}"
    else:
        where = f"--recipe {shlex.quote(str(built.folder / BUILT_RECIPE))}"
    display.say(f"[dim]next[/]  {escape(f'oltr run dme {where}{given_files()}')}")
