"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer


def _add(files: list[Path] | None) -> list[Path] | None:
    from oltr_cli.errors import OltrError
    from oltr_cli.planning.registry import add_file

    for file in files or ():
        try:
            add_file(file)
        except OltrError as error:
            raise typer.BadParameter(str(error)) from None
    return files


ThresholdOption = Annotated[
    str | None,
    typer.Option(
        "--threshold",
        metavar="τ|RULE",
        help="A sample with a confidence below τ is unknown. A number, id_quantile:0.95, val_open, tuned (by oltr tune "
        "threshold), or oracle_test (read off the test set, marked †); default the run's own",
    ),
]

MethodsFrom = Annotated[
    list[Path] | None,
    typer.Option(
        "--methods-from",
        metavar="FILE",
        help="Python file with a method of your own, named like the file; repeatable. Or set OLTR_METHODS",
        callback=_add,
        is_eager=True,
    ),
]
