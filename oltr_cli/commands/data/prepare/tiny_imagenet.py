"""``oltr data prepare tiny-imagenet-lt``."""

from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands.data.prepare.common import Lists, prepare_app, prepared_root, report
from oltr_cli.commands.options import Json, Quiet


@prepare_app.command("tiny-imagenet-lt")
def tiny_imagenet_lt(
    root: Annotated[
        Path | None, typer.Option(help="Holds tiny-imagenet-200/ or what is in it; default $OLTR_DATA/tiny-imagenet-lt")
    ] = None,
    lists: Lists = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Tiny ImageNet with ImageNet-LT's tail in small: 150 known classes, 35 open ones and 15 for open validation.

    Draws the lists from the ordinary download, whose images stay as they are: 5 to 450 training images of a known
    class, 20 others for validation, Tiny ImageNet's validation images for test and open. Lists that are there already
    are checked and left.

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
