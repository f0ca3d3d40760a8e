"""The run that an argument names; one line says which, if the name matches several."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oltr_cli.base.display import Display


def named_run(text: str, display: "Display") -> Path:
    """The folder of the run that ``text`` names; see ``oltr_cli.planning.which_run.resolve_run``, also for errors."""
    from rich.markup import escape

    from oltr_cli.planning.which_run import resolve_run

    return resolve_run(text, lambda line: display.say(f"[dim]{escape(line)}[/]"))
