"""Which dataset and which of its runs a report is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oltr_cli.base.text import some
from oltr_cli.errors import OltrError, UsageProblem, nearest
from oltr_cli.planning.source import Source, find_source, lists_of
from oltr_cli.planning.which_run import resolve_run
from oltr_cli.recipe.files import known_recipes
from oltr_cli.runs.folder import Run, find_runs, finished_runs, runs_root
from oltr_cli.runs.result import RESULT, RunResult
from oltr_cli.tables.filled import FilledTable
from oltr_cli.tables.paper import DEFAULT_TABLE, load_table, tables_of
from oltr_cli.tables.rows import table_rows

# What to do about runs of a status, by how near they are to a result.
UNFINISHED = {
    "running": "running; --watch shows how far",
    "interrupted": "interrupted; the same oltr run goes on",
    "failed": "marked as failed; the same oltr run tries again",
    "damaged": f"damaged ({RESULT}); remove that file, and the same oltr run writes it again",
    "unfinished": "not finished; the same oltr run goes on",
}


@dataclass(frozen=True)
class Chosen:
    """The runs of one report, ordered by name.

    Attributes:
        done: finished runs; ``others``: runs without a result, failed ones, and those whose result.json is damaged.
        methods: patterns for the rows of the tables; None shows them all.
        source, option: the recipe that missing rows would be made by, and how a command names it.
        by_name: each run was asked for by its name, whatever recipe or build it is of.
    """

    dataset: str
    done: tuple[tuple[Run, RunResult], ...]
    others: tuple[Run, ...]
    methods: tuple[str, ...] | None
    source: str | None
    option: str
    by_name: bool = False


def choose(
    dataset: str | None,
    runs: Sequence[str] = (),
    methods: Sequence[str] = (),
    *,
    recipe: str | None = None,
    unfinished_will_do: bool = False,
) -> Chosen:
    """The finished runs that are asked for; those on an earlier build of the dataset only by their names.

    Args:
        dataset: None takes that of the recipe or of ``runs``, or that with the newest finished run.
        recipe: file that the runs follow, where it is not the one that is called like the dataset.
        runs: names of runs or parts of names; empty takes all.
        methods: rows of the paper's table, methods or globs, with commas.
        unfinished_will_do: go on without a finished run as long as there is any.

    Raises:
        UsageProblem: no finished run of what is asked for (the line says what to type), or a name that fits nothing.
    """
    asked = [resolve_run(text).resolve() for text in runs]
    if recipe is not None:
        source = find_source(dataset, recipe, "")
    else:
        source = Source.of_dataset(dataset or _of(asked) or _newest())
    name = source.dataset
    every = find_runs(dataset=name)
    if asked:
        every = [run for run in every if run.path.resolve() in asked]
        if len(every) < len(set(asked)):
            raise UsageProblem(f"--runs: not all of them are runs of {name}; a report is about one dataset")
    patterns = tuple(part for text in methods for part in text.split(",") if part.strip()) or None
    if patterns:
        table = load_table(DEFAULT_TABLE)
        wanted = {row.method for row in table_rows(table, {run.method for run in every}, patterns)}
        every = [run for run in every if run.method in wanted]
    digest = None if asked else lists_of(source.recipe)
    finished = {run: result for pairs in finished_runs(name).values() for run, result in pairs}
    others = [run for run in every if run not in finished]
    earlier = [run for run in every if run in finished and digest not in (None, finished[run].data_digest)]
    done = [(run, finished[run]) for run in every if run in finished and run not in earlier]
    if not done and not (unfinished_will_do and others):
        raise UsageProblem(_nothing(source, patterns, others, earlier))
    if asked and patterns is None:
        patterns = tuple(dict.fromkeys(run.method for run in every))
    return Chosen(name, tuple(done), tuple(others), patterns, source.recipe, source.option, bool(asked))


def tables_for(chosen: Chosen, asked: Sequence[str] = ()) -> list[str]:
    """The tables to show: those asked for, else the paper's for this dataset, else the nearest in kind."""
    if asked:
        return list(dict.fromkeys(part.strip() for text in asked for part in text.split(",") if part.strip()))
    return tables_of(chosen.dataset, (key for _, result in chosen.done for key in result.metrics))


def with_all(chosen: Chosen, tables: Sequence[FilledTable]) -> tuple[list[FilledTable], str]:
    """The tables that show every run asked for by name, and what is left out and why ("": nothing).

    A table shows one recipe of a method, on the dataset as it is built now. Beside a run of another it would show other
    numbers under the same name.
    """
    kept: list[FilledTable] = []
    dropped: list[str] = []
    missing: set[str] = set()
    for table in tables:
        shown = {run.name for row in table.rows for run in row.runs(chosen.dataset)}
        absent = {run.name for run, _ in chosen.done} - shown if chosen.by_name else set()
        if absent:
            dropped.append(table.name)
            missing |= absent
        else:
            kept.append(table)
    if not dropped:
        return kept, ""
    what = f"from the paper's tables: {', '.join(dropped)}" if kept else "the paper's table and the figures"
    one = len(missing) == 1
    return kept, (
        f"Left out {what}, which show the runs of the recipe as it stands, or of one that stands in for it: "
        f"{some(sorted(missing))} {'is' if one else 'are'} not among them."
    )


def _of(paths: Sequence[Path]) -> str | None:
    names = sorted({path.parents[1].name for path in paths})
    if len(names) > 1:
        raise UsageProblem(f"--runs: they are of {' and '.join(names)}; a report is about one dataset")
    return names[0] if names else None


def _newest() -> str:
    """The dataset whose result.json is the newest; of runs without one, that of the newest recipe.toml."""
    runs = find_runs()
    if not runs:
        raise UsageProblem(f"no finished run in {runs_root()}; make one: oltr run dme")

    def age(run: Run) -> tuple[bool, float]:
        finished = run.path / RESULT
        there = finished.exists()
        return there, (finished if there else run.path / "recipe.toml").stat().st_mtime

    return max(runs, key=age).dataset


def _nothing(source: Source, patterns: Sequence[str] | None, others: Sequence[Run], earlier: Sequence[Run]) -> str:
    """The error where there is no finished run: what there is instead, or the command that makes one.

    Args:
        others: runs of what is asked for without a result, or failed.
        earlier: finished ones on an earlier build of the dataset.
    """
    name = source.dataset
    if source.recipe is None and not find_runs(dataset=name):
        return f"no dataset '{name}'{nearest(name, {*(run.dataset for run in find_runs()), *known_recipes()})}"
    of = f" of {', '.join(patterns)}" if patterns else ""
    parts = [f"no finished run{of} on {name}"]
    if earlier:
        names, were = some([run.name for run in earlier]), "was" if len(earlier) == 1 else "were"
        parts.append(f"{names} {were} made on an earlier build of it and shown only by name, with --runs")
    by_status: dict[str, list[str]] = {}
    for run in others:
        by_status.setdefault(running(run), []).append(run.name)
    for status, words in UNFINISHED.items():
        if there := by_status.get(status):
            return "; ".join([*parts, f"{some(there)} {'is' if len(there) == 1 else 'are'} {words}"])
    method = patterns[0] if patterns and not set(patterns[0]) & set("*?[") else "dme"
    return "; ".join([*parts, f"make one: oltr run {method} {source.option}"])


def running(run: Run) -> str:
    """Its status, also where the folder cannot be written and so no lock be tried."""
    try:
        return run.status()
    except (OltrError, OSError):
        return "unfinished"
