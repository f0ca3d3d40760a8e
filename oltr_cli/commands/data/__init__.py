"""``oltr data``: datasets on disk, one module per command."""

import typer

from oltr_cli.commands.data.active import active
from oltr_cli.commands.data.build import build
from oltr_cli.commands.data.check import check
from oltr_cli.commands.data.groups import groups
from oltr_cli.commands.data.info import info
from oltr_cli.commands.data.prepare import prepare_app
from oltr_cli.commands.data.rename import rename
from oltr_cli.commands.data.store import store

data_app = typer.Typer(
    no_args_is_help=True,
    help="Prepare, build, check and inspect datasets on disk.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@data_app.callback()
def _data() -> None:
    """Prepare, build, check and inspect datasets on disk."""


data_app.add_typer(prepare_app, name="prepare")
for command in (build, check, info, store, active, groups, rename):
    data_app.command()(command)
