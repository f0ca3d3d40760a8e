"""``oltr data rename``."""

from typing import Annotated

import typer

from oltr_cli.commands.data.dataset import Lists, Name, Root, named_dataset


def rename(
    name: Name,
    old: Annotated[str, typer.Argument(help="Name of the class now")],
    new: Annotated[str, typer.Argument(help="Its name from now on")],
    root: Root = None,
    lists: Lists = None,
) -> None:
    """Give a class another name; nothing is trained, and folders of images keep theirs.

    Existing runs use the new name in predict, export and report. A name that another class has is refused: merging two
    classes needs a new build and new training.

    ```
    oltr data rename mine tawny-owl "tawny owl"
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.base.text import counted
    from oltr_cli.data.build.rename import rename_class

    spec, images, where = named_dataset(name, root, lists)
    done = rename_class(spec.name, images, where, old, new)
    also = f" and {done.file}" if done.file else ""
    print(f"{spec.name}: {old} is {new} now, in {counted(done.runs, 'run')}{also}")
    Display().say("[dim]files made by oltr export keep the old name; export them again[/]")
