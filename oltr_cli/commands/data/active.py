"""``oltr data active RUN PATH… --budget N``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from oltr_cli.commands.named_run import named_model
from oltr_cli.commands.options import (
    BatchSize,
    DecodingWorkers,
    Device,
    FinishedRun,
    Json,
    MethodsFrom,
    OwnConfidence,
    Quiet,
    ThresholdOfRun,
)
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from oltr_cli.base.display import Display
    from oltr_cli.inference.active.choose import Chosen
    from oltr_cli.recipe.data import DataSpec

SHOWN = 10  # failed files that are named on the screen


def active(
    run: FinishedRun,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="FOLDER…", help="Unlabelled images: folders (searched recursively), files, patterns"),
    ],
    budget: Annotated[int, typer.Option("--budget", "-n", min=1, help="Number of images to choose for labelling")],
    by: Annotated[
        Literal["reachability", "confidence"] | None,
        typer.Option(
            metavar="reachability|confidence",
            help="What to rank by: largest distance to the nearest class centroid (reachability, dme only), or lowest "
            "confidence; default the confidence, unless reachability is better on the run's validation images",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the paths to this file, one per line, least known first")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--contact-sheet", metavar="FILE.png", help="Save a picture of the first 100 chosen images"),
    ] = None,
    threshold: ThresholdOfRun = None,
    own_confidence: OwnConfidence = False,
    format_: Annotated[
        Literal["table", "csv"] | None, typer.Option("--format", "-f", metavar="table|csv", help="Default table")
    ] = None,
    device: Device = None,
    workers: DecodingWorkers = None,
    batch_size: BatchSize = 64,
    quiet: Quiet = False,
    json_: Json = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Choose which unlabelled images to label next: those that the run knows least, without near-duplicates.

    Copies, near-duplicates, and the run's own training images are left out. The rest is grouped by what it looks like
    to the network, and the groups take turns, so that images of one kind do not fill the choice.

    The first line says how well the score tells open from known validation images (AUROC, 95 % interval), and a warning
    if that is chance or not known. If oltr tune detector chose a detector for the run, the confidence is that
    detector's; --own-confidence takes the run's own. --threshold is for the suggested labels, as in oltr predict. An
    image that cannot be read is reported, and the exit code is then 1.

    ```
    oltr data active mine/dme unsorted --budget 50 --contact-sheet next.png
    oltr data active mine/dme unsorted --budget 200 --out next.txt
    oltr data active mine/dme camera1 camera2 --budget 50 --by confidence --format csv
    ```
    """
    from rich.markup import escape

    from oltr_cli.base.display import Display
    from oltr_cli.errors import OltrError, UsageProblem

    if json_ and format_:
        raise UsageProblem(f"--json prints one object, --format {format_} one row per image; give one of them")
    display = Display(quiet)
    folder = named_model(run, display)  # a misspelt name is told before torch starts
    display.starting_torch()
    from oltr_cli.base.machine import default_workers, make_accelerator
    from oltr_cli.base.text import counted, visible
    from oltr_cli.inference.active.choose import choose
    from oltr_cli.inference.active.formats import as_csv, as_facts, as_table, fill_sheet, write_paths
    from oltr_cli.inference.active.measure import choose_measure
    from oltr_cli.inference.image_paths import image_sources
    from oltr_cli.inference.image_stream import ImageStream
    from oltr_cli.inference.recogniser import Recogniser
    from oltr_cli.inference.sheet import Sheet

    tiles = Sheet(sheet) if sheet else None
    recogniser = Recogniser.load(folder, make_accelerator(device).device, threshold, not own_confidence)
    measure = choose_measure(recogniser, by)
    display.say(f"[dim]{recogniser.run.name}: {escape(measure.text)}[/]")
    if measure.doubt:
        display.warn(measure.doubt)
    count = default_workers() if workers is None else workers
    with ImageStream(image_sources(paths), recogniser.recipe.data, batch_size, count) as stream:
        chosen = choose(recogniser, stream, budget, measure, display)
    if out is not None:
        write_paths(out.expanduser(), chosen)
        display.say(f"[dim]list[/]  {escape(visible(str(out)))}")
    if tiles is not None:
        fill_sheet(tiles, recogniser, chosen)
        title = f"{recogniser.run.name}: what to label next, by {measure.name}"
        display.say(f"[dim]sheet[/] {escape(tiles.save(title, len(chosen.rows)))}")
    if hasattr(sys.stdout, "reconfigure"):
        # Names that are not UTF-8 are written as the bytes that they have on the disk.
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    if json_:
        print_json(as_facts(recogniser, chosen, budget))
    else:
        for line in (as_csv if format_ == "csv" else as_table)(recogniser, chosen):
            print(line)
    _last_words(chosen, budget, recogniser.recipe.data, display)
    if chosen.failed:
        raise OltrError(f"{len(chosen.failed):,} of {counted(chosen.counts.images, 'image')} failed")


def _last_words(chosen: "Chosen", budget: int, data: "DataSpec", display: "Display") -> None:
    """Report what was left out and why, which files failed, and what to do next."""
    from rich.markup import escape

    from oltr_cli.base.text import counted, visible

    counts = chosen.counts
    left_out = [
        (counts.copies, "copies"),
        (counts.similar, "near-duplicates"),
        (counts.crowded, "of a group that had its turns"),
        (counts.training, "training images"),
        (counts.failed, "that failed"),
    ]
    said = ", ".join(f"{count:,} {what}" for count, what in left_out if count)
    groups = f", from {counted(chosen.group_count, 'group')} of images that look alike" if len(chosen.rows) else ""
    left = f"; left out: {said}" if said else ""
    display.say(f"{len(chosen.rows):,} of {counted(counts.images, 'image')}{groups}{left}")
    if not len(chosen.rows):
        display.say("no images are left to choose from")
    elif len(chosen.rows) < budget:
        display.say(f"fewer than the {budget:,} requested: all others are near-duplicates or were left out")
    if len(chosen.rows) and not chosen.training_known:
        display.say(
            "the run's training images cannot be read, so any among these images were not left out: "
            f"{escape(visible(chosen.training_problem))}"
        )
    for source in chosen.failed[:SHOWN]:
        display.warn(f"{visible(source.path)}: {visible(source.problem)}")
    if len(chosen.failed) > SHOWN:
        display.warn(f"and {len(chosen.failed) - SHOWN:,} more failed; --json lists all")
    if len(chosen.rows):
        display.say(f"[dim]next[/]  {escape(visible(_next(data)))}")


def _next(data: "DataSpec") -> str:
    """Add the chosen images to the training images: training on them alone would forget everything else."""
    if data.lists_digest is not None:  # set by oltr data build
        return (
            f"sort them into the class folders or the CSV that '{data.name}' was built from (below {data.root}), "
            "and repeat its oltr data build command with --force"
        )
    return (
        f"sort them into class folders next to the training images of '{data.name}', and build a dataset of all: "
        "oltr data build --images FOLDER --as-is --out NAME"
    )
