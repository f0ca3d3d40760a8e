"""What all commands ``oltr data prepare NAME`` share: their group, their folder and their report."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from oltr_cli.base.display import Display
    from oltr_cli.data.prepare.common import Prepared

prepare_app = typer.Typer(
    no_args_is_help=True,
    help="Write the lists, and images if they must be converted, that a built-in recipe reads.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@prepare_app.callback()
def _prepare() -> None:
    """Write the lists, and images if they must be converted, that a built-in recipe reads."""


def prepared_root(name: str, given: Path | None) -> Path:
    """The given folder, or ``$OLTR_DATA/NAME``."""
    from oltr_cli.recipe.home import data_home

    return given.expanduser() if given else data_home() / name


def report(name: str, prepared: "Prepared", meaning: dict[str, str], display: "Display", as_json: bool) -> None:
    """Print what the dataset contains, what this call wrote, and the next command."""
    import shlex
    from dataclasses import asdict

    from rich.markup import escape

    from oltr_cli.base.text import counted
    from oltr_cli.recipe.home import data_home

    for warning in prepared.warnings:
        display.warn(warning)
    if as_json:
        print_json({"dataset": name, **asdict(prepared), "lists": prepared.list_folder})
    else:
        print(f"{name}: {counted(prepared.classes, 'class')} in {prepared.root}")
        for split, count in prepared.counts.items():
            print(f"  {split:<11} {count:>8,}  {meaning[split]}")
    written = [f"{counted(count, 'image')} in {folder}/" for folder, count in prepared.images_written.items() if count]
    written += prepared.lists_written
    display.say(f"wrote {escape(', '.join(written))}" if written else "nothing to write: everything is already there")
    elsewhere = prepared.root.resolve() != (data_home() / name).resolve()
    where = f" --set data.root={shlex.quote(str(prepared.root))}" if elsewhere else ""
    if prepared.list_folder != prepared.root:
        where += f" --set data.lists={shlex.quote(str(prepared.list_folder))}"
    display.say(f"[dim]next[/]  oltr run dme --dataset {name}{escape(where)}")
