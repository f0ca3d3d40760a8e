"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer


def _add(files: list[Path] | None) -> list[Path] | None:
    from oltr_cli.base.added_files import add_file
    from oltr_cli.errors import OltrError

    for file in files or ():
        try:
            add_file(file)
        except OltrError as error:
            raise typer.BadParameter(str(error)) from None
    return files


MethodsFrom = Annotated[
    list[Path] | None,
    typer.Option(
        "--methods-from",
        metavar="FILE",
        help="Python file with a method, detector or backbone, named like the file; repeatable. Or set OLTR_METHODS",
        callback=_add,
        is_eager=True,
    ),
]
