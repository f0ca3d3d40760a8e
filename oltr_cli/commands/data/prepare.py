"""``oltr data prepare NAME``: bring what was downloaded into the form that a built-in recipe reads.

To add a dataset: a module ``oltr_cli/data/prepare_X.py`` that returns a ``Prepared`` (oltr_cli/data/preparing.py) and a
command here that calls it with the options which this dataset needs and ends with ``_report``.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from oltr_cli.data.preparing import Prepared
    from oltr_cli.progress import Display

prepare_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Write the lists (and the images, where they must be changed) that a built-in recipe reads.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr, warnings only")]


@prepare_app.callback()
def _prepare() -> None:
    """Write the lists (and the images, where they must be changed) that a built-in recipe reads."""


@prepare_app.command()
def cifar100(
    root: Annotated[
        Path | None, typer.Option(help="Holds {train,test}/CLASS/* or cifar-100-python/; default $OLTR_DATA/cifar100")
    ] = None,
    open_: Annotated[
        Path | None, typer.Option("--open", help="Tiny ImageNet, its val, or any folder of images of no known class")
    ] = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """CIFAR-100 against Tiny ImageNet resized to 32×32, the data of Table 2.

    Writes the lists, and the open images as PNG in ROOT/open; what is there already stays. Validation is 10 images a
    class of the official test set, since the paper trains on all 50,000 training images.

    ```
    oltr data prepare cifar100 --open tiny-imagenet-200
    oltr data prepare cifar100 --root data/cifar100 --open data/tiny-imagenet-lt/val
    ```
    """
    from oltr_cli.data.prepare_cifar import MEANING, prepare_cifar100
    from oltr_cli.progress import Display

    display = Display(quiet)
    prepared = prepare_cifar100(_root("cifar100", root), open_, display)
    _report("cifar100", prepared, MEANING, display, json_)


@prepare_app.command("omniglot-small")
def omniglot_small(
    root: Annotated[
        Path | None, typer.Option(help="Holds ALPHABET/CHARACTER/*; default $OLTR_DATA/omniglot-small")
    ] = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Handwritten characters for identification as in Table 4: probes of alphabets that training never saw.

    Writes the lists; the drawings stay as they are. Training is on four alphabets with a long tail of drawings, probes
    are of two others, distractors of two more.

    ```
    oltr data prepare omniglot-small
    oltr data prepare omniglot-small --root data/omniglot-small
    ```
    """
    from oltr_cli.data.prepare_omniglot import MEANING, prepare_omniglot_small
    from oltr_cli.progress import Display

    display = Display(quiet)
    prepared = prepare_omniglot_small(_root("omniglot-small", root))
    _report("omniglot-small", prepared, MEANING, display, json_)


def _root(name: str, given: Path | None) -> Path:
    from oltr_cli.data.home import data_home

    return given.expanduser() if given else data_home() / name


def _report(name: str, prepared: "Prepared", meaning: dict[str, str], display: "Display", as_json: bool) -> None:
    """What lies there now, what this call did, and the command to go on with."""
    import shlex
    from dataclasses import asdict

    from rich.markup import escape

    from oltr_cli.data.home import data_home

    for warning in prepared.warnings:
        display.warn(warning)
    if as_json:
        print(json.dumps({"dataset": name, **asdict(prepared), "root": str(prepared.root)}))
    else:
        print(f"{name}: {prepared.classes} classes in {prepared.root}")
        for split, count in prepared.counts.items():
            print(f"  {split:<11} {count:>8,}  {meaning[split]}")
    written = [f"{count:,} images in {folder}/" for folder, count in prepared.images_written.items() if count]
    written += prepared.lists_written
    display.say(f"wrote {', '.join(written)}" if written else "nothing to write: all was there already")
    elsewhere = prepared.root.resolve() != (data_home() / name).resolve()
    where = escape(f" --set data.root={shlex.quote(str(prepared.root))}") if elsewhere else ""
    display.say(f"[dim]next[/]  oltr run dme --dataset {name}{where}")
