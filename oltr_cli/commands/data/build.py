"""``oltr data build``."""

import json
from pathlib import Path
from typing import Annotated

import typer


def build(
    images: Annotated[Path, typer.Option(help="Folder of class folders, or a CSV of path,label")],
    out: Annotated[str, typer.Option(help="Name of the dataset: it goes to $OLTR_DATA/NAME. Or a folder's path")],
    open_: Annotated[
        Path | None,
        typer.Option("--open", help="Images of no known class; in folders by kind, where there are several"),
    ] = None,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Use every image: keep the tail that nature gave (your own photographs)")
    ] = False,
    open_classes: Annotated[
        str, typer.Option(metavar="NAMES|N", help="Classes to set aside as unknown: names with commas, or how many")
    ] = "",
    alpha: Annotated[float, typer.Option(help="Without --as-is: exponent of the Pareto tail that is drawn")] = 6.0,
    maximum: Annotated[int, typer.Option("--max", help="Without --as-is: most training images of a class")] = 1280,
    minimum: Annotated[int, typer.Option("--min", help="Without --as-is: least training images of a class")] = 5,
    val: Annotated[float, typer.Option(help="Share of each class for validation")] = 0.1,
    test: Annotated[float, typer.Option(help="Share of each class for the test")] = 0.2,
    image_size: Annotated[int, typer.Option(help="Pixels a side; 0: 64, or less for small images")] = 0,
    backbone: Annotated[str, typer.Option(help="Network; default resnet10, resnet18 with --weights")] = "",
    weights: Annotated[str, typer.Option(metavar="FILE|torchvision", help="Pre-trained backbone")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split")] = 0,
    decode: Annotated[bool, typer.Option("--decode", help="Decode every pixel, not only the headers")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the lists of an earlier build")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr, warnings only")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object")] = False,
) -> None:
    """Make a dataset of your own photographs; every other command then takes its name.

    No image is moved, copied or changed. Of a class with two images one is tested, of three one validated as well; one
    image alone is trained on. Copies and unreadable files are left out and counted.

    ```
    oltr data build --images photos --open strangers --as-is --out mine
    oltr data build --images labels.csv --as-is --open-classes "moth,wasp" --out insects
    oltr data build --images balanced --alpha 6 --max 500 --min 5 --out tail --open-classes 10
    ```
    """
    from dataclasses import asdict

    from oltr_cli.data.build import Wish, build_dataset
    from oltr_cli.data.build_recipe import Sizing
    from oltr_cli.data.build_split import Held
    from oltr_cli.data.home import data_home
    from oltr_cli.progress import Display

    folder = Path(out).expanduser() if "/" in out else data_home() / out
    named = tuple(name.strip() for name in open_classes.split(",") if name.strip())
    aside = int(named[0]) if len(named) == 1 and named[0].isdigit() else named
    wish = Wish(
        images.expanduser(),
        open_.expanduser() if open_ else None,
        as_is,
        alpha,
        maximum,
        minimum,
        aside,
        Held(val, test),
        seed,
        decode,
        Sizing(image_size, backbone, weights),
    )
    display = Display(quiet)
    built = build_dataset(wish, folder, display, force)
    for warning in built.warnings:
        display.warn(warning)
    if json_:
        print(json.dumps({**asdict(built), "folder": str(built.folder)}))
    else:
        print(f"{built.name}: {built.classes} classes in {built.folder}")
        for split, count in built.counts.items():
            print(f"  {split:<8} {count:>8,}")
        print("  classes  " + ", ".join(f"{count} {group}-shot" for group, count in built.shots.items()))
    display.say(f"wrote {', '.join(built.written)}" if built.written else "nothing to write: all was there already")
    named_by = f"--dataset {built.name}" if folder.parent == data_home() else f"--recipe {folder / 'recipe.toml'}"
    display.say(f"[dim]next[/]  oltr run dme {named_by}")
