"""``oltr data prepare tiny-imagenet-lt``."""

from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands.data.prepare.common import Lists, prepare_app, prepared_root, report
from oltr_cli.commands.options import Json, Quiet


@prepare_app.command("tiny-imagenet-lt")
def tiny_imagenet_lt(
    root: Annotated[
        Path | None, typer.Option(help="Holds tiny-imagenet-200/ or its contents; default $OLTR_DATA/tiny-imagenet-lt")
    ] = None,
    lists: Lists = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Tiny ImageNet with a scaled-down ImageNet-LT tail: 150 known, 35 open and 15 open validation classes.

    Draws lists from the usual download, whose images stay unchanged: 5 to 450 training images per known class, 20
    others for validation, Tiny ImageNet's validation images for test and open. Existing lists are checked and kept.

    ```
    oltr data prepare tiny-imagenet-lt
    oltr data prepare tiny-imagenet-lt --root downloads/tiny-imagenet-200
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.data.prepare.tiny_imagenet import prepare_tiny_imagenet_lt

    display = Display(quiet)
    prepared = prepare_tiny_imagenet_lt(prepared_root("tiny-imagenet-lt", root), lists and lists.expanduser(), display)
    report("tiny-imagenet-lt", prepared, prepared.origin, display, json_)
