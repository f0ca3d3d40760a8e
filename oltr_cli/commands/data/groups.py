"""``oltr data groups RUN PATH…``."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oltr_cli.commands.named_run import named_run
from oltr_cli.commands.options import (
    BatchSize,
    DecodingWorkers,
    Device,
    FinishedRun,
    ImagePaths,
    Json,
    MethodsFrom,
    OwnConfidence,
    Quiet,
    ThresholdOfRun,
)
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from oltr_cli.base.display import Display
    from oltr_cli.inference.groups.rejected import Rejected

SHOWN = 10  # failed files that are named on the screen


def groups(
    run: FinishedRun,
    paths: ImagePaths,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="New folder for sheets and links")] = Path("groups"),
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE.csv", help="Write path,label to this file, to be named, instead of folders of links"
        ),
    ] = None,
    least: Annotated[int, typer.Option("--least", min=2, help="Smallest number of images in a group")] = 5,
    threshold: ThresholdOfRun = None,
    own_confidence: OwnConfidence = False,
    device: Device = None,
    workers: DecodingWorkers = None,
    batch_size: BatchSize = 64,
    quiet: Quiet = False,
    json_: Json = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Group the images that a run rejects by their looks, so that each group can be named and become a class.

    Each group gets a contact sheet, with the known class that is nearest to it, and a folder of symbolic links to its
    images, the most typical first: look at the sheet, remove links that do not belong, and add the class. Images that
    look the same to the network count once. An image that is like too few others is in no group.

    ```
    oltr data groups mine/dme unsorted
    oltr add-class mine/dme "tawny owl" groups/group-01
    oltr data groups mine/dme unsorted --csv groups.csv   one file, whose labels you replace by names
    oltr add-class mine/dme "tawny owl" groups.csv
    ```
    """
    from rich.markup import escape

    from oltr_cli.base.display import Display, SafeConsole
    from oltr_cli.base.text import counted, visible
    from oltr_cli.errors import OltrError
    from oltr_cli.inference.groups.write import as_facts, check_free, write_csv, write_links, write_sheets

    display = Display(quiet)
    out = out.expanduser()
    check_free(out)
    display.starting_torch()
    from oltr_cli.base.machine import default_workers, make_accelerator
    from oltr_cli.inference.groups.rejected import group_rejected
    from oltr_cli.inference.image_paths import image_sources
    from oltr_cli.inference.image_stream import ImageStream
    from oltr_cli.inference.recogniser import Recogniser

    recogniser = Recogniser.load(
        named_run(run, display), make_accelerator(device).device, threshold, not own_confidence
    )
    display.say(f"[dim]{recogniser.run.name}: τ = {recogniser.chosen.shown} ({recogniser.rule})[/]")
    count = default_workers() if workers is None else workers
    with ImageStream(image_sources(paths), recogniser.recipe.data, batch_size, count) as stream:
        found = group_rejected(recogniser, stream, least, display)
    if found.groups:
        write_sheets(out, found.groups)
        if csv is None:
            write_links(out, found.groups)
    if csv is not None and found.rejected:
        write_csv(csv.expanduser(), found.groups, found.alone)
    if json_:
        print_json(
            {
                "run": recogniser.run.name,
                "threshold": recogniser.threshold_facts,
                "groups": [as_facts(group) for group in found.groups],
                "alone": found.alone,
                "images": found.images,
                "known": found.known,
                "copies": found.copies,
                "failed": [{"image": source.path, "error": source.problem} for source in found.failed],
            }
        )
    elif found.groups:
        SafeConsole().print(_table(found))
    for source in found.failed[:SHOWN]:
        display.warn(f"{visible(source.path)}: {visible(source.problem)}")
    if len(found.failed) > SHOWN:
        display.warn(f"and {len(found.failed) - SHOWN:,} more failed; --json lists all")
    _last_words(found, least, f"oltr tune threshold --run {recogniser.run.name}", display)
    if found.groups:
        made = csv if csv is not None else out / found.groups[0].name
        command = shlex.join(["oltr", "add-class", run, "NAME", str(made)])
        display.say(f"[dim]sheets[/] {escape(visible(str(out)))}")
        display.say(f"[dim]next[/]  {escape(command)}{_how(csv is not None)}")
    if found.failed:
        raise OltrError(f"{len(found.failed):,} of {counted(found.images, 'image')} failed")


def _table(found: "Rejected") -> object:
    from rich.table import Table
    from rich.text import Text

    from oltr_cli.inference.groups.write import as_row

    table = Table()
    table.add_column("group", no_wrap=True)
    table.add_column("images", justify="right")
    table.add_column("nearest known class")
    table.add_column("cosine", justify="right")
    for group in found.groups:
        name, images, nearest, cosine = as_row(group)
        table.add_row(name, images, Text(nearest), cosine)
    return table


def _last_words(found: "Rejected", least: int, choose: str, display: "Display") -> None:
    """How many images are where, and why there is no group if there is none."""
    from oltr_cli.base.text import counted

    in_groups = found.rejected - len(found.alone)
    copies = f", {found.copies:,} copies left out" if found.copies else ""
    display.say(
        f"{counted(found.images, 'image')}: {found.known:,} known, {found.rejected:,} unknown{copies}; "
        f"{in_groups:,} of these in {counted(len(found.groups), 'group')}, {len(found.alone):,} alone"
    )
    if found.rejected and not found.groups:
        display.say(f"no group: a group takes {least} images (--least)")
    elif len(found.groups) == 1 and not found.alone:
        display.say("no two groups stand apart, so all are in one, the most typical first")
    elif not found.rejected and found.known:
        display.say(f"no image is rejected; --threshold with a higher τ rejects more, and {choose} chooses one")


def _how(is_csv: bool) -> str:
    return "   [dim](once its labels are names)[/]" if is_csv else ""
