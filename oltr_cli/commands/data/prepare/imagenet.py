"""``oltr data prepare imagenet-lt``."""

from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands.data.prepare.common import Lists, prepare_app, prepared_root, report
from oltr_cli.commands.options import Json, Quiet


@prepare_app.command("imagenet-lt")
def imagenet_lt(
    root: Annotated[
        Path | None, typer.Option(help="Holds train/WNID/* and val/ of ILSVRC2012; default $OLTR_DATA/imagenet-lt")
    ] = None,
    lists: Lists = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """ImageNet-LT, the data of Table 3 (a): lists of the unchanged images of ILSVRC 2012 and 2010.

    Uses ImageNet_LT_{train,val,test,open}.txt if they are there, and draws missing lists: exactly the published number
    of training images of each class, 20 others of each for validation, ILSVRC2012's validation images for test.

    ```
    oltr data prepare imagenet-lt
    oltr data prepare imagenet-lt --root /data/ILSVRC/Data/CLS-LOC --lists lists/imagenet-lt
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.data.prepare.imagenet import prepare_imagenet_lt

    display = Display(quiet)
    prepared = prepare_imagenet_lt(prepared_root("imagenet-lt", root), lists and lists.expanduser(), display)
    report("imagenet-lt", prepared, prepared.origin, display, json_)
