"""``oltr predict RUN PATH…``."""

import shlex
import signal
import sys
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oltr_cli.commands.named_run import named_model
from oltr_cli.commands.options import (
    BatchSize,
    ClassWeight,
    Coverage,
    DecodingWorkers,
    Device,
    FinishedRun,
    ImagePaths,
    MethodsFrom,
    OwnConfidence,
    Padded,
    Quiet,
    SetScore,
    Taxonomy,
    TaxonProbability,
    ThresholdOfRun,
    set_rule,
)
from oltr_cli.commands.row_output import RowOutput

if TYPE_CHECKING:
    from oltr_cli.base.display import Display
    from oltr_cli.inference.recogniser import Recogniser
    from oltr_cli.inference.verdicts import Totals

_FORMATS = ("table", "csv", "jsonl", "megadetector", "coco", "camtrap-dp")
_CAMTRAP = "--format camtrap-dp"


def predict(
    run: FinishedRun,
    paths: ImagePaths,
    threshold: ThresholdOfRun = None,
    own_confidence: OwnConfidence = False,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Number of most likely classes to show")] = 1,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="|".join(_FORMATS),
            help="Default table; rows are printed as they are ready. The last three are formats of camera traps",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The package to write, a new folder", rich_help_panel=_CAMTRAP),
    ] = None,
    package: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Your project's datapackage.json, deployments.csv, or both: what the package takes over",
            rich_help_panel=_CAMTRAP,
        ),
    ] = None,
    utc_offset: Annotated[
        str,
        typer.Option(
            metavar="+HH:MM",
            help="The cameras' offset from UTC, where neither EXIF nor deployments.csv has it",
            rich_help_panel=_CAMTRAP,
        ),
    ] = "",
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Show nearest centroids, reachability, and the classes that the memory infused (dme)"
        ),
    ] = False,
    coverage: Coverage = None,
    set_score: SetScore = None,
    class_weight: ClassWeight = None,
    taxonomy: Taxonomy = None,
    at_least: TaxonProbability = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--contact-sheet", metavar="FILE.png", help="Save a picture of the first 100 images with their labels"
        ),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths on stdin are separated by NUL, as find -print0 writes them")
    ] = False,
    device: Device = None,
    workers: DecodingWorkers = None,
    batch_size: BatchSize = 64,
    padded: Padded = False,
    quiet: Quiet = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object with all rows")] = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Predict the class of images, or "unknown" if they belong to none of the classes.

    Prints one row per image, in order. An image that cannot be read gets a row with its error, and the exit code is
    then 1. The dataset that the run was trained on is not needed. Without --threshold, τ is the one that
    oltr tune threshold chose for the run, otherwise the run's own. If oltr tune detector chose a detector for the run,
    confidence and τ are that detector's; --own-confidence takes the run's own.

    With --coverage each image has a set of classes, also if it is unknown: what it may be if that verdict is wrong. The
    share holds for images of the classes that are like the validation images; a set may be empty or hold all classes.

    ```
    oltr predict glyphs-lt/dme photo.jpg shots/          a file and a folder
    oltr predict glyphs-lt/dme 'shots/**/*.png' -k 3     a pattern, three classes
    oltr predict glyphs-lt/dme shots/ -f csv > shots.csv
    find . -name '*.jpg' | oltr predict glyphs-lt/dme -  a list on stdin
    oltr predict glyphs-lt/dme shots/ --explain --contact-sheet sheet.png
    oltr predict glyphs-lt/dme shots/ --coverage 0.9     sets that hold the true class
    oltr predict mine/dme shots/ --taxonomy birds.csv    "some owl" if the species is unsure
    oltr predict mine/dme shots/ -f megadetector > results.json
    oltr predict mine/dme shots/ -f camtrap-dp --out shots-dp --package project
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.errors import UsageProblem, nearest

    display = Display(quiet)
    name = format_ or "table"
    if json_ and format_:
        raise UsageProblem(f"--json prints one object, --format {name} one row per image; give one of them")
    if name not in _FORMATS:
        raise UsageProblem(f"no format '{name}'{nearest(name, _FORMATS)}")
    if explain and name in _FORMATS[3:]:
        raise UsageProblem(f"--format {name} has no place for --explain; csv, jsonl and --json have")
    if name == "camtrap-dp":
        if out is None:
            raise UsageProblem("--format camtrap-dp writes a folder; name it: --out FOLDER")
        if top_k > 1:
            raise UsageProblem("--format camtrap-dp has one class an image; leave out --top-k")
    elif out or package or utc_offset:
        raise UsageProblem("--out, --package and --utc-offset are for --format camtrap-dp")
    if null and "-" not in paths:
        raise UsageProblem("--null is for paths on stdin; add - to read them")
    if paths.count("-") > 1:
        raise UsageProblem("- is given twice, but stdin can be read only once")
    rule = set_rule(coverage, set_score, class_weight)
    if (rule or taxonomy) and name in _FORMATS[3:]:
        raise UsageProblem(f"--format {name} has no place for --coverage and --taxonomy; csv, jsonl and --json have")
    folder = named_model(run, display)  # a misspelt name is told before torch starts
    display.starting_torch()
    from rich.markup import escape

    from oltr_cli.base.machine import default_workers, make_accelerator
    from oltr_cli.base.signals import Interrupted, interrupted_by_all
    from oltr_cli.base.text import counted
    from oltr_cli.inference.formats.camtrap_dp import CamtrapPackage
    from oltr_cli.inference.formats.camtrap_project import Project, offset
    from oltr_cli.inference.formats.rows import Lines, Whole
    from oltr_cli.inference.formats.streams import STREAMS
    from oltr_cli.inference.image_paths import image_sources
    from oltr_cli.inference.image_stream import ImageStream
    from oltr_cli.inference.lanes import lanes
    from oltr_cli.inference.recogniser import Recogniser
    from oltr_cli.inference.sheet import Sheet
    from oltr_cli.inference.verdicts import Totals, check_explains, judge
    from oltr_cli.inference.wider import WiderAnswers

    tiles = Sheet(sheet) if sheet else None
    project = Project.read(package.expanduser()) if package else Project()
    zone = offset(utc_offset) if utc_offset else None
    recogniser = Recogniser.load(folder, make_accelerator(device).device, threshold, not own_confidence)
    if explain:
        check_explains(recogniser)
    wider = WiderAnswers.of(recogniser, rule, taxonomy, at_least)
    written: Lines
    if out is not None:
        written = CamtrapPackage(recogniser, out.expanduser(), project, zone)
    else:
        written = (Whole if json_ else STREAMS[name])(recogniser, top_k, explain, wider)
    of_detector = f", confidence of {recogniser.detector.name}" if recogniser.detector else ""
    display.say(f"[dim]{recogniser.run.name}: τ = {recogniser.chosen.shown} ({recogniser.rule}){of_detector}[/]")
    if recogniser.chosen.pooled:
        display.say(f"[dim]{recogniser.chosen.pooled.text}[/]")
    for line in wider.texts if wider else ():
        display.say(f"[dim]{escape(line)}[/]")
    if "-" in paths and sys.stdin.isatty():
        display.say("[dim]type one path per line; Ctrl-D ends the list[/]")
    found = image_sources(paths, separator=b"\0" if null else b"\n")
    count = default_workers() if workers is None else workers
    judging = partial(
        judge, recogniser, top_k=top_k, explain=explain, wider=wider, padded=batch_size if padded else None
    )
    totals = Totals()
    shown = RowOutput(display, sys.stdout)
    try:
        with ExitStack() as stack:
            stack.enter_context(interrupted_by_all())
            stream = stack.enter_context(ImageStream(found, recogniser.recipe.data, batch_size, count))
            at_once = stack.enter_context(lanes(recogniser.device)) if count else 0
            bar = stack.enter_context(display.bar("predicting", 0))
            shown.write(written.start())
            complete = False
            try:
                for rows, batch in stream.through(judging, at_once):
                    totals.add(rows)
                    shown.write(written.rows(rows))
                    if tiles is not None:
                        tiles.add(rows, batch)
                    bar.advance(len(rows))
                    bar.reached(totals.images, stream.found)
                complete = True
            finally:
                shown.write(written.end(totals, complete))
    except KeyboardInterrupt as stop:
        left = f"; the {name} output is not complete" if name in _FORMATS[3:] else ""
        with suppress(OSError):  # the terminal is gone
            display.say(f"stopped after {counted(totals.images, 'image')}{left}")
        number = stop.signal_number if isinstance(stop, Interrupted) else signal.SIGINT
        raise typer.Exit(128 + number) from None
    except BrokenPipeError:
        shown.abandon()
        raise typer.Exit(141) from None
    if tiles is not None:
        tau = f"{recogniser.threshold:.3g}" if recogniser.chosen.by_class is None else recogniser.chosen.shown
        title = f"{recogniser.run.name}, τ = {tau}"
        display.say(f"[dim]sheet[/] {escape(tiles.save(title, totals.images))}")
    if isinstance(written, CamtrapPackage):
        display.say(f"wrote {escape(str(written.folder))}")
        for message in written.messages():
            display.warn(message)
    _last_words(recogniser, run, totals, display, may_tune=threshold is None)


def _last_words(recogniser: "Recogniser", run: str, totals: "Totals", display: "Display", may_tune: bool) -> None:
    """Report how many were known, the next command, and finally how many failed."""
    from rich.markup import escape

    from oltr_cli.base.added_files import given_files
    from oltr_cli.base.text import counted
    from oltr_cli.commands.next_steps import tune_run_command
    from oltr_cli.errors import OltrError

    if not totals.images:
        display.warn("the list on stdin is empty")
    display.say(
        f"{counted(totals.images, 'image')}: {totals.known:,} known, {totals.unknown:,} unknown, "
        f"{totals.failed:,} failed"
    )
    can_tune = all(recogniser.run.scores(split).exists() for split in ("val", "open_val"))
    if may_tune and can_tune and not recogniser.rule.startswith("tuned"):
        command = tune_run_command(run, has_open_val=True)
    else:
        command = shlex.join(["oltr", "export", run, "--to", "onnx"]) + given_files()
    display.say(f"[dim]next[/]  {escape(command)}")
    if totals.failed:
        raise OltrError(f"{totals.failed:,} of {counted(totals.images, 'image')} failed; see the errors in their rows")
