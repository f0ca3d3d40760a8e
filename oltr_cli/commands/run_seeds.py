"""``oltr run METHOD --seeds N``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from rich.table import Table

    from oltr_cli.base.display import Display
    from oltr_cli.launching.settings import Launcher
    from oltr_cli.pipeline.working import How
    from oltr_cli.planning.graph import Wanted
    from oltr_cli.runs.result import RunResult

SHOWN = ("closed/overall", "closed/many", "closed/medium", "closed/few", "open/f_measure", "open/auroc")


def run_seeds(
    wanted: "list[Wanted]", how: "How", launcher: "Launcher | None", display: "Display", as_json: bool
) -> None:
    """Make the runs of one method with several seeds, and print a line for each and their mean.

    With ``as_json``, one object: the results of the runs that are finished, and what failed.
    """
    from oltr_cli.base.machine import is_main_process
    from oltr_cli.launching.launch import make_graph
    from oltr_cli.pipeline.working import warn_of
    from oltr_cli.planning.graph import build_graph

    graph = build_graph(wanted)
    for _, problem in graph.refused[:1]:
        raise problem
    failures = make_graph(graph, how, launcher, display)
    if not is_main_process():
        return
    results = [result for _, run in graph.wanted if (result := run.result()) is not None]
    if as_json:
        failed = [{"what": what, "error": str(error)} for what, error in failures]
        print_json({"runs": [result.as_json() for result in results], "failed": failed})
    elif results:
        from oltr_cli.base.display import SafeConsole

        table = _table(results)
        table.width = SafeConsole(width=10_000).measure(table).maximum  # a cut number is useless
        SafeConsole().print(table, crop=False)
    if failures:
        warn_of(failures, display)
        raise typer.Exit(1)
    if results:  # none, where jobs are not waited for
        display.say(f"[dim]next[/]  {_following(wanted[0], results[0])}")


def _table(results: "Sequence[RunResult]") -> "Table":
    """A row for each seed with closed-set accuracies and open-set metrics, and mean ± standard deviation below."""
    from statistics import mean, stdev

    from rich.table import Table

    from oltr_cli.protocol.catalogue import metric

    shown = [name for name in SHOWN if any(result.metrics.get(name) is not None for result in results)]
    table = Table(title=f"{results[0].dataset}/{results[0].method}", title_style="bold", title_justify="left")
    table.add_column("seed", justify="right")
    for name in shown:
        table.add_column(metric(name).label.removeprefix("closed-set accuracy, "), justify="right", no_wrap=True)
    for result in results:
        values: list[Any] = [result.metrics.get(name) for name in shown]
        pairs = zip(shown, values, strict=True)
        cells = ["–" if value is None else metric(name).shown(value) for name, value in pairs]
        table.add_row(str(result.seed), *cells, end_section=result is results[-1])
    means: list[str] = []
    for name in shown:
        values = [value for result in results if (value := result.metrics.get(name)) is not None]
        spread = f" ± {metric(name).shown(stdev(values))}" if len(values) > 1 else ""
        means.append(f"{metric(name).shown(mean(values))}{spread}")
    table.add_row("mean", *means)
    return table


def _following(wanted: "Wanted", result: "RunResult") -> str:
    from rich.markup import escape

    from oltr_cli.commands.next_steps import compare_command

    return escape(compare_command(result.dataset, wanted.option, result.metrics))
