"""``oltr data prepare cifar100``."""

from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands.data.prepare.common import Cifar100Root, prepare_app, prepared_root, report
from oltr_cli.commands.options import Json, Quiet


@prepare_app.command()
def cifar100(
    root: Cifar100Root = None,
    open_: Annotated[
        Path | None,
        typer.Option(
            "--open", help="Open images: Tiny ImageNet, its val folder, or any folder of images of no known class"
        ),
    ] = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """CIFAR-100 against Tiny ImageNet resized to 32×32, the data of Table 2.

    Writes the lists, and the open images as PNG in ROOT/open; existing files stay. Validation is 10 images per class
    of the official test set, since the paper trains on all 50,000 training images.

    ```
    oltr data prepare cifar100 --open tiny-imagenet-200
    oltr data prepare cifar100 --root data/cifar100 --open data/tiny-imagenet-lt/val
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.data.prepare.cifar import MEANING, prepare_cifar100

    display = Display(quiet)
    prepared = prepare_cifar100(prepared_root("cifar100", root), open_, display)
    report("cifar100", prepared, MEANING, display, json_)
