"""``oltr tune``: the threshold from saved scores, anything else by a search that trains.

A word that is none of the commands is something to tune.
"""

from typing import Any

import typer
from typer.core import TyperGroup

from oltr_cli.commands import complete
from oltr_cli.commands.tune.detector import detector
from oltr_cli.commands.tune.search import search
from oltr_cli.commands.tune.show import show
from oltr_cli.commands.tune.threshold import threshold


class _SearchByDefault(TyperGroup):
    """``oltr tune lambda`` is ``oltr tune search lambda``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["search", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The commands, and the methods that a search can begin with."""
        from click.shell_completion import CompletionItem

        names = complete.methods(incomplete)
        return [*super().shell_complete(ctx, incomplete), *map(CompletionItem, names)]


tune_app = typer.Typer(
    cls=_SearchByDefault,
    no_args_is_help=True,
    subcommand_metavar="METHOD | PARAM… | COMMAND",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@tune_app.callback()
def _tune() -> None:
    """Choose what can be chosen without the test set.

    ```
    oltr tune threshold    τ of finished runs, from saved scores
    oltr tune detector     the open-set detector of finished runs, likewise
    oltr tune lambda       λ of dme, by training: search lambda
    oltr tune focal        all parameters that the method offers
    oltr tune show         what a search found
    ```
    """


for command in (threshold, detector, search, show):
    tune_app.command()(command)
