"""``oltr tune threshold``."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from oltr_cli.runs import Run
    from oltr_cli.tune import Tuned

tune_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Choose what can be chosen without the test set.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@tune_app.callback()
def _tune() -> None:
    """Choose what can be chosen without the test set."""


@tune_app.command()
def threshold(
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Tune all finished runs on it; default glyphs-lt")
    ] = None,
    method: Annotated[str | None, typer.Option("--method", "-m", help="Only this method's runs")] = None,
    run: Annotated[str | None, typer.Option(help="Only this run: a path, a name, or a part that fits one")] = None,
    rule: Annotated[
        str, typer.Option(help="val_open (best F-measure on validation) or id_quantile:Q (accept a share Q of known)")
    ] = "val_open",
    trials: Annotated[int, typer.Option(min=1, help="Trials of the Optuna study, earlier calls' included")] = 50,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object")] = False,
) -> None:
    """Choose the rejection threshold τ of finished runs from their saved validation scores; nothing is trained.

    The exact optimum is kept in the run's folder, for `--threshold tuned` of evaluate and compare. An Optuna study
    on the same objective stands beside it.

    ```
    oltr tune threshold
    oltr tune threshold --method dme --dataset tiny-imagenet-lt
    oltr tune threshold --run dme/3f2a --rule id_quantile:0.95
    ```
    """
    from dataclasses import asdict

    from oltr_cli.errors import OltrError
    from oltr_cli.progress import Display
    from oltr_cli.tune import tune_threshold, tuning_rule

    parsed = tuning_rule(rule)
    selected = _selected(dataset, method, run)
    display = Display()
    done: list[Tuned] = []
    problems: list[OltrError] = []
    for one in selected:
        try:
            done.append(tune_threshold(one, parsed, trials))
        except OltrError as error:
            problems.append(error)
    if done:
        if json_:
            print(json.dumps({"rule": parsed.text, "runs": [asdict(tuned) for tuned in done]}))
        else:
            from rich.console import Console

            Console(highlight=False).print(_table(done))
        display.say(f"[dim]next[/]  oltr evaluate {done[-1].run} --threshold tuned")
    for problem in problems[:-1]:
        display.warn(str(problem))
    if problems:
        raise problems[-1]


def _selected(dataset: str | None, method: str | None, run: str | None) -> "list[Run]":
    """The finished runs that the options ask for."""
    from oltr_cli.errors import UsageProblem, nearest
    from oltr_cli.registry import list_methods
    from oltr_cli.runs import find_runs, resolve_run, run_from_path
    from oltr_cli.tables.fill import finished_runs

    if run is not None:
        if dataset or method:
            raise UsageProblem("--run names one run; leave out --dataset and --method")
        path = resolve_run(run)
        one = run_from_path(path.resolve())
        if one is None:
            raise UsageProblem(f"{path} is not a run's folder (runs/DATASET/METHOD/HASH-sSEED)")
        if one.status() != "done":
            raise UsageProblem(f"{one.name} is {one.status()}; finish it first: oltr run {one.method}")
        return [one]
    name = dataset or "glyphs-lt"
    on_dataset = [r for runs in finished_runs(name).values() for r, _ in runs]
    found = [r for r in on_dataset if method in (None, r.method)]
    if found:
        return found
    known = {*list_methods(), *(r.method for r in on_dataset)}
    if method is not None and method not in known:
        raise UsageProblem(f"no method '{method}'{nearest(method, known)}")
    others = {r.dataset for r in find_runs()}
    hint = f" (there are runs on {', '.join(sorted(others))})" if others - {name} else ""
    raise UsageProblem(
        f"no finished run{f' of {method}' if method else ''} on {name}{hint}; make one: "
        f"oltr run {method or 'dme'} --dataset {name}"
    )


def _table(done: "list[Tuned]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=f"τ chosen by {done[0].rule}, from validation scores only", title_justify="left", title_style="bold"
    )
    table.add_column("run", overflow="fold")
    for head in ("τ", "F, validation", "Optuna's τ", "F", "trials"):
        table.add_column(head, justify="right")
    for tuned in done:
        study = tuned.study
        searched = [f"{study.tau:.4f}", f"{study.f_measure:.4f}", str(study.trials)] if study else ["–"] * 3
        f = "–" if tuned.f_measure_val is None else f"{tuned.f_measure_val:.4f}"
        table.add_row(
            Text(tuned.run), f"[bold]{tuned.value:.4f}[/]", f"[bold]{f}[/]", *(f"[dim]{s}[/]" for s in searched)
        )
    return table
