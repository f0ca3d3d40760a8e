"""``oltr data prepare cifar100``, ``cifar100-lt`` and ``cifar10-lt``."""

from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands.data.prepare.common import prepare_app, prepared_root, report
from oltr_cli.commands.options import Json, Quiet

_HOLDS = "Holds {{train,test}}/CLASS/* or {}/; default $OLTR_DATA/{}"
_CIFAR100 = _HOLDS.format("cifar-100-python", "cifar100")

# Name of the balanced set → what its root holds, and the help of the one with a tail.
LONG_TAILED = {
    "cifar100": (
        _CIFAR100,
        """CIFAR-100-LT: an exponential tail of the training images, 500 to 5 per class.

        Writes the lists, and links to the images, to $OLTR_DATA/cifar100-lt; open images as PNG. Validation is 10
        images per class of the official test set.

        ```
        oltr data prepare cifar100-lt --open tiny-imagenet-200
        oltr data prepare cifar100-lt --imbalance 50        # the dataset cifar100-lt-if50
        oltr data prepare cifar100-lt --unseen 20           # 80 known classes: cifar100-lt-unseen20
        ```
        """,
    ),
    "cifar10": (
        _HOLDS.format("cifar-10-batches-py", "cifar10"),
        """CIFAR-10-LT: an exponential tail of the training images, 5,000 to 50 per class.

        Writes the lists, and links to the images, to $OLTR_DATA/cifar10-lt; open images as PNG. Validation is 100
        images per class of the official test set.

        ```
        oltr data prepare cifar10-lt --open data/cifar100/test
        oltr data prepare cifar10-lt --root data/cifar10 --imbalance 10
        ```
        """,
    ),
}


@prepare_app.command("cifar100")
def cifar100(
    root: Annotated[Path | None, typer.Option(help=_CIFAR100)] = None,
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


def _add(balanced: str, holds: str, about: str) -> None:
    @prepare_app.command(f"{balanced}-lt", help=about)
    def prepare(
        imbalance: Annotated[
            float,
            typer.Option(help="Largest class over smallest. Other values than 100 make the dataset NAME-ifFACTOR"),
        ] = 100,
        root: Annotated[Path | None, typer.Option(help=holds)] = None,
        open_: Annotated[
            Path | None,
            typer.Option("--open", help="Images of no known class; default: those prepared for the balanced set"),
        ] = None,
        unseen: Annotated[
            int,
            typer.Option(
                metavar="N",
                help="N classes of the set, evenly from frequent to rare, are not trained on: their test images are "
                "the open ones. Makes the dataset NAME-unseenN",
            ),
        ] = 0,
        quiet: Quiet = False,
        json_: Json = False,
    ) -> None:
        from oltr_cli.base.display import Display
        from oltr_cli.data.prepare.cifar_folders import CIFAR10, CIFAR100
        from oltr_cli.data.prepare.cifar_lt import meaning, prepare_cifar_lt

        cifar = CIFAR100 if balanced == "cifar100" else CIFAR10
        display = Display(quiet)
        name, prepared = prepare_cifar_lt(cifar, imbalance, root and root.expanduser(), open_, display, unseen)
        report(name, prepared, meaning(cifar, imbalance, unseen), display, json_)


for _balanced, (_holds, _about) in LONG_TAILED.items():
    _add(_balanced, _holds, _about)
