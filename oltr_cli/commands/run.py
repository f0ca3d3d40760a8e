"""``oltr run METHOD``."""

import json
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oltr_cli.commands import complete
from oltr_cli.commands.options import (
    Dataset,
    Device,
    LauncherName,
    LauncherSets,
    LoadingWorkers,
    MethodsFrom,
    NoTrack,
    Probe,
    Quiet,
    Rate,
    given_launcher,
)
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from oltr_cli.base.display import Display
    from oltr_cli.planning.plan import Planned
    from oltr_cli.runs.result import DetectorFacts, RunResult


def run(
    method: Annotated[
        str,
        typer.Argument(autocompletion=complete.methods, help="Method to run, for example dme; see: oltr ls methods"),
    ],
    dataset: Dataset = None,
    recipe: Annotated[str | None, typer.Option(help="Your own recipe file; create one with: oltr cp")] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete.detectors, help="Add this open-set detector to the method: openmax, energy, odin, …"
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a key, e.g. train.epochs=3, params.lambda=0.1; repeatable"
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|torchvision|hub", help="Pre-trained backbone: a file, or download torchvision's or timm's"
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN", help="Start from the weights of this finished run, e.g. mine/dme@latest"),
    ] = None,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="Train the method from nothing with the recipe's [stage1], without plain"),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and augmentation")] = 0,
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="A run for each of N seeds, from --seed on (default 0)")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD", autocompletion=complete.methods, help="Stop after this run of the chain, such as plain"
        ),
    ] = None,
    no_wait: Annotated[
        bool,
        typer.Option("--no-wait", help="End with exit code 75 if another process is working on a run of the chain"),
    ] = False,
    launcher: LauncherName = None,
    launcher_sets: LauncherSets = None,
    device: Device = None,
    workers: LoadingWorkers = None,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Train backbones compiled by torch.compile; slow to start, faster steps")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would run, with --rate or --probe also what it costs; write nothing"),
    ] = False,
    rate: Rate = None,
    probe: Probe = False,
    no_track: NoTrack = False,
    quiet: Quiet = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object")] = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Train and evaluate a method, after the runs it starts from.

    A finished run prints its result; an interrupted one resumes where it stopped; a failed one is tried again.

    ```
    oltr run dme                                   the paper's method on the built-in dataset
    oltr run dme --dataset tiny-imagenet-lt        on photographs in $OLTR_DATA
    oltr run dme --dry-run --probe                 steps, images, disk and time, from 20 steps here
    oltr run dme --set params.lambda=0.1 --seed 1  another λ, another seed
    oltr run dme --seeds 3                         seeds 0, 1 and 2, with mean and standard deviation
    oltr run dme --set plain.train.epochs=3        a key of the run it starts from
    oltr run dme --detector energy                 with an open-set detector; trains dme first if needed
    oltr run openmax --set detector.fit=libmr      the paper's row: Range loss + OpenMax
    oltr run ldam-drw --from-scratch               not from plain: as its paper trains it
    oltr run mine --methods-from mine.py           your own method, in one file
    oltr run dme --dataset NAME --from NAME/dme    after adding images or classes: from the weights of that run
    ```
    """
    from oltr_cli.base.added_files import given_files
    from oltr_cli.base.display import Display
    from oltr_cli.base.machine import is_main_process
    from oltr_cli.commands.dry_run import check_options, show_graph, show_plan
    from oltr_cli.errors import UsageProblem
    from oltr_cli.pipeline.make import make_runs
    from oltr_cli.planning.plan import check_words

    check_options(dry_run, rate, probe)
    if dataset and recipe:
        raise UsageProblem("--dataset and --recipe both name a recipe; give one of them")
    jobs = given_launcher(launcher, launcher_sets, seeds is not None, "--seeds N")
    source = recipe or dataset or "glyphs-lt"
    display = Display(quiet)
    if detector is not None:
        method = f"{method}+{detector}"
    if weights is not None:
        sets = [*(sets or []), f"backbone.weights={json.dumps(weights, ensure_ascii=False)}"]
    if from_scratch:
        sets = [*(sets or []), "train.from_scratch=true"]
    check_words(method, source, sets or [])
    planned = _plan(method, source, sets or [], seed, from_, display)
    if until is not None:
        from oltr_cli.planning.graph import until as up_to

        planned = up_to(planned, until)
    if seeds is not None:
        if no_wait or until is not None:
            raise UsageProblem("--seeds does not go with --until or --no-wait; leave one of them out")
        from oltr_cli.commands.run_seeds import run_seeds
        from oltr_cli.pipeline.working import How
        from oltr_cli.planning.graph import Wanted, build_graph

        how = How(device, workers, not no_track, compile_)
        option = f"--recipe {shlex.quote(recipe)}" if recipe else f"--dataset {shlex.quote(source)}"
        start = planned[0].parent  # of --from
        wanted = [
            Wanted(f"{method}, seed {each}", method, source, option + given_files(), tuple(sets or ()), each, start)
            for each in range(seed, seed + seeds)
        ]
        if dry_run:
            cost = {"rate": rate, "probe": probe, "device": device, "workers": workers}
            show_graph(build_graph(wanted), display, as_json=json_, **cost)
            return
        run_seeds(wanted, how, jobs, display, json_)
        return
    if dry_run:
        show_plan(planned, json_, display, rate=rate, probe=probe, device=device, workers=workers)
        return
    was_there = planned[-1].run.result() is not None
    machine: dict[str, Any] = {"device": device, "workers": workers, "compiled": compile_, "waits": not no_wait}
    result = make_runs(planned, **machine, track=not no_track, display=display)
    if not is_main_process():
        return
    if json_:
        print_json(result.as_json())
        return
    from oltr_cli.base.display import SafeConsole
    from oltr_cli.protocol.evaluate import evaluation_of
    from oltr_cli.protocol.screen import table

    console = SafeConsole()
    console.print(table(evaluation_of(planned[-1].run.path, result)))
    if result.detector:
        console.print(_detector(result.detector), soft_wrap=True)
    if result.other_thresholds:
        console.print(_other_thresholds(result), soft_wrap=True)
    option = f"--recipe {shlex.quote(recipe)}" if recipe else f"--dataset {shlex.quote(result.dataset)}"
    _next_steps(result, planned, display, was_there, option + given_files())


def _plan(
    method: str, source: str, sets: list[str], seed: int, from_: str | None, display: "Display"
) -> "list[Planned]":
    """What to run; with ``--from`` a run that already starts from another one in this way is only shown."""
    from oltr_cli.errors import UsageProblem
    from oltr_cli.inference.hub_format import refuse_hub_folder
    from oltr_cli.planning.plan import plan
    from oltr_cli.planning.which_run import parent_of, resolve_run
    from oltr_cli.runs.folder import run_from_path

    if from_ is None:
        return plan(method, source, sets, seed)
    refuse_hub_folder(from_)
    start = run_from_path(resolve_run(from_, display.say).resolve())
    if start is None:
        raise UsageProblem(f"--from {from_}: not a run's folder (runs/DATASET/METHOD/HASH-sSEED)")
    before = parent_of(start)
    if before is not None and before.method == start.method and start.seed == seed:
        again = plan(method, source, sets, seed, before)
        if start in (p.run for p in again):  # the same command again, where RUN means the newest run
            return again
    return plan(method, source, sets, seed, start)


def _other_thresholds(result: "RunResult") -> str:
    """The F-measure at thresholds chosen on validation data."""
    shown = [
        f"{f_measure:.3f} at {rule} (τ = {other.value:.3g})"
        for rule, other in result.other_thresholds.items()
        if (f_measure := other.metrics.get("open/f_measure")) is not None
    ]
    return f"F-measure with τ chosen on validation: {', '.join(shown)}" if shown else ""


def _detector(facts: "DetectorFacts") -> str:
    """A detector's parameters and what it reports about its fit."""
    shown = ", ".join(f"{key} {value}" for key, value in {**facts.params, **facts.report}.items())
    tuned = "; † its parameters were chosen on open validation samples" if facts.tuned_on_open else ""
    return f"[dim]{facts.name}: {shown or 'no parameters'}{tuned}[/]"


