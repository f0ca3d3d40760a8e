"""``oltr tune show``."""

from typing import Annotated

import typer

from oltr_cli.commands.options import Json
from oltr_cli.commands.printing import print_json


def show(
    study: Annotated[
        str | None, typer.Argument(help="Name of the study, or a part that fits one; default the newest")
    ] = None,
    storage: Annotated[str | None, typer.Option(metavar="URL", help="The database that the search was given")] = None,
    json_: Json = False,
) -> None:
    """Show what a search found: all trials, the best, and how much each key matters.

    Writes best.toml, a recipe with the best trial's values, and pictures into the study's folder: history.png, and
    slice-KEY.png with the objective against each tuned key.

    ```
    oltr tune show
    oltr tune show dme-lambda --json
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.tuning.summary import next_commands, open_study, summarise, tables
    from oltr_cli.tuning.write_up import record

    display = Display()
    found = open_study(study, storage)
    files = record(found, display.warn)
    if json_:
        print_json({**summarise(found), "files": files})
    else:
        from oltr_cli.base.display import make_console

        console = make_console()
        console.print(tables(found, console.width), crop=False)
    for number, file in enumerate(files):
        display.say(f"[dim]{'wrote' if not number else '     '}[/] {file}")
    for line in next_commands(found):
        display.say(f"[dim]next [/] {line}")
