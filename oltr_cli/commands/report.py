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
            help="Of its runs; default that of the newest finished run",
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Of the runs of a recipe file of your own; missing ones are named with it")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Default report-DATASET.html")] = None,
    runs: Annotated[
        list[str] | None, typer.Option("--runs", metavar="RUN", help="These runs only, or parts of names; repeatable")
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(*METHODS_FLAGS, metavar="NAMES", help="These methods only: names or globs, with commas"),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table",
            "-t",
            autocompletion=complete.tables,
            help="Tables of the paper to lay over the runs; default by dataset",
        ),
    ] = None,
    figures: Annotated[
        list[str] | None,
        typer.Option(
            "--figures",
            metavar="NAMES",
            help="The paper's figures to draw, as oltr figure takes them, or none; default all that take no minutes",
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, and write it anew whenever a run's files change; Ctrl-C ends it")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object; with --watch one a line")] = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Write one HTML file about the runs of a dataset that needs nothing but itself: no network, no other file.

    In it: the paper's table, all numbers, figures, and for each run a threshold to move, its most confident mistakes,
    its classes, its recipe, and how it was made. Nothing is trained.

    ```
    oltr report
    oltr report --dataset tiny-imagenet-lt --open
    oltr report --methods plain,dme --out two.html
    oltr report --watch      a page that keeps itself fresh
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
        display.say(f"[dim]watching {watched} of {first.dataset}; Ctrl-C ends it[/]")
        keep_watching(look, write)
    else:
        write(first, False)
        if not json_ and not open_:
            # Where nothing names the dataset, it is that of the newest run, which may soon be another.
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
    """Names of the figures that ``--figures`` asks for; None: it asks for nothing, and all are meant."""
    from oltr_cli.errors import UsageProblem
    from oltr_cli.figures import catalogue

    parts = [part.strip() for text in asked for part in text.split(",") if part.strip()]
    if not parts:
        return None
    if any(part.lower() == "none" for part in parts):
        if len(parts) > 1:
            raise UsageProblem("--figures: none leaves all of them out; give it alone, or name the figures to draw")
        return []
    return catalogue.names(parts, besides=["none"])


def _as_typed(options: Mapping[str, Sequence[str | Path] | None]) -> str:
    """``oltr report`` with these options, each as often as it has values."""
    pairs = [(option, str(value)) for option, values in options.items() for value in values or ()]
    return shlex.join(["oltr", "report", *(word for pair in pairs for word in pair)])
