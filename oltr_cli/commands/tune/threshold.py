"""``oltr tune threshold``."""

from typing import TYPE_CHECKING, Annotated

import typer

from oltr_cli.commands import complete
from oltr_cli.commands.named_run import named_run
from oltr_cli.commands.options import DatasetOfRuns, Json, MethodOfRuns, MethodsFrom
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from oltr_cli.base.display import Display
    from oltr_cli.runs.folder import Run
    from oltr_cli.tuning.threshold import Tuned


def threshold(
    dataset: DatasetOfRuns = None,
    method: MethodOfRuns = None,
    run: Annotated[
        str | None, typer.Option(help="Only this run: its folder, its name, or a part of its name that is unique")
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            "-t",
            autocompletion=complete.tables,
            help="All runs that this table of the paper shows, by default on its own dataset",
        ),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="With --table: the recipe file whose runs it shows")] = None,
    rule: Annotated[
        str,
        typer.Option(
            help="val_open (best F-measure on validation), or accept a share Q of the known: id_quantile:Q; "
            "group_quantile:Q, class_quantile:Q: of each shot group or class, with a τ for each"
        ),
    ] = "val_open",
    trials: Annotated[int, typer.Option(min=1, help="Total trials of the Optuna study, including earlier calls")] = 50,
    json_: Json = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Choose the rejection threshold τ of finished runs from their saved validation scores; nothing is trained.

    The exact optimum is saved in the run's folder. From then on every command uses it for this run, and the run's plots
    are redrawn; `--threshold own` uses the run's own rule. An Optuna study on the same objective is saved next to it.
    If oltr tune detector chose a detector for the run, τ of that detector's confidence is chosen as well.

    ```
    oltr tune threshold
    oltr tune threshold --method dme --dataset tiny-imagenet-lt
    oltr tune threshold --table 3a --dataset tiny-imagenet-lt
    oltr tune threshold --run dme/3f2a --rule id_quantile:0.95
    oltr tune threshold --run dme/3f2a --rule group_quantile:0.95    a τ for each shot group
    ```
    """
    from rich.markup import escape

    from oltr_cli.base.added_files import given_files
    from oltr_cli.base.display import Display, SafeConsole
    from oltr_cli.errors import OltrError, UsageProblem
    from oltr_cli.tuning.threshold import tune_threshold, tune_threshold_of_choice, tuning_rule

    parsed = tuning_rule(rule)
    display = Display()
    if table is not None:
        selected, then = _of_table(table, dataset, recipe, method, run)
    elif recipe is not None:
        raise UsageProblem("--recipe only applies to --table; add --table")
    else:
        selected, then = selected_runs(dataset, method, run, display), ""
    done: list[Tuned] = []
    last = max(selected, key=lambda one: one.changed())  # what was trained last is what is worked on
    problems: list[OltrError] = []
    with display.bar("tuning τ", len(selected), "runs") as bar:
        for one in selected:
            try:
                done.append(tune_threshold(one, parsed, trials))
                _redraw(one, display)
                if (of_choice := tune_threshold_of_choice(one, parsed, trials)) is not None:
                    done.append(of_choice)
            except OltrError as error:
                problems.append(error)
            bar.advance()
    if done:
        if json_:
            print_json({"rule": parsed.text, "runs": [tuned.as_json() for tuned in done]})
        else:
            console = SafeConsole()
            console.print(_table(done, console.width), crop=False)
        for tuned in done:
            if tuned.pooled:
                display.say(escape(f"{tuned.what}: {tuned.pooled.text}"))
        if lenient := [tuned.what for tuned in done if tuned.rejects_nothing]:
            display.warn(_rejecting_nothing(lenient))
        display.say(f"[dim]next[/]  {escape(then or f'oltr evaluate {last.name}{given_files()}')}")
    for problem in problems[:-1]:
        display.warn(str(problem))
    if problems:
        raise problems[-1]


def _redraw(run: "Run", display: "Display") -> None:
    """The run's plots at the new τ, where it has plots."""
    from oltr_cli.errors import OltrError

    if not (run.path / "plots").is_dir():
        return
    from oltr_cli.drawing.run_plots import save_run_plots

    try:
        save_run_plots(run.path)
    except (OltrError, OSError, ValueError) as error:
        display.warn(f"plots of {run.name} were not drawn again: {error}")


