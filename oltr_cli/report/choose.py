"""Which dataset and which of its runs a report shows."""

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

# What to do about runs of a status, those nearest to a result first.
UNFINISHED = {
    "running": "running; --watch shows progress",
    "interrupted": "interrupted; repeat the oltr run command to resume",
    "failed": "marked as failed; repeat the oltr run command to try again",
    "damaged": f"damaged ({RESULT}); remove that file and repeat the oltr run command to restore it",
    "unfinished": "not finished; repeat the oltr run command to continue",
}


@dataclass(frozen=True)
class Chosen:
    """The runs of one report, ordered by name.

    Attributes:
        done: finished runs; ``others``: runs without a result, failed ones, and those whose result.json is damaged.
        methods: patterns for the rows of the tables; None shows all rows.
        source, option: the recipe for missing rows, and how a command names it.
        by_name: each run was requested by its name, whatever its recipe or build.
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
    """The requested finished runs; those on an earlier build of the dataset only if named.

    Args:
        dataset: None uses that of the recipe or of ``runs``, or that of the newest finished run.
        recipe: file that the runs follow, if it does not have the name of the dataset.
        runs: names of runs or parts of names; empty for all.
        methods: rows of the paper's table, methods or globs, separated by commas.
        unfinished_will_do: accept runs none of which is finished.

    Raises:
        UsageProblem: no such finished run (the message says what to type), or a name that matches nothing.
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
            raise UsageProblem(f"--runs: not all are runs of {name}; a report shows only one dataset")
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
    """The tables to show: those requested, otherwise the paper's for this dataset or for the same kind of dataset."""
    if asked:
        return list(dict.fromkeys(part.strip() for text in asked for part in text.split(",") if part.strip()))
    return tables_of(chosen.dataset, (key for _, result in chosen.done for key in result.metrics), chosen.source)


def with_all(chosen: Chosen, tables: Sequence[FilledTable]) -> tuple[list[FilledTable], str]:
    """The tables that show every run requested by name, and what is left out and why ("": nothing).

    A table shows one recipe of a method, on the current build of the dataset. Next to a run of another recipe or build
    it would show different numbers under the same name.
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
        f"Left out {what}, which show only runs of the current recipe or, if there are none, of the closest one: "
        f"{some(sorted(missing))} {'is' if one else 'are'} not among them."
    )


def _of(paths: Sequence[Path]) -> str | None:
    names = sorted({path.parents[1].name for path in paths})
    if len(names) > 1:
        raise UsageProblem(f"--runs: these are runs of {' and '.join(names)}; a report shows only one dataset")
    return names[0] if names else None


def _newest() -> str:
    """The dataset with the newest result.json or, if there is none, with the newest recipe.toml."""
    runs = find_runs()
    if not runs:
        raise UsageProblem(f"no finished run in {runs_root()}; start with: oltr run dme")

    def age(run: Run) -> tuple[bool, float]:
        finished = run.path / RESULT
        there = finished.exists()
        return there, (finished if there else run.path / "recipe.toml").stat().st_mtime

    return max(runs, key=age).dataset


def _nothing(source: Source, patterns: Sequence[str] | None, others: Sequence[Run], earlier: Sequence[Run]) -> str:
    """The error if there is no finished run: which runs exist instead, or the command that trains one.

    Args:
        others: requested runs without a result, or failed.
        earlier: finished runs on an earlier build of the dataset.
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
    return "; ".join([*parts, f"train one: oltr run {method} {source.option}"])


def running(run: Run) -> str:
    """Its status, also if the folder is read-only, where the lock cannot be tried."""
    try:
        return run.status()
    except (OltrError, OSError):
        return "unfinished"
