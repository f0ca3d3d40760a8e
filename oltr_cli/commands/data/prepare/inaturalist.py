"""``oltr data prepare inaturalist2018``."""

from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands.data.prepare.common import NewLists, prepare_app, prepared_root, report
from oltr_cli.commands.options import Json, Quiet


@prepare_app.command("inaturalist2018")
def inaturalist2018(
    root: Annotated[
        Path | None,
        typer.Option(
            help="Holds train2018.json, val2018.json and train_val2018/ (torchvision: 2018/); "
            "default $OLTR_DATA/inaturalist2018"
        ),
    ] = None,
    lists: NewLists = None,
    open_classes: Annotated[
        str,
        typer.Option(
            metavar="N|NAME",
            help="Classes to set aside as unknown: how many, or a supercategory. Makes the dataset NAME-open…",
        ),
    ] = "",
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """iNaturalist 2018: lists of the unchanged images; 8,142 species, 437,513 training images.

    The labels of its test set are not public. Of the three official validation images per class, one is used for
    validation and two for the test.

    ```
    oltr data prepare inaturalist2018 --root /data/inat2018
    oltr data prepare inaturalist2018 --open-classes 500          # the dataset inaturalist2018-open500
    oltr data prepare inaturalist2018 --open-classes Fungi        # inaturalist2018-open-fungi
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.data.prepare.inaturalist import NAME, prepare_inaturalist2018

    display = Display(quiet)
    where = lists.expanduser() if lists else None
    name, prepared = prepare_inaturalist2018(prepared_root(NAME, root), where, open_classes.strip(), display)
    report(name, prepared, prepared.origin, display, json_)
