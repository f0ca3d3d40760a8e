"""``oltr compare``."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oltr_cli.commands import complete
from oltr_cli.commands.options import (
    METHODS_FLAGS,
    LauncherName,
    LauncherSets,
    MethodsFrom,
    Probe,
    Rate,
    Shots,
    ThresholdOption,
    device_option,
    given_launcher,
)

if TYPE_CHECKING:
    from oltr_cli.base.display import Display
    from oltr_cli.pipeline.working import Failures
    from oltr_cli.protocol.thresholds import ThresholdRule
    from oltr_cli.tables.filled import FilledTable


def compare(
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            "-t",
            autocompletion=complete.compared,
            help="Table of the paper, or detectors; default the dataset's. See: oltr ls tables",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            "-d",
            autocompletion=complete.datasets,
            help="Dataset whose runs fill the table; default the table's own",
        ),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Fill the table with the runs of your own recipe file")] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            *METHODS_FLAGS,
            autocompletion=complete.methods_listed,
            metavar="NAMES",
            help="Show (and with --run, train) only these rows: names or globs, separated by commas; repeatable",
        ),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Train what is missing first")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="With --run: seeds 0 … N−1 of every row; default 1")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --run: show what would run, and what it costs; write nothing")
    ] = False,
    rate: Rate = None,
    probe: Probe = False,
    device: Annotated[str | None, device_option("With --run: cpu, cuda, cuda:1, mps; default the fastest")] = None,
    launcher: LauncherName = None,
    launcher_sets: LauncherSets = None,
    threshold: ThresholdOption = None,
    shots: Shots = "paper",
    columns: Annotated[
        str,
        typer.Option(
            help="paper; detection: each shot group against open, what τ rejects, calibration; open-sets: each open set"
        ),
    ] = "paper",
    format_: Annotated[str, typer.Option("--format", "-f", help="rich, md, tex, csv or json")] = "rich",
    save: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also save the table there as .md, .csv, .json and .tex")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object: --format json")] = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Show a table of the paper next to your own results: mean ± standard deviation over the seeds.

    Missing rows show the command that trains them; your own methods come last. Nothing is trained without --run.
    A name that is not in the table, such as dme+energy, gets its own row. Table 5 is the ablation of Figure 5; table
    cifar100-lt has figures of later papers.
    Table detectors computes every open-set detector on the finished runs, from their saved scores.

    ```
    oltr compare --table 3a
    oltr compare --table 3a --dataset tiny-imagenet-lt --run --seeds 3
    oltr compare --table 3a --dataset mine --run --launcher local:2     two runs at once
    oltr compare --dataset glyphs-lt --methods 'plain*,dme,openmax' --run
    oltr compare --dataset glyphs-lt --threshold val_open --save results/
    oltr compare --dataset glyphs-lt --columns detection           rare or unknown?
    oltr compare --dataset mine --columns open-sets                open.txt, open_far.txt, …
    oltr compare --table cifar100-lt                               published figures of CIFAR-100-LT
    oltr compare --table detectors --methods plain,dme             which detector?
    oltr compare --methods-from mine.py --methods plain,dme,mine --run
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.base.machine import is_main_process
    from oltr_cli.commands.dry_run import check_options, show_graph
    from oltr_cli.errors import UsageProblem, nearest
    from oltr_cli.planning.source import find_source
    from oltr_cli.protocol.thresholds import ThresholdRule
    from oltr_cli.runs.folder import finished_runs
    from oltr_cli.tables.fill import fill
    from oltr_cli.tables.formats import FORMATS
    from oltr_cli.tables.paper import DEFAULT_TABLE, DETECTORS, laid_out, load_table, tables_of
    from oltr_cli.tables.rows import table_rows

    fmt = "json" if json_ else format_
    if fmt not in FORMATS:
        raise UsageProblem(
            f"no format '{fmt}'{nearest({'markdown': 'md', 'latex': 'tex'}.get(fmt.lower(), fmt), FORMATS)}"
        )
    if (seeds or device) and not run:
        raise UsageProblem("--seeds and --device only apply to runs that --run trains; add --run")
    jobs = given_launcher(launcher, launcher_sets, run, "--run")
    check_options(dry_run, rate, probe, run)
    rule = ThresholdRule.parse(threshold) if threshold is not None else None
    if table == DETECTORS:
        if run or columns not in ("paper", "open-sets"):
            raise UsageProblem(
                "--table detectors trains nothing and shows --columns open-sets or its own; leave out "
                + ("--run" if run else f"--columns {columns}")
            )
        _detectors(dataset, recipe, rule, shots, columns, methods, fmt, save)
        return
    source = find_source(dataset, recipe, load_table(table or DEFAULT_TABLE).default_recipe)
    finished = finished_runs(source.dataset)
    measured = (metric for runs in finished.values() for _, result in runs for metric in result.metrics)
    name = table or tables_of(source.dataset, measured, source.recipe)[0]
    rows = table_rows(laid_out(load_table(name), columns), finished, methods)
    display = Display()
    failures: Failures = []
    if run:
        if source.recipe is None:
            raise UsageProblem(f"--run needs a recipe, and there is none for '{source.dataset}'; give --recipe FILE")
        from oltr_cli.tables.make import make_rows, rows_graph

        to_make = [row for row in rows if row.known]
        if dry_run:
            how = {"rate": rate, "probe": probe, "device": device}
            graph = rows_graph(to_make, range(seeds or 1), source.recipe, source.option)
            show_graph(graph, display, as_json=fmt == "json", **how)
            return
        failures = make_rows(to_make, range(seeds or 1), source.recipe, source.option, device, display, jobs)
        if not is_main_process():
            return
    filled = fill(
        name,
        source.dataset,
        rule=rule,
        shots=shots,
        methods=methods,
        source=source.recipe,
        option=source.option,
        columns=columns,
    )
    _print(filled, fmt)
    _save(filled, save, rule, (shots, columns), display)
    _next(filled, display)
    if failures:
        from oltr_cli.pipeline.working import warn_of

        warn_of(failures, display)
        raise typer.Exit(1)


def _print(filled: "FilledTable", fmt: str) -> None:
    from oltr_cli.base.display import SafeConsole
    from oltr_cli.tables.formats import render

    if fmt == "rich":
        SafeConsole().print(render(filled, fmt))
    else:
        sys.stdout.write(str(render(filled, fmt)).rstrip("\n") + "\n")


def _save(
    filled: "FilledTable",
    folder: Path | None,
    rule: "ThresholdRule | None",
    variants: tuple[str, ...],
    display: "Display",
) -> None:
    """With --save, the table in all formats; ``variants``: what options other than the rule chose."""
    if folder is None:
        return
    from rich.markup import escape

    from oltr_cli.tables.formats import save

    variant = "-".join(filter(None, [rule.text if rule else "", *(part for part in variants if part != "paper")]))
    for path in save(filled, folder, variant):
        display.say(f"saved {escape(str(path))}")


def _detectors(
    dataset: str | None,
    recipe: str | None,
    rule: "ThresholdRule | None",
    shots: str,
    columns: str,
    methods: list[str] | None,
    fmt: str,
    save: Path | None,
) -> None:
    """``--table detectors``."""
    from rich.markup import escape

    from oltr_cli.base.added_files import given_files
    from oltr_cli.base.display import Display
    from oltr_cli.planning.source import find_source
    from oltr_cli.protocol.shots import shot_groups

    shot_groups([], shots)  # refuse a misspelt definition before anything is read
    display = Display()
    source = find_source(dataset, recipe, "glyphs-lt")
    display.starting_torch()
    from oltr_cli.tables.detectors import detector_table

    filled = detector_table(source, display, rule=rule, shots=shots, methods=methods, by_set=columns != "paper")
    _print(filled, fmt)
    _save(filled, save, rule, (shots, columns), display)
    to_make = [row.command for row in filled.rows if row.command and not row.spec.method.endswith("+odin")]
    choose = f"oltr tune detector --dataset {shlex.quote(source.dataset)}{given_files()}"
    display.say(f"[dim]next[/]  {escape(to_make[0] if to_make else choose)}")


def _next(filled: "FilledTable", display: "Display") -> None:
    """Print the next command on stderr: for the paper's method if it is missing, otherwise for any missing row."""
    from rich.markup import escape

    from oltr_cli.base.added_files import given_files
    from oltr_cli.commands.next_steps import tune_threshold_command
    from oltr_cli.planning.source import NO_RECIPE

    to_make = [row for row in filled.rows if row.command]
    measured = [run for row in filled.rows for run in row.runs(filled.dataset)]
    if to_make:
        ours = [row for row in to_make if row.method == "dme" and not row.spec.exact]
        following = (ours or to_make)[0].command or ""
    elif measured:
        has_open_val = any(run.scores("open_val").exists() for run in measured)
        following = tune_threshold_command(filled.dataset, has_open_val=has_open_val)
    else:
        following = f"oltr compare --table {filled.name} {NO_RECIPE}{given_files()}"
    display.say(f"[dim]next[/]  {escape(following)}")
