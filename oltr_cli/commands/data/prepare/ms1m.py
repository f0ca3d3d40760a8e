"""``oltr data prepare ms1m-lt``."""

from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands.data.prepare.common import NewLists, prepare_app, prepared_root, report
from oltr_cli.commands.options import Json, Quiet


@prepare_app.command("ms1m-lt")
def ms1m_lt(
    root: Annotated[
        Path | None,
        typer.Option(help="Holds one folder of images per identity, directly or in train/; default $OLTR_DATA/ms1m-lt"),
    ] = None,
    probe: Annotated[
        Path | None, typer.Option(help="People to identify (FaceScrub), one folder each; default ROOT/probe")
    ] = None,
    distractors: Annotated[
        Path | None, typer.Option(help="Images of other people (MegaFace) to search among; default ROOT/distractors")
    ] = None,
    attributes: Annotated[
        Path | None, typer.Option(help="File of lines 'PERSON GROUP' for rates by group, such as male and female")
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="Training images to draw, at most all")] = 887_500,
    identities: Annotated[int, typer.Option(min=2, help="Identities to draw, at most all")] = 74_500,
    lists: NewLists = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """MS1M-LT, faces with a long tail, with MegaFace for identification (Table 4, left): lists of the unchanged images.

    The authors' lists are not public: images are drawn as the paper says, with a probability proportional to the
    number of images of their identity. Other numbers than the paper's get another name: ms1m-lt-100000-of-9000.

    ```
    oltr data prepare ms1m-lt --root /data/faces
    oltr data prepare ms1m-lt --attributes gender.txt
    oltr data prepare ms1m-lt --images 100000 --identities 9000
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.data.prepare.ms1m import NAME, Wish, prepare_ms1m_lt

    display = Display(quiet)
    paths = [path.expanduser() if path else None for path in (lists, probe, distractors, attributes)]
    wish = Wish(prepared_root(NAME, root), paths[0], images, identities, *paths[1:])
    name, prepared = prepare_ms1m_lt(wish, display)
    report(name, prepared, prepared.origin, display, json_)
