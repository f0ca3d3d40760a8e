"""``oltr tune show``."""

from typing import Annotated

import typer

from oltr_cli.commands.options import Json, MethodsFrom
from oltr_cli.commands.printing import print_json


def show(
    study: Annotated[
        str | None, typer.Argument(help="Study: its name or a unique part of it; default the newest")
    ] = None,
    storage: Annotated[str | None, typer.Option(metavar="URL", help="Database given to the search")] = None,
    json_: Json = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Show the results of a search: all trials, the best one, and how much each key matters.

    Writes best.toml, a recipe with the best trial's values, and pictures into the study's folder: history.png, and
    slice-KEY.png with the objective against each tuned key.

    ```
    oltr tune show
    oltr tune show dme-lambda --json
    ```
    """
    from rich.markup import escape

    from oltr_cli.base.display import Display, SafeConsole
    from oltr_cli.tuning.best import record
    from oltr_cli.tuning.summary import next_commands, open_study, summarise, tables

    display = Display()
    found = open_study(study, storage)
    files = record(found, display.warn)
    if json_:
        print_json({**summarise(found), "files": files})
    else:
        console = SafeConsole()
        console.print(tables(found, console.width), crop=False)
    for number, file in enumerate(files):
        display.say(f"[dim]{'wrote' if not number else '     '}[/] {escape(str(file))}")
    for line in next_commands(found):
        display.say(f"[dim]next [/] {escape(line)}")
