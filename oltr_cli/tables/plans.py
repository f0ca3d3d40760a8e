"""The runs that the rows of a table or figure consist of, each once: rows share ancestors."""

from collections.abc import Iterable, Sequence

from oltr_cli.errors import OltrError, released
from oltr_cli.planning.plan import Planned, plan
from oltr_cli.runs.folder import Run
from oltr_cli.tables.rows import RowSpec


def planned_rows(
    rows: Sequence[RowSpec], seeds: Iterable[int], recipe: str
) -> tuple[list[Planned], list[tuple[str, OltrError]]]:
    """The distinct runs of ``rows`` × ``seeds``, ancestors first, and the rows that cannot be planned, with the reason.

    Args:
        recipe: name or file.
    """
    runs: dict[Run, Planned] = {}
    problems: dict[str, OltrError] = {}
    for seed in seeds:
        for row in rows:
            try:
                for p in plan(row.method, recipe, row.assignments(recipe), seed):
                    runs.setdefault(p.run, p)
            except OltrError as problem:
                problems.setdefault(row.key, released(problem))
    return list(runs.values()), list(problems.items())
