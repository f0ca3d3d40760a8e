"""``oltr data prepare omniglot-small``."""

from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands.data.prepare.common import prepare_app, prepared_root, report
from oltr_cli.commands.options import Json, Quiet


@prepare_app.command("omniglot-small")
def omniglot_small(
    root: Annotated[
        Path | None, typer.Option(help="Holds ALPHABET/CHARACTER/*; default $OLTR_DATA/omniglot-small")
    ] = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Handwritten characters for identification as in Table 4, with probes from alphabets not used in training.

    Writes lists of the unchanged drawings. Training uses four alphabets with a long tail of drawings, probes are from
    two others, distractors from two more.

    ```
    oltr data prepare omniglot-small
    oltr data prepare omniglot-small --root data/omniglot-small
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.data.prepare.omniglot import MEANING, prepare_omniglot_small

    display = Display(quiet)
    prepared = prepare_omniglot_small(prepared_root("omniglot-small", root))
    report("omniglot-small", prepared, MEANING, display, json_)
