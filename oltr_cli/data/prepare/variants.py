"""A set drawn with other numbers is a separate dataset, with its own name and a recipe beside its lists.

A finished run is found by the name of its dataset and the hash of its recipe, and neither covers the content of the
lists: under one name, the runs of two draws could not be told apart and would be in one table.
"""

import json
from pathlib import Path

from oltr_cli.base.files import write_text
from oltr_cli.data.prepare.common import Prepared
from oltr_cli.recipe.files import BUILT_RECIPE, builtin_recipes


def variant_recipe(of: str, name: str, opening: str, images: Path | None = None, lists: Path | None = None) -> str:
    """The built-in recipe ``of`` under another name.

    Args:
        opening: one line that says what is different.
        images, lists: the folders, if they are not both ``$OLTR_DATA/NAME``.
    """
    content = builtin_recipes()[of].read_text(encoding="utf-8")
    content = content[content.index("[data]") :].replace(of, name)
    if images is not None and lists is not None:
        paths = {"root": str(images.absolute()), "lists": str(lists.absolute())}
        placed = "".join(f"{key} = {json.dumps(path, ensure_ascii=False)}\n" for key, path in paths.items())
        first, rest = content.split("\n", 1)
        content = f"{first}\n{placed}{rest}"
    return (
        f"# {name}: {opening}\n# Written by oltr data prepare {of}; everything else is as in its recipe.\n\n{content}"
    )


def write_recipe(prepared: Prepared, text: str) -> None:
    """Put the recipe beside the lists; an existing one stays, since it may have been edited."""
    path = prepared.list_folder / BUILT_RECIPE
    if not path.exists():
        write_text(path, text)
        prepared.lists_written.append(path.name)
