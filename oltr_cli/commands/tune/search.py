"""``oltr tune search``, which ``oltr tune METHOD`` and ``oltr tune PARAM…`` stand for."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands.options import Dataset, Device, LoadingWorkers, MethodsFrom, NoTrack, Quiet
from oltr_cli.commands.printing import print_json


def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="METHOD|PARAM", help="What to tune; a method alone: all that it states"),
    ] = None,
    method: Annotated[str | None, typer.Option("--method", "-m", help="Method to tune; default dme")] = None,
    dataset: Dataset = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe file of your own")] = None,
    detector: Annotated[str | None, typer.Option(help="Tune this open-set detector on the method")] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", metavar="KEY=LOW:HIGH[:log]", help="Also KEY=A,B,C for choices; repeatable"),
    ] = None,
    space: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML with a line a key, such as lambda = '0.001:1:log'")
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="Metric on validation; default open/f_measure, or closed/overall without open images"),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials of the study, earlier ones and others' included")] = 20,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Begin no trial after 90s, 30m or 2h; a running one ends")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune/--no-prune", help="Cut trials short that fall behind")] = True,
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="Database for workers without a common disk, as Optuna takes it")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override, e.g. train.freeze_backbone=true; repeatable"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search and of every trial")] = 0,
    device: Device = None,
    workers: LoadingWorkers = None,
    no_track: NoTrack = False,
    quiet: Quiet = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the study as one JSON object")] = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Search for the best values of a recipe's numbers, on validation data; `search` may be left out.

    Each trial trains the method from the runs that all trials share, and takes the best threshold there is for it.
    The first has the recipe's own values. Ctrl-C and the same command go on; the same command in a second shell, or
    on a machine that shares the runs folder, helps.

    ```
    oltr tune lambda                  λ of dme on the built-in set
    oltr tune lambda --set train.freeze_backbone=true
    oltr tune focal --trials 10       all that focal states
    oltr tune lambda margin --range margin=1:30 --objective closed/overall
    oltr tune --method range --range weight=0.001:0.1:log --range epochs=3:8
    oltr tune energy --method dme     a detector's own, on a finished run
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.errors import UsageProblem
    from oltr_cli.tuning.request import Request, method_and_params, seconds

    if dataset and recipe:
        raise UsageProblem("--dataset and --recipe both name a recipe; give one of them")
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
    study = run_search(request, display)
    if json_:
        print_json(summarise(study))
    else:
        from oltr_cli.base.display import make_console

        console = make_console()
        console.print(tables(study, console.width), crop=False)
    display.say(f"[dim]study[/] {study.path}")
    shown = f"oltr tune show {shlex.quote(study.name)}"
    if storage:
        shown += f" --storage {shlex.quote(without_secrets(storage))}"
    for number, line in enumerate([*next_commands(study), shown]):
        display.say(f"[dim]{'     ' if number else 'next '}[/] {line}")
