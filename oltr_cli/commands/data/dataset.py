"""How ``oltr data check`` and ``oltr data info`` name a dataset: as ``oltr run --dataset`` does, with folders."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oltr_cli.commands import complete

if TYPE_CHECKING:
    from rich.table import Table

    from oltr_cli.recipe.data import DataSpec

Name = Annotated[
    str,
    typer.Argument(
        autocompletion=complete.datasets, help="Dataset: built-in, made by oltr data build, or a recipe file"
    ),
]
Root = Annotated[
    Path | None, typer.Option(help="Folder that paths in the lists are relative to; default $OLTR_DATA/NAME")
]
Lists = Annotated[Path | None, typer.Option(help="Folder of the list files; default the recipe's, or ROOT")]


def named_dataset(name: str, root: Path | None, lists: Path | None) -> "tuple[DataSpec, Path, Path]":
    """The data section of the recipe of that name, and the folders of images and of lists.

    Raises:
        UsageProblem: no such recipe, or invalid values in it.
    """
    from pydantic import ValidationError

    from oltr_cli.errors import UsageProblem, several
    from oltr_cli.recipe.data import DataSpec
    from oltr_cli.recipe.files import find_recipe, read_recipe
    from oltr_cli.recipe.home import data_home

    path = find_recipe(name)
    given = {key: str(folder) for key, folder in (("root", root), ("lists", lists)) if folder is not None}
    try:
        spec = DataSpec.model_validate({**read_recipe(path)["data"], **given})
    except ValidationError as error:
        problems = [".".join(["data", *map(str, e["loc"])]) + f": {e['msg']}" for e in error.errors()]
        raise UsageProblem(several(str(path), problems)) from None
    home = Path(spec.root).expanduser() if spec.root else data_home() / spec.name
    return spec, home, Path(spec.lists).expanduser() if spec.lists else home


def same_dataset(name: str, root: Path | None, lists: Path | None) -> str:
    """The arguments that name this dataset again, for a shell."""
    import shlex

    words = [name, *(["--root", str(root)] if root else []), *(["--lists", str(lists)] if lists else [])]
    return shlex.join(words)


def span(low: int, high: int) -> str:
    """``5–450``, or one number if they are the same."""
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def numbers(first: str, *others: str) -> "Table":
    """A table without lines: names in its first column, numbers in the others."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(first)
    for column in others:
        table.add_column(column, justify="right")
    return table