def _rejecting_nothing(runs: "list[str]") -> str:
    """The warning for runs whose best threshold on validation rejects nothing."""
    names = ", ".join(runs[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
    return (
        f"{names}: the best F-measure on validation rejects nothing; to reject 5 % of the known samples, use "
        "--rule id_quantile:0.95"
    )


def selected_runs(
    dataset: str | None, method: str | None, run: str | None, display: "Display", option: str = "--run "
) -> "list[Run]":
    """The finished runs that the options select, of those on the current build of the dataset.

    Args:
        option: by which the command takes ``run``; "" for an argument.
    """
    from oltr_cli.base.added_files import given_files
    from oltr_cli.errors import UsageProblem
    from oltr_cli.planning.registry import list_methods
    from oltr_cli.planning.source import Source
    from oltr_cli.runs.folder import Run, find_runs, finished_runs, run_from_path
    from oltr_cli.runs.made_with import hint
    from oltr_cli.tables.fill import EARLIER_BUILD
    from oltr_cli.tables.which_runs import on_its_lists

    if run is not None:
        if dataset or method:
            raise UsageProblem(f"{option or 'RUN '}already names one run; leave out --dataset and --method")
        path = named_run(run, display)
        one = run_from_path(path.resolve())
        if one is None:
            raise UsageProblem(f"{path} is not a run's folder (runs/DATASET/METHOD/HASH-sSEED)")
        if one.result() is None:
            raise UsageProblem(f"{one.name} is {one.status()}; repeat its oltr run command to finish it first")
        return [one]
    name = dataset or "glyphs-lt"
    damaged: dict[Run, str] = {}
    finished, elsewhere = on_its_lists(finished_runs(name, damaged=damaged), Source.of_dataset(name).recipe)
    for problem in damaged.values():
        display.warn(problem)
    if elsewhere:
        display.warn(
            f"{EARLIER_BUILD} {name}: {', '.join(one.name for one in elsewhere)}; use {option}NAME to tune one"
        )
    on_dataset = [r for runs in finished.values() for r, _ in runs]
    found = [r for r in on_dataset if method in (None, r.method)]
    if found:
        return found
    known = {*list_methods(), *(r.method for r in on_dataset)}
    if method is not None and method not in known:
        raise UsageProblem(f"no method '{method}'{hint(method, known)}")
    others = {r.dataset for r in find_runs()}
    where = f" (there are runs on {', '.join(sorted(others))})" if others - {name} else ""
    raise UsageProblem(
        f"no finished run{f' of {method}' if method else ''} on {name}{where}; train one: "
        f"oltr run {method or 'dme'} --dataset {name}{given_files()}"
    )


def _of_table(
    name: str, dataset: str | None, recipe: str | None, method: str | None, run: str | None
) -> "tuple[list[Run], str]":
    """The finished runs that a table of the paper shows, and the command that shows it at their thresholds."""
    from oltr_cli.errors import UsageProblem
    from oltr_cli.planning.source import find_source
    from oltr_cli.tables.fill import fill
    from oltr_cli.tables.paper import load_table

    if run is not None:
        raise UsageProblem("--run already names one run; leave out --table")
    source = find_source(dataset, recipe, load_table(name).default_recipe)
    on = source.dataset
    filled = fill(name, on, methods=None if method is None else [method], source=source.recipe, option=source.option)
    found = [one for row in filled.rows for one in row.runs(on)]
    again = f"oltr compare --table {name} {source.option}"
    if not found:
        raise UsageProblem(f"table {name} shows no finished run on {on}; train them: {again} --run")
    # Rows may share a run.
    return list(dict.fromkeys(found)), f"{again} --threshold tuned"


def _table(done: "list[Tuned]", width: int) -> "Table":
    """Names and the exact optimum are never cut; Optuna's results are left out if they do not fit."""
    from rich.table import Table
    from rich.text import Text

    from oltr_cli.base.display import fitted

    title = f"τ chosen by {done[0].rule}, from validation scores only"

    def thresholds_without(left_out: "Sequence[str]") -> Table:
        table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left")
        searched_for = not left_out and any(tuned.study for tuned in done)
        table.caption = "Optuna's τ: --json" if left_out and any(tuned.study for tuned in done) else None
        table.add_column("run", no_wrap=True)
        by_class = any(tuned.by_class for tuned in done)
        opens = not any(tuned.study for tuned in done) and any(tuned.open_accepted is not None for tuned in done)
        costs = ("open accepted, %", *(("by one τ",) if by_class else ())) if opens else ()
        for head in ("τ", "F, validation", *costs):
            table.add_column(head, justify="right", no_wrap=True)
        for head in ("Optuna's τ", "F", "trials") if searched_for else ():
            table.add_column(head, justify="right", no_wrap=True, style="dim")
        for tuned in done:
            study = tuned.study
            searched = [f"{study.tau:.4f}", f"{study.f_measure:.4f}", str(study.trials)] if study else ["–"] * 3
            f = "–" if tuned.f_measure_val is None else f"{tuned.f_measure_val:.4f}"
            shown = f"{tuned.value:.4f}"
            if tuned.by_class:
                shown = f"{min(tuned.by_class):.4f} … {max(tuned.by_class):.4f}"
            shares = (tuned.open_accepted, tuned.open_accepted_one_tau)[: len(costs)]
            cost = ["–" if share is None else f"{100 * share:.1f}" for share in shares]
            cells = [f"[bold]{shown}[/]", f"[bold]{f}[/]", *cost, *(searched if searched_for else [])]
            table.add_row(Text(tuned.what), *cells)
        return table

    return fitted(thresholds_without, ["the search"], width)[0]
