"""``oltr data prepare sun-lt``."""

from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands.data.prepare.common import Lists, prepare_app, prepared_root, report
from oltr_cli.commands.options import Json, Quiet


@prepare_app.command("sun-lt")
def sun_lt(
    root: Annotated[Path | None, typer.Option(help="Holds SUN397/ or its contents; default $OLTR_DATA/sun-lt")] = None,
    lists: Lists = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """SUN-LT, the data of Table 4 (right): lists of the unchanged images of SUN397.

    The benchmark's lists are not public. These have its shape: half of each class minus 49 images for training, 1 to
    1,132 per class; 40 others of each for test, and 10 for validation.

    ```
    oltr data prepare sun-lt
    oltr data prepare sun-lt --root /data/SUN397 --lists lists/sun-lt
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.data.prepare.sun import prepare_sun_lt

    display = Display(quiet)
    prepared = prepare_sun_lt(prepared_root("sun-lt", root), lists and lists.expanduser(), display)
    report("sun-lt", prepared, prepared.origin, display, json_)
