"""``oltr tune search``; ``oltr tune METHOD`` and ``oltr tune PARAM…`` are short for it."""

import shlex
from pathlib import Path
from typing import Annotated

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
    Quiet,
    given_launcher,
)
from oltr_cli.commands.printing import print_json


def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="METHOD|PARAM",
            autocompletion=complete.methods,
            help="What to tune; a method's name alone: all parameters that it declares as tunable",
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", "-m", autocompletion=complete.methods, help="Method to tune; default dme")
    ] = None,
    dataset: Dataset = None,
    recipe: Annotated[str | None, typer.Option(help="Your own recipe file")] = None,
    detector: Annotated[
        str | None, typer.Option(autocompletion=complete.detectors, help="Tune this open-set detector on the method")
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", metavar="KEY=LOW:HIGH[:log]", help="Also KEY=A,B,C for choices; repeatable"),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file with one line per key, such as lambda = '0.001:1:log'"),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="Metric on validation; default open/f_measure, or closed/overall without open images"),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=1, help="Total trials of the study, including earlier ones and other workers'")
    ] = 20,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Start no trial after, e.g., 90s, 30m or 2h; a running one finishes"),
    ] = None,
    prune: Annotated[bool, typer.Option("--prune/--no-prune", help="Stop trials early that fall behind")] = True,
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="Optuna database URL, for workers that do not share a disk")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. train.freeze_backbone=true; repeatable"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search and of every trial")] = 0,
    launcher: LauncherName = None,
    launcher_sets: LauncherSets = None,
    device: Device = None,
    workers: LoadingWorkers = None,
    no_track: NoTrack = False,
    quiet: Quiet = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the study as one JSON object")] = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Search for the best values of a recipe's numbers on validation data; the word `search` may be left out.

    Each trial trains the method from the runs that all trials share, and is judged at its best threshold. The first
    trial has the recipe's own values. Repeat the command to continue after Ctrl-C; run it in a second shell, or on a
    machine that shares the runs folder, to add a worker.

    ```
    oltr tune lambda                  λ of dme on the built-in dataset
    oltr tune lambda --set train.freeze_backbone=true
    oltr tune focal --trials 10       every parameter that focal declares as tunable
    oltr tune lambda margin --range margin=1:30 --objective closed/overall
    oltr tune --method range --range weight=0.001:0.1:log --range epochs=3:8
    oltr tune lambda --launcher local:2               two workers on this machine
    oltr tune energy --method dme     a detector's parameters, on a finished run
    ```
    """
    from rich.markup import escape

    from oltr_cli.base.display import Display, SafeConsole
    from oltr_cli.errors import UsageProblem
    from oltr_cli.tuning.request import Request, method_and_params, seconds

    if dataset and recipe:
        raise UsageProblem("--dataset and --recipe both name a recipe; give one of them")
    jobs = given_launcher(launcher, launcher_sets, True, "", workers=True)
    tuned, params = method_and_params(words or [], method, detector)
    request = Request(
        method=tuned,
        recipe=recipe or dataset or "glyphs-lt",
        sets=sets or [],
        seed=seed,
        params=params,
        ranges=tuple(ranges or ()),
        space_file=space,
        objective=objective,
        prune=prune,
        total=trials,
        timeout=None if timeout is None else seconds(timeout),
        database=storage,
        device=device,
        workers=workers,
        track=not no_track,
    )
    from oltr_cli.base.secrets import without_secrets
    from oltr_cli.tuning.search import search as run_search
    from oltr_cli.tuning.summary import next_commands, summarise, tables

    display = Display(quiet)
    failed: dict[str, str] = {}
    if jobs is None:
        study = run_search(request, display)
    else:
        from oltr_cli.base.added_files import given_files
        from oltr_cli.tuning.jobs import search_by_jobs

        option = f"--recipe {shlex.quote(recipe)}" if recipe else f"--dataset {shlex.quote(request.recipe)}"
        study, failed = search_by_jobs(request, jobs, option + given_files(), display)
    if json_:
        print_json(summarise(study))
    else:
        console = SafeConsole()
        console.print(tables(study, console.width), crop=False)
    display.say(f"[dim]study[/] {escape(str(study.path))}")
    shown = f"oltr tune show {shlex.quote(study.name)}"
    if storage:
        shown += f" --storage {shlex.quote(without_secrets(storage))}"
    for number, line in enumerate([*next_commands(study), shown]):
        display.say(f"[dim]{'     ' if number else 'next '}[/] {escape(line)}")
    for name, reason in failed.items():
        display.warn(f"failed: {name}: {reason}")
    if failed:
        raise typer.Exit(1)
