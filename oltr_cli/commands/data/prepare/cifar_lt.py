"""``oltr data prepare cifar100-lt`` and ``cifar10-lt``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oltr_cli.commands.data.prepare.common import Cifar100Root, prepare_app, report
from oltr_cli.commands.options import Json, Quiet

if TYPE_CHECKING:
    from oltr_cli.data.prepare.cifar_folders import Cifar

Imbalance = Annotated[
    float,
    typer.Option(
        help="Size of the largest class over the smallest. Other values than 100 make the dataset NAME-ifFACTOR"
    ),
]
Open = Annotated[
    Path | None,
    typer.Option("--open", help="Images of no known class; default those prepared for the balanced dataset"),
]


@prepare_app.command("cifar100-lt")
def cifar100_lt(
    imbalance: Imbalance = 100,
    root: Cifar100Root = None,
    open_: Open = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """CIFAR-100-LT: an exponential tail of the training images, 500 to 5 per class.

    Writes the lists, and links to the images, to $OLTR_DATA/cifar100-lt; open images as PNG. Validation is 10 images
    per class of the official test set.

    ```
    oltr data prepare cifar100-lt --open tiny-imagenet-200
    oltr data prepare cifar100-lt --imbalance 50        # the dataset cifar100-lt-if50
    ```
    """
    from oltr_cli.data.prepare.cifar_folders import CIFAR100

    _prepare(CIFAR100, imbalance, root, open_, quiet, json_)


@prepare_app.command("cifar10-lt")
def cifar10_lt(
    imbalance: Imbalance = 100,
    root: Annotated[
        Path | None, typer.Option(help="Holds {train,test}/CLASS/* or cifar-10-batches-py/; default $OLTR_DATA/cifar10")
    ] = None,
    open_: Open = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """CIFAR-10-LT: an exponential tail of the training images, 5,000 to 50 per class.

    Writes the lists, and links to the images, to $OLTR_DATA/cifar10-lt; open images as PNG. Validation is 100 images
    per class of the official test set.

    ```
    oltr data prepare cifar10-lt --open data/cifar100/test
    oltr data prepare cifar10-lt --root data/cifar10 --imbalance 10
    ```
    """
    from oltr_cli.data.prepare.cifar_folders import CIFAR10

    _prepare(CIFAR10, imbalance, root, open_, quiet, json_)


def _prepare(cifar: "Cifar", imbalance: float, root: Path | None, open_: Path | None, quiet: bool, json_: bool) -> None:
    from oltr_cli.base.display import Display
    from oltr_cli.data.prepare.cifar_lt import meaning, prepare_cifar_lt

    display = Display(quiet)
    name, prepared = prepare_cifar_lt(cifar, imbalance, root.expanduser() if root else None, open_, display)
    report(name, prepared, meaning(cifar, imbalance), display, json_)
