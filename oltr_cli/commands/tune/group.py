"""The group of commands: a word that is not a command names what to tune."""

from typing import Any

import typer
from typer.core import TyperGroup


class _SearchByDefault(TyperGroup):
    """``oltr tune lambda`` is ``oltr tune search lambda``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["search", *args]
        return super().parse_args(ctx, args)


tune_app = typer.Typer(
    cls=_SearchByDefault,
    no_args_is_help=True,
    subcommand_metavar="METHOD | PARAM… | COMMAND",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@tune_app.callback()
def _tune() -> None:
    """Choose thresholds and other values on validation data, without the test set.

    ```
    oltr tune threshold    τ of finished runs, from saved scores
    oltr tune lambda       λ of dme, by training: oltr tune search lambda
    oltr tune focal        every parameter that focal declares as tunable
    oltr tune show         results of a search
    ```
    """