def _next_steps(
    result: "RunResult", planned: "list[Planned]", display: "Display", was_there: bool, option: str
) -> None:
    from rich.markup import escape

    from oltr_cli.base.added_files import given_files
    from oltr_cli.base.text import counted
    from oltr_cli.commands.next_steps import compare_command, tune_threshold_command

    dataset, path = result.dataset, planned[-1].run.path
    has_open_val = planned[-1].run.scores("open_val").exists()
    if result.undecodable:
        shown = ", ".join(result.undecodable[:3])
        images = counted(len(result.undecodable), "training image")
        display.warn(f"{images} could not be decoded and were replaced by others of their class: {shown}")
    display.say(f"\n[dim]run[/]   {escape(str(path))}{'  [dim](was already finished)[/]' if was_there else ''}")
    display.say(f"[dim]plots[/] {escape(str(path / 'plots'))}")
    following = compare_command(dataset, option, result.metrics)
    if planned[-1].link.recipe.data.lists_digest is not None:  # photographs of the user's own, by oltr data build
        following = f"{shlex.join(['oltr', 'predict', f'{dataset}/{result.method}'])} IMAGES{given_files()}"
    display.say(f"[dim]next[/]  {escape(following)}")
    if planned[-1].run.scores("val").exists():
        command = tune_threshold_command(dataset, result.method, has_open_val=has_open_val)
        display.say(f"      {escape(command)}")
