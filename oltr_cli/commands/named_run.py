"""The run or exported folder that an argument names; one line says which run, if the name matches several."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oltr_cli.base.display import Display


def named_run(text: str, display: "Display") -> Path:
    """The folder of the run that ``text`` names; see ``oltr_cli.planning.which_run.resolve_run``, also for errors.

    Raises:
        UsageProblem: it is an exported folder, which has no saved scores.
    """
    from rich.markup import escape

    from oltr_cli.inference.hub_format import refuse_hub_folder
    from oltr_cli.planning.which_run import resolve_run

    refuse_hub_folder(text)
    return resolve_run(text, lambda line: display.say(f"[dim]{escape(line)}[/]"))


def named_model(text: str, display: "Display") -> Path:
    """The folder of the run that ``text`` names, or the one that ``oltr export --to hub-folder`` made."""
    from oltr_cli.inference.hub_format import is_hub_folder

    folder = Path(text).expanduser()
    return folder if is_hub_folder(folder) else named_run(text, display)
