"""``oltr data info``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oltr_cli.commands.data.dataset import Lists, Name, Root, named_dataset, numbers, same_dataset, span
from oltr_cli.commands.options import Json, Quiet
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from rich.console import Console


def info(
    name: Name,
    root: Root = None,
    lists: Lists = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR|FILE.png",
            help="Where to save pictures; default NAME-info in the current folder",
        ),
    ] = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Show a dataset: its long tail as numbers and as a curve, and images from head to tail.

    Writes frequency.png and images.png, or one picture with both. Missing images are skipped.

    ```
    oltr data info glyphs-lt
    oltr data info tiny-imagenet-lt --out pictures
    oltr data info mine --out mine.png --json
    ```
    """
    from rich.markup import escape

    from oltr_cli.base.display import Display, SafeConsole
    from oltr_cli.base.text import counted
    from oltr_cli.data.inspect.info import facts, look_at
    from oltr_cli.data.inspect.pictures import write_pictures
    from oltr_cli.errors import DataProblem

    display = Display(quiet)
    spec, images, where = named_dataset(name, root, lists)
    again = same_dataset(name, root, lists)
    try:
        look = look_at(spec, images, where, display)
    except DataProblem as problem:
        raise DataProblem(f"{problem}\nto see all problems: oltr data check {again}") from None
    found = facts(look)
    written = write_pictures(look, out.expanduser() if out else Path(f"{look.name}-info"))
    if found["missing"]:
        display.warn(
            f"{counted(found['missing'], 'image')} {'is' if found['missing'] == 1 else 'are'} missing in {images}"
        )
    if json_:
        print_json({**found, "written": written})
    else:
        _print(found, SafeConsole())
    display.say(f"wrote {escape(', '.join(map(str, written)))}")
    following = f"oltr run dme {_as_run(name)}{_sets(root, lists)}"
    display.say(f"[dim]next[/]  {escape(f'oltr data check {again}' if found['missing'] else following)}")


def _as_run(name: str) -> str:
    import shlex

    from oltr_cli.recipe.files import known_recipes

    return f"--{'dataset' if name in known_recipes() else 'recipe'} {shlex.quote(name)}"


def _sets(root: Path | None, lists: Path | None) -> str:
    import shlex

    given = {"root": root, "lists": lists}
    return "".join(f" --set data.{key}={shlex.quote(str(value))}" for key, value in given.items() if value)


def _print(found: dict[str, Any], console: "Console") -> None:
    """Counts by split, then by shot group, then how imbalanced the classes are."""
    console.print(f"[bold]{found['dataset']}[/]")
    table = numbers("split", "images", "classes", "per class")
    for split, row in found["splits"].items():
        low, high = row["fewest"], row["most"]
        spread = "–" if low is None else span(low, high)
        table.add_row(split, f"{row['images']:,}", "–" if row["classes"] is None else f"{row['classes']:,}", spread)
    console.print(table)
    console.print()
    total = found["splits"]["train"]["images"]
    table = numbers("shot group", "training images", "classes", "images", "share")
    for group, row in found["shots"].items():
        share = f"{100 * row['images'] / total:.1f} %"
        table.add_row(group, row["definition"], f"{row['classes']:,}", f"{row['images']:,}", share)
    console.print(table)
    spread = found["per_class"]
    factor = found["imbalance_factor"]
    images = "image" if spread["max"] == 1 else "images"
    console.print(
        f"\n{span(spread['min'], spread['max'])} training {images} per class, median {spread['median']:g}; "
        f"imbalance factor {factor:.4g}",
        soft_wrap=True,
    )
