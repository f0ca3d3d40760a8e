"""``oltr data build``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oltr_cli.commands.options import Json, Quiet
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from oltr_cli.base.display import Display
    from oltr_cli.data.build.dataset import Built
    from oltr_cli.data.build.split import Tail

_TAIL, _SPLIT, _RECIPE = "The tail", "The split", "The recipe"


def build(
    images: Annotated[Path, typer.Option(help="Folder of class folders, or a CSV of path,label")],
    out: Annotated[str, typer.Option(help="Name of the dataset: it goes to $OLTR_DATA/NAME. Or a folder's path")],
    open_: Annotated[
        Path | None,
        typer.Option("--open", help="Images of no known class; in folders by kind, where there are several"),
    ] = None,
    open_classes: Annotated[
        str,
        typer.Option(
            metavar="NAMES|N", help="Classes of --images to set aside as unknown: names with commas, or how many"
        ),
    ] = "",
    as_is: Annotated[
        bool,
        typer.Option("--as-is", help="Use every image, with the tail that nature gave", rich_help_panel=_TAIL),
    ] = False,
    alpha: Annotated[
        float | None,
        typer.Option(
            help="Exponent of the Pareto tail that is drawn; smaller is steeper. Default 6", rich_help_panel=_TAIL
        ),
    ] = None,
    maximum: Annotated[
        int | None,
        typer.Option(
            "--max", help="Training images of the largest class, if it has them. Default 1280", rich_help_panel=_TAIL
        ),
    ] = None,
    minimum: Annotated[
        int | None,
        typer.Option(
            "--min", help="Training images of the smallest class, if it has them. Default 5", rich_help_panel=_TAIL
        ),
    ] = None,
    val: Annotated[float, typer.Option(help="Share for validation", rich_help_panel=_SPLIT)] = 0.1,
    test: Annotated[float, typer.Option(help="Share for the test", rich_help_panel=_SPLIT)] = 0.2,
    as_classes: Annotated[
        bool,
        typer.Option(
            "--as-classes", help="Folders train, valid and test are part of class names", rich_help_panel=_SPLIT
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is drawn", rich_help_panel=_SPLIT)] = 0,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=1024,
            help="Pixels a side. Default 64, with --weights 224, at most what the images have",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="Network. Default resnet10, with --weights resnet18", rich_help_panel=_RECIPE)
    ] = "",
    weights: Annotated[
        str, typer.Option(metavar="FILE|torchvision", help="Pre-trained backbone", rich_help_panel=_RECIPE)
    ] = "",
    decode: Annotated[
        bool | None,
        typer.Option(
            "--decode/--no-decode",
            help="Decode every pixel, not only headers and ends. Default where all files together have up to 500 MB",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier build; its recipe is kept as recipe.old.toml")
    ] = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Make a dataset of your own photographs; every other command then takes its name.

    No image is moved, copied or changed. Unreadable files, copies, and images that stand in two classes are left out
    and named.

    With --as-is each class holds out its shares, at least one image for the test: of two images one is tested, of
    three one validated as well, and one alone is trained on. Without it validation and test have equally many images
    of each class, as the field's benchmarks have, and training images are drawn to form a Pareto tail.

    ```
    oltr data build --images photos --open strangers --as-is --out mine
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
    """Where a name, or a path with a slash, leads."""
    from oltr_cli.errors import UsageProblem
    from oltr_cli.recipe.home import data_home

    path = Path(out).expanduser()
    if not path.name:
        raise UsageProblem(f"--out '{out}': is no name; a dataset is called by its folder's name")
    return path if "/" in out else data_home() / path


def _tail(as_is: bool, alpha: float | None, maximum: int | None, minimum: int | None) -> "Tail | None":
    """None for --as-is."""
    from oltr_cli.data.build.split import Tail
    from oltr_cli.errors import UsageProblem

    given = {"alpha": alpha, "maximum": maximum, "minimum": minimum}
    chosen = {name: value for name, value in given.items() if value is not None}
    if as_is and chosen:
        raise UsageProblem("--as-is keeps the tail that nature gave; leave out --alpha, --max and --min, or --as-is")
    return None if as_is else Tail(**chosen)  # type: ignore[arg-type]  # a fraction and two whole numbers in one dict


def _aside(text: str) -> tuple[str, ...] | int:
    """``10`` is how many; ``moth,wasp`` are names, and so is ``10,``."""
    if text.strip().isascii() and text.strip().isdecimal():
        return int(text)
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _print(built: "Built") -> None:
    from oltr_cli.base.text import counted

    print(f"{built.name}: {counted(built.classes, 'class')} in {built.folder}")
    for split, count in built.counts.items():
        fewest, most = built.per_class.get(split, (0, 0))
        spread = f"  {fewest}–{most} a class" if fewest < most else f"  {most} a class" if most else ""
        unused = f"; {built.unused:,} more are not used (--as-is uses all)" if split == "train" and built.unused else ""
        print(f"  {split:<8} {count:>8,}{spread}{unused}")
    print("  classes  " + ", ".join(f"{count} {group}-shot" for group, count in built.shots.items()))


def _next(built: "Built", display: "Display") -> None:
    import shlex

    from rich.markup import escape

    from oltr_cli.recipe.files import BUILT_RECIPE
    from oltr_cli.recipe.home import data_home

    display.say(f"wrote {', '.join(built.written)}" if built.written else "nothing to write: all was there already")
    if built.kept:
        display.say(f"the recipe that was there is kept as {built.kept}; what was edited in it is not in the new one")
    if built.folder.parent == data_home().absolute():
        where = f"--dataset {shlex.quote(built.name)}"
    else:
        where = f"--recipe {shlex.quote(str(built.folder / BUILT_RECIPE))}"
    display.say(f"[dim]next[/]  {escape(f'oltr run dme {where}')}")
