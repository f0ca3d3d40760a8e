"""``oltr compare``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oltr_cli.commands.options import MethodsFrom

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oltr_cli.errors import OltrError
    from oltr_cli.progress import Display
    from oltr_cli.tables.filled import FilledTable
    from oltr_cli.tables.rows import RowSpec


def compare(
    table: Annotated[str, typer.Option("--table", "-t", help="Table of the paper; see: oltr ls tables")] = "3a",
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Lay the table over this dataset; default the table's own")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Lay it over the runs of a recipe file of your own")] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            "--method",
            "-m",
            metavar="NAMES",
            help="Show (and with --run, make) these rows only: names or globs, with commas between; repeatable",
        ),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Make what is missing first")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="With --run: seeds 0 … N−1 of every row; default 1")] = None,
    device: Annotated[str | None, typer.Option(help="With --run: cpu, cuda, cuda:1, mps; default the best")] = None,
    threshold: Annotated[
        str | None,
        typer.Option(help="fixed:0.1, id_quantile:0.95, val_open, tuned, oracle_test; default each run's own"),
    ] = None,
    shots: Annotated[str, typer.Option(help="Shot groups: paper (> 100, < 20) or code (≥ 100, ≤ 20)")] = "paper",
    format_: Annotated[str, typer.Option("--format", "-f", help="rich, md, tex, csv or json")] = "rich",
    save: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also save it there as .md, .csv, .json and .tex")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object: --format json")] = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Show a table of the paper with what was measured here beside it: mean ± standard deviation over the seeds.

    Missing rows carry the command that makes them; your own methods come last. Nothing is trained without --run.
    Table 5 is the ablation of Figure 5. A name that is no row, such as dme+energy, is shown as a row apart.

    ```
    oltr compare --table 3a
    oltr compare --table 3a --dataset tiny-imagenet-lt --run --seeds 3
    oltr compare --dataset glyphs-lt --methods 'plain*,dme,openmax' --run
    oltr compare --dataset glyphs-lt --threshold val_open --save results/
    oltr compare --methods-from mine.py --methods plain,dme,mine --run
    ```
    """
    from oltr_cli.errors import UsageProblem, nearest
    from oltr_cli.machine import is_main_process
    from oltr_cli.progress import Display
    from oltr_cli.tables.fill import fill, finished_runs
    from oltr_cli.tables.formats import FORMATS
    from oltr_cli.tables.formats import save as save_files
    from oltr_cli.tables.paper import load_table
    from oltr_cli.tables.rows import table_rows
    from oltr_cli.thresholds import ThresholdRule

    fmt = "json" if json_ else format_
    if fmt not in FORMATS:
        raise UsageProblem(f"no format '{fmt}'{nearest(fmt, FORMATS)}")
    if (seeds or device) and not run:
        raise UsageProblem("--seeds and --device speak of what --run makes; add --run")
    rule = ThresholdRule.parse(threshold) if threshold else None
    asked = load_table(table)
    name, source, option = _where(dataset, recipe, asked.dataset)
    rows = table_rows(asked, finished_runs(name), methods)
    display = Display()
    failures: list[tuple[str, OltrError]] = []
    if run:
        if source is None:
            raise UsageProblem(f"--run needs a recipe, and there is none for '{name}'; give --recipe FILE")
        failures = _make([row for row in rows if row.known], range(seeds or 1), source, option, device, display)
        if not is_main_process():
            return
    filled = fill(table, name, rule=rule, shots=shots, methods=methods, source=source, option=option)
    _print(filled, fmt)
    if save is not None:
        variant = "-".join([threshold or "", shots if shots != "paper" else ""]).strip("-")
        for path in save_files(filled, save, variant):
            display.say(f"saved {path}")
    _next(filled, display)
    if failures:
        _report(failures, display)
        raise typer.Exit(1)


def _where(dataset: str | None, recipe: str | None, default: str) -> tuple[str, str | None, str]:
    """Dataset, the recipe that its runs follow (None: it has none), and how a command names that recipe."""
    from oltr_cli.errors import UsageProblem, nearest
    from oltr_cli.recipe_files import find_recipe, known_recipes, read_recipe
    from oltr_cli.runs import find_runs

    if dataset and recipe:
        raise UsageProblem("--dataset and --recipe both name a recipe; give one of them")
    if recipe:
        return str(read_recipe(find_recipe(recipe))["data"]["name"]), recipe, f"--recipe {recipe}"
    name = dataset or default
    known = known_recipes()
    if name in known:
        return name, name, f"--dataset {name}"
    measured = {run.dataset for run in find_runs()}
    if name not in {*measured, default}:
        raise UsageProblem(f"no dataset '{name}'{nearest(name, {*measured, *known})}")
    return name, None, "--recipe FILE"


def _make(
    rows: "list[RowSpec]", seeds: "Iterable[int]", source: str, option: str, device: str | None, display: "Display"
) -> "list[tuple[str, OltrError]]":
    """Find or make every run of ``rows`` × ``seeds``; what fails is listed, and the rest goes on."""
    from oltr_cli.errors import OltrError, Stopped
    from oltr_cli.pipeline import run_method

    failures: list[tuple[str, OltrError]] = []
    for seed in seeds:
        for number, row in enumerate(rows, start=1):
            display.say(f"[dim]row {number} of {len(rows)}:[/] {row.key}, seed {seed}")
            try:
                run_method(row.method, source, row.assignments(source), seed=seed, device=device, display=display)
            except Stopped:
                raise
            except OltrError as error:
                problem = error
            except Exception as error:  # a method's own code, perhaps not ours: one row's fault is not the others'
                what = str(error).partition("\n")[0]
                again = row.command(source, option)
                problem = OltrError(f"{type(error).__name__}: {what}; see where: {again}")
            else:
                continue
            display.warn(f"{row.key}, seed {seed}: {problem}")
            failures.append((f"{row.key}, seed {seed}", problem))
    return failures


def _print(filled: "FilledTable", fmt: str) -> None:
    from rich.console import Console

    from oltr_cli.tables.formats import render

    if fmt == "rich":
        Console(highlight=False).print(render(filled, fmt))
    else:
        sys.stdout.write(str(render(filled, fmt)).rstrip("\n") + "\n")


def _next(filled: "FilledTable", display: "Display") -> None:
    """On stderr, the command to go on with: the paper's method if it is missing, any missing row otherwise."""
    to_make = [row for row in filled.rows if row.command]
    if to_make:
        ours = [row for row in to_make if row.method == "dme" and not row.spec.exact]
        display.say(f"[dim]next[/]  {(ours or to_make)[0].command}")
    elif any(row.status == "measured" for row in filled.rows):
        display.say(f"[dim]next[/]  oltr tune threshold --dataset {filled.dataset}")
    elif any(row.status == "missing" for row in filled.rows):
        display.say(f"[dim]next[/]  oltr cp imagenet-lt {filled.dataset}.toml")


def _report(failures: "list[tuple[str, OltrError]]", display: "Display") -> None:
    """Rows that failed for one reason in one line."""
    reasons: dict[str, list[str]] = {}
    for what, error in failures:
        reasons.setdefault(str(error), []).append(what)
    for reason, rows in reasons.items():
        display.warn(f"failed: {'; '.join(rows)}: {reason}")
