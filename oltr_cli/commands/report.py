"""``oltr report``."""

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oltr_cli.commands import complete
from oltr_cli.commands.options import METHODS_FLAGS, MethodsFrom
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from oltr_cli.report.choose import Chosen


def report(
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            "-d",
            autocompletion=complete.datasets,
            help="Dataset whose runs to show; default that of the newest finished run",
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Show the runs of your own recipe file, and how to train the missing ones")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="File to write; default report-DATASET.html")
    ] = None,
    runs: Annotated[
        list[str] | None,
        typer.Option(
            "--runs",
            metavar="RUN",
            autocompletion=complete.runs,
            help="Only these runs, by name or part of it; repeatable",
        ),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            *METHODS_FLAGS,
            metavar="NAMES",
            autocompletion=complete.methods_listed,
            help="Only these methods: names or globs, separated by commas",
        ),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table",
            "-t",
            autocompletion=complete.tables,
            help="Table of the paper to compare the runs with; repeatable; default by dataset",
        ),
    ] = None,
    figures: Annotated[
        list[str] | None,
        typer.Option(
            "--figures",
            metavar="NAMES",
            help="Figures of the paper to draw, named as for oltr figure, or none; default all that draw quickly",
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Keep running, and write it again whenever a run's files change; Ctrl-C stops"),
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object; with --watch one per line")] = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Write a report on the runs of a dataset: one HTML file that needs no network and no other files.

    It shows the paper's table, all metrics, figures, and for each run an adjustable threshold, the most confident
    mistakes, classes, recipe and training. Nothing is trained.

    ```
    oltr report
    oltr report --dataset tiny-imagenet-lt --open
    oltr report --methods plain,dme --out two.html
    oltr report --watch      a page that stays up to date
    ```
    """
    from rich.markup import escape

    from oltr_cli.base.display import Display
    from oltr_cli.base.files import write_text
    from oltr_cli.base.text import counted
    from oltr_cli.report.choose import choose, tables_for
    from oltr_cli.report.content import Cache, collect
    from oltr_cli.report.page import render
    from oltr_cli.report.watch import watch as keep_watching

    display = Display()
    cache = Cache()
    first = choose(dataset, runs or (), methods or (), recipe=recipe, unfinished_will_do=watch)
    path = out or Path(f"report-{first.dataset}.html")
    names = tables_for(first, table or ())
    to_draw = _figures(figures or ())
    told = False

    def look() -> "Chosen":
        where = None if recipe else first.dataset
        return choose(where, runs or (), methods or (), recipe=recipe, unfinished_will_do=True)

    def write(chosen: "Chosen", watched: bool) -> None:
        nonlocal told
        made = collect(chosen, names, display, cache, to_draw)
        page = render(made, watched=watched)
        write_text(path, page)
        facts: dict[str, Any] = {
            "file": path,
            "dataset": chosen.dataset,
            "runs": [run.name for run, _ in chosen.done],
            "unfinished": [{"run": one.run.name, "status": one.status, "epoch": one.epoch} for one in made.unfinished],
            "tables": [table.name for table in made.tables],
            "figures": [picture.name for picture in made.figures if picture.uri],
            "bytes": len(page.encode()),
        }
        if json_:
            print_json(facts)
        elif not told:
            print(path, flush=True)
        size = f"{facts['bytes'] / 1e6:.1f} MB" if facts["bytes"] >= 1e5 else f"{facts['bytes'] / 1e3:.0f} kB"
        counts = f"{counted(len(chosen.done), 'run')} finished, {len(made.unfinished)} not"
        if made.left_out and not told:
            display.say(f"[dim]{escape(made.left_out)}[/]")
        display.say(f"[dim]{time.strftime('%H:%M:%S')}  {counts}, {size}[/]")
        if open_ and not told:
            typer.launch(str(path.absolute()))
        told = True

    if watch:
        watched = counted(len(first.done) + len(first.others), "run")
        display.say(f"[dim]watching {watched} of {first.dataset}; Ctrl-C stops[/]")
        keep_watching(look, write)
    else:
        write(first, False)
        if not json_ and not open_:
            # If no option names the dataset, it is that of the newest run, which may soon be another.
            named = dataset or (None if recipe or runs else first.dataset)
            again = _as_typed(
                {
                    "--dataset": [named] if named else [],
                    "--recipe": [recipe] if recipe else [],
                    "--out": [out] if out else [],
                    "--runs": runs,
                    "--methods": methods,
                    "--table": table,
                    "--figures": figures,
                    "--methods-from": methods_from,
                }
            )
            display.say(f"[dim]next[/]  {escape(f'open {path} in a browser, or: {again} --open')}")


def _figures(asked: Sequence[str]) -> list[str] | None:
    """Names of the figures that ``--figures`` lists; None if it is not given, which means all."""
    from oltr_cli.errors import UsageProblem
    from oltr_cli.figures import catalogue

    parts = [part.strip() for text in asked for part in text.split(",") if part.strip()]
    if not parts:
        return None
    if any(part.lower() == "none" for part in parts):
        if len(parts) > 1:
            raise UsageProblem("--figures: none draws no figure; give it alone, or name the figures to draw")
        return []
    return catalogue.names(parts, besides=["none"])


def _as_typed(options: Mapping[str, Sequence[str | Path] | None]) -> str:
    """``oltr report`` with these options, each repeated for each of its values."""
    pairs = [(option, str(value)) for option, values in options.items() for value in values or ()]
    return shlex.join(["oltr", "report", *(word for pair in pairs for word in pair)])
