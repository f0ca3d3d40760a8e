"""``oltr add-class RUN NAME IMAGES…``."""

import shlex
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
    NoTrack,
    Quiet,
)
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from rich.table import Table

    from oltr_cli.runs.result import AddedClassFacts, RunResult


def add_class(
    run: FinishedRun,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new class")],
    images: ImagePaths,
    device: Device = None,
    workers: DecodingWorkers = None,
    batch_size: BatchSize = 64,
    no_track: NoTrack = False,
    quiet: Quiet = False,
    json_: Json = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Add a class to a finished run from a few images of it, without training: a new run that starts from it.

    The class gets a mean, a centroid or a row of the classifier from the images' features, as its method has it. τ is
    chosen again by the run's rule, and the detector that oltr tune detector chose is fitted again. The run itself
    stays as it is. Five images are a good start; the new class is judged with each image left out once (from eleven
    images on, by ten parts).

    ```
    oltr add-class mine/dme "tawny owl" owls/
    oltr predict mine/dme@latest photographs/
    oltr add-class mine/dme@latest badger b1.jpg b2.jpg b3.jpg   another one, on the run with the first
    ```
    """
    from rich.markup import escape

    from oltr_cli.base.added_files import given_files
    from oltr_cli.base.display import Display, SafeConsole

    display = Display(quiet)
    display.starting_torch()
    from oltr_cli.base.machine import default_workers, make_accelerator
    from oltr_cli.inference.recogniser import Recogniser
    from oltr_cli.pipeline.adding.make import make_with_class
    from oltr_cli.pipeline.adding.on_top import check_refits, make_on_top
    from oltr_cli.pipeline.adding.request import request

    accelerator = make_accelerator(device)
    named = Recogniser.load(named_run(run, display), accelerator.device)
    before = named
    if named.run != named.base:
        check_refits(named)
        before = Recogniser.load(named.base.path, accelerator.device)
    asked = request(before, name, images)
    if asked.problem:
        display.say(f"[dim]not compared with the run's training images: {escape(asked.problem)}[/]")
    count = default_workers() if workers is None else workers
    result = make_with_class(asked, accelerator, display, batch_size=batch_size, workers=count, track=not no_track)
    if named.run != named.base:
        result = make_on_top(named, asked.run, accelerator, display, workers=count, track=not no_track)
    assert result.added_class is not None
    if json_:
        print_json({"run": result.run, "starts_from": result.starts_from, **result.added_class.as_json()})
    else:
        SafeConsole().print(_table(result, result.added_class))
    for line in [*_said(result.added_class), *_thresholds(result)]:
        display.say(escape(line))
    display.say(f"[dim]next[/]  {escape(shlex.join(['oltr', 'predict', result.run]) + ' PATH' + given_files())}")


def _table(result: "RunResult", facts: "AddedClassFacts") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from oltr_cli.base.display import percent

    table = Table(title=Text(result.run), title_justify="left", title_style="bold")
    table.add_column("accuracy", no_wrap=True)
    for head in ("before", "after"):
        table.add_column(head, justify="right")
    classes = len(result.class_counts) - 1
    table.add_row(f"{classes:,} old classes, test", percent(facts.old_before), percent(facts.old_after))
    table.add_row(f"{classes:,} old classes, validation", percent(facts.old_val_before), percent(facts.old_val_after))
    table.add_row(Text(f"{facts.name}, {_judged(facts)}"), "–", percent(facts.new_after))
    table.add_row(Text(f"{facts.name}, accepted at τ"), percent(facts.new_accepted_before), percent(facts.new_accepted))
    table.add_row(Text(f"{facts.name}, accepted and right"), "–", percent(facts.new_recognised))
    return table


def _judged(facts: "AddedClassFacts") -> str:
    if not facts.folds:
        return "1 image"
    if facts.folds == facts.images:
        return f"{facts.images} images, each left out once"
    return f"{facts.images} images, {facts.folds} parts left out in turn"


def _said(facts: "AddedClassFacts") -> list[str]:
    """How the class was made, and what the figures cannot say."""
    lines = [
        "the class's entries are exact: what the method's own preparation computes of these images"
        if facts.shift is None
        else f"imprinted: mean of the images' features less {facts.shift:.2f} times that of all classes"
    ]
    if not facts.folds:
        lines.append("one image alone cannot be left out, so the new class is not judged; give five or more")
    elif facts.images < 5:
        lines.append(f"{facts.images} images say little of the new class's accuracy; five or more say more")
    on = {"validation": facts.old_val_before - facts.old_val_after, "test": facts.old_before - facts.old_after}
    if costly := [split for split, lost in on.items() if lost > 0.01 + 1e-9]:
        lines.append(
            f"the new class costs the old ones more than a point of {' and '.join(costly)} accuracy: its images look "
            "like theirs; fewer such images, or training with the class, cost less"
        )
    if facts.new_after is not None and facts.new_after < 0.5:
        lines.append(
            "less than half of the new images are recognised; more images help, and so does a run on a pre-trained "
            "network (docs/next-round.md)"
        )
    return lines


def _thresholds(result: "RunResult") -> list[str]:
    """τ as it is now, of the run's own confidence and of the detector that was chosen for it."""
    from oltr_cli.protocol.saved_thresholds import default_threshold
    from oltr_cli.runs.choices import read_chosen_detector
    from oltr_cli.runs.folder import runs_root

    folder = runs_root() / result.run
    own = default_threshold(folder, result)
    lines = [f"τ = {own.shown} ({own.text})"]
    if (chosen := read_chosen_detector(folder)) is not None:
        tau = chosen.default_threshold
        lines.append(f"{chosen.name}, chosen for the run of before, is fitted again: τ = {tau.shown} ({tau.text})")
        lines.append(f"oltr predict accepts by {chosen.name}; the table has what the run's own confidence accepts")
    return lines
