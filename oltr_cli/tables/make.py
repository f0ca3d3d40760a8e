"""Making the runs that a table or a figure shows: if one fails, the others still run."""

from collections.abc import Iterable, Sequence

from oltr_cli.base.display import Display
from oltr_cli.errors import OltrError, released
from oltr_cli.launching.launch import make_graph
from oltr_cli.launching.settings import Launcher
from oltr_cli.pipeline.working import Failures, How
from oltr_cli.planning.graph import Graph, Wanted, build_graph
from oltr_cli.tables.rows import RowSpec


def rows_graph(rows: Sequence[RowSpec], seeds: Iterable[int], recipe: str, option: str) -> Graph:
    """The graph of the runs of ``rows`` × ``seeds``.

    Args:
        recipe, option: see ``Source``.
    """
    wanted: list[Wanted] = []
    refused: list[tuple[Wanted, OltrError]] = []
    for seed in seeds:
        for row in rows:
            one = Wanted(f"{row.key}, seed {seed}", row.method, recipe, option, seed=seed)
            try:
                sets = tuple(row.assignments(recipe))
            except OltrError as error:
                refused.append((one, released(error)))
            else:
                wanted.append(Wanted(one.label, row.method, recipe, option, sets, seed))
    graph = build_graph(wanted)
    graph.refused = [*refused, *graph.refused]
    return graph


def make_rows(
    rows: Sequence[RowSpec],
    seeds: Iterable[int],
    recipe: str,
    option: str,
    device: str | None,
    display: Display,
    launcher: Launcher | None = None,
) -> Failures:
    """Find or make every run of ``rows`` × ``seeds``; failures are returned, and the rest still runs.

    Args:
        recipe, option: see ``Source``.
        launcher: see ``make_graph``.
    Raises:
        Stopped: a signal came.
    """
    return make_graph(rows_graph(rows, seeds, recipe, option), How(device), launcher, display)
