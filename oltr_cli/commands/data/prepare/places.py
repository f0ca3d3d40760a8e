"""``oltr data prepare places-lt``."""

from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands.data.prepare.common import Lists, prepare_app, prepared_root, report
from oltr_cli.commands.options import Json, Quiet


@prepare_app.command("places-lt")
def places_lt(
    root: Annotated[
        Path | None, typer.Option(help="Holds data_256/ and val_256/ of Places365; default $OLTR_DATA/places-lt")
    ] = None,
    lists: Lists = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Places-LT, the data of Table 3 (b): lists of the unchanged images of Places365-Standard.

    Uses Places_LT_{train,val,test,open}.txt if they are there, with paths adapted to the folders found, and draws
    missing lists: a training tail of the published shape, 20 others of each class for validation, Places365's
    validation images for test. torchvision's folders work too.

    ```
    oltr data prepare places-lt
    oltr data prepare places-lt --root /data/places365 --lists lists/places-lt
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.data.prepare.places import prepare_places_lt

    display = Display(quiet)
    prepared = prepare_places_lt(prepared_root("places-lt", root), lists and lists.expanduser(), display)
    report("places-lt", prepared, prepared.origin, display, json_)
