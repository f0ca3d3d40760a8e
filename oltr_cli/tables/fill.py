"""A table of the paper filled with the finished runs of a dataset: the paper's figure next to mean ± std over seeds."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from oltr_cli.errors import OltrError, UsageProblem, nearest
from oltr_cli.protocol.catalogue import IDENTIFICATION
from oltr_cli.protocol.open_sets import is_open_set
from oltr_cli.protocol.shots import DEFINITIONS
from oltr_cli.runs.folder import Run, finished_runs
from oltr_cli.runs.result import RunResult
from oltr_cli.tables.filled import Cell, FilledRow, FilledTable
from oltr_cli.tables.footing import footing_of
from oltr_cli.tables.paper import NO_CELL, QUOTED, TUNED, Column, Table, laid_out, load_table
from oltr_cli.tables.rows import table_rows
from oltr_cli.tables.which_runs import by_parameters, choose_recipe, on_its_lists

if TYPE_CHECKING:
    from oltr_cli.protocol.evaluate import Evaluation
    from oltr_cli.protocol.thresholds import ThresholdRule

DAMAGED = "Left out:"  # start of a note
TUNED_TAU = "τ is the tuned one of runs that have one; --threshold own shows each run's own rule."
EARLIER_BUILD = "Left out because made on an earlier build of"  # start of a note


def fill(
    name: str,
    dataset: str,
    *,
    root: Path | None = None,
    rule: "ThresholdRule | None" = None,
    shots: str = "paper",
    methods: Sequence[str] | None = None,
    source: str | None = None,
    option: str | None = None,
    columns: str = "paper",
) -> FilledTable:
    """Fill table ``name`` with the finished runs of ``dataset``.

    A row shows the runs with the hash of the current recipe. If there is no such run or no recipe, a row without
    assignments shows those of another recipe (``which_runs``), with a note.

    Args:
        root: where the runs are; default ``runs_root()``.
        rule: how τ is chosen, from the saved scores; None uses the τ tuned for a run, else its own; see
            ``default_threshold``.
        shots: definition of the shot groups.
        methods: show only these rows, see ``table_rows``.
        source: the recipe that the runs follow; None: there is none, and nothing can be trained.
        option: how the commands of missing rows name the recipe; default ``--dataset SOURCE``.
        columns: those of the paper, "detection" or "open-sets"; see ``laid_out``.

    Raises:
        UsageProblem: unknown table, unknown definition of the shot groups, or a name that matches no method.
    """
    if shots not in DEFINITIONS:
        raise UsageProblem(f"no definition of shot groups '{shots}'{nearest(shots, DEFINITIONS)}")
    damaged: dict[Run, str] = {}
    finished, elsewhere = on_its_lists(finished_runs(dataset, root, damaged), source)
    measured = {metric for pairs in finished.values() for _, result in pairs for metric in result.metrics}
    table = laid_out(load_table(name), columns, measured)
    every = table_rows(table, finished)
    specs = every if methods is None else table_rows(table, finished, methods)
    hashes = {s: s.hash(source) for s in {*every, *specs} if source is not None and s.method in finished}
    # A row whose assignments are what the recipe says anyway is the method as it is; without a recipe, what the method
    # says.
    plain = {s.method: replace(s, sets=(), equal_budget=False).hash(source) for s in hashes if source and s.exact}
    as_it_is = {s for s, run_hash in hashes.items() if run_hash is not None and run_hash == plain.get(s.method)}
    own = {s: {run_hash} for s, run_hash in hashes.items() if s.exact and run_hash is not None}
    for s in {*every, *specs}:
        if s.sets and not s.equal_budget and s not in own and s.method in finished:
            sets_nothing, own[s] = by_parameters(s.method, s.sets, finished[s.method])
            as_it_is |= {s} if sets_nothing else set()
    # Runs of a row with assignments do not stand in for the method as it is, whether that row is shown or not.
    claimed = {(s.method, run_hash) for s, theirs in own.items() if s not in as_it_is for run_hash in theirs}
    notes: list[str] = []
    rows: list[FilledRow] = []
    for spec in specs:
        cells = tuple(Cell(figure, quoted=spec.quoted) for figure in spec.figures)
        row = FilledRow(spec, cells, "missing" if spec.known else "unavailable")
        wanted = hashes.get(spec)
        runs = [
            (run, result)
            for run, result in finished.get(spec.method, ())
            if run.hash in own.get(spec, {wanted})
            or ((not spec.exact or spec in as_it_is) and (spec.method, run.hash) not in claimed)
        ]
        if runs:
            chosen, note = choose_recipe(spec.key, runs, wanted)
            notes += [note] if note else []
            row = _measure(row, table.columns, chosen, rule, shots, notes)
        elif source is not None:
            row = replace(row, command=spec.command(source, option or f"--dataset {source}"))
        rows.append(row)
    leaks = rule is not None and rule.marks_test_leak
    if rule is None and any("tuned" in (row.threshold_rule or "") for row in rows):
        notes.append(TUNED_TAU)
    shown = {spec.method for spec in specs}
    of_rows = [problem for run, problem in damaged.items() if methods is None or run.method in shown]
    notes += runs_left_out(of_rows, elsewhere, dataset)
    if len({digest for row in rows for digest in row.lists}) > 1:
        notes.append(
            "The lists of the dataset changed between these runs: rows may have been tested on different images."
        )
    remarks = [*_remarks(table, dataset, shots, rows, source), *notes]
    if leaks:
        remarks.append(f"{TUNED} τ was chosen on the test set itself.")
    return FilledTable(name, table, dataset, shots, tuple(rows), tuple(dict.fromkeys(remarks)), leaks)


def runs_left_out(damaged: Iterable[str], elsewhere: Sequence[Run], dataset: str) -> list[str]:
    """Notes on runs that no row shows.

    Args:
        damaged: what is wrong with each damaged run; ``elsewhere``: those made on an earlier build of the dataset.
    """
    notes = [f"{DAMAGED} {problem}" for problem in damaged]
    if elsewhere:
        notes.append(f"{EARLIER_BUILD} {dataset}: {', '.join(run.name for run in elsewhere)}.")
    return notes


def _remarks(table: Table, dataset: str, shots: str, rows: Sequence[FilledRow], source: str | None) -> list[str]:
    """Notes on the table as a whole."""
    footnotes = [f for f in table.footnotes if not f.startswith(QUOTED) or any(row.spec.quoted for row in rows)]
    if any(row.tuned_on_open for row in rows) and not any(f.startswith(TUNED) for f in footnotes):
        footnotes.append(f"{TUNED} Open validation samples chose parameters of the detector.")
    footnotes += _sources(rows)
    if dataset != table.dataset and any(figure != NO_CELL for row in table.rows for figure in row.figures):
        footnotes.append(
            f"{table.whose.capitalize()} figures are for {table.dataset_title}: only the trend can be compared with "
            f"{dataset}."
        )
    if shots != "paper":
        many, medium, few = DEFINITIONS[shots]
        footnotes.append(f"Shot groups here, by --shots {shots}: many {many}, medium {medium}, few {few}.")
    by_identity = [i for i, column in enumerate(table.columns) if column.metric.startswith(IDENTIFICATION)]
    if by_identity and not any(row.cells[i].n for row in rows for i in by_identity):
        footnotes.append("Identification is measured only on datasets with identities.")
    of_sets = [i for i, column in enumerate(table.columns) if is_open_set(column.metric.partition("/")[0])]
    if any(row.cells[i].n == 0 for row in rows if row.status == "measured" for i in of_sets):
        footnotes.append("An open set without a number was added after the run; repeat its oltr run command.")
    if source is None and any(row.status == "missing" for row in rows):
        footnotes.append(f"There is no recipe for {dataset}; to train missing rows, give one with --recipe FILE.")
    return footnotes


def _sources(rows: Sequence[FilledRow]) -> list[str]:
    """Where the figures shown were read, and the epochs behind them, for the rows that say so; equal ones together."""
    labels: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.spec.source and any(cell.paper for cell in row.cells):
            labels[f"{row.spec.source}; epochs: {row.spec.published_epochs or 'not known'}."].append(row.spec.label)
    return [f"{QUOTED} {', '.join(names)}: {source}" for source, names in labels.items()]


def _measure(
    row: FilledRow,
    columns: Sequence[Column],
    runs: list[tuple[Run, RunResult]],
    rule: "ThresholdRule | None",
    shots: str,
    notes: list[str],
) -> FilledRow:
    """``row`` with the runs' metrics; a run that cannot be evaluated by ``rule`` is left out, and a note says why."""
    from oltr_cli.protocol.evaluate import evaluation_of

    used: list[tuple[Run, RunResult, Evaluation]] = []
    problems: dict[str, list[str]] = defaultdict(list)
    for run, result in runs:
        try:
            used.append((run, result, evaluation_of(run.path, result, rule, shots)))
        except OltrError as error:
            problems[str(error)].append(f"{run.hash}-s{run.seed}")
    notes += [f"{row.spec.key}: left out {', '.join(names)}: {problem}" for problem, names in problems.items()]
    if not used:
        return replace(row, status="left_out", command=None)
    results = [result for _, result, _ in used]
    metrics = [evaluated.metrics for _, _, evaluated in used]
    thresholds = [evaluated.threshold for _, _, evaluated in used]
    seconds = [result.seconds_total for result in results if result.seconds_total is not None]
    chosen_by = {threshold.chosen_by for threshold in thresholds if threshold.chosen_by}
    return replace(
        row,
        cells=tuple(
            replace(cell, values=tuple(c.scale * v for m in metrics if (v := m.get(c.metric)) is not None))
            for cell, c in zip(row.cells, columns, strict=True)
        ),
        status="measured",
        command=None,
        hash=used[0][0].hash,
        seeds=tuple(run.seed for run, _, _ in used),
        epochs=max(result.epochs_total or 0 for result in results) or None,
        footing=footing_of(used[0][0], results[0]),
        seconds=mean(seconds) if seconds else None,
        devices=tuple(sorted({result.device for result in results if result.device})),
        threshold_rule=" and ".join(dict.fromkeys(threshold.rule for threshold in thresholds))
        + (f", by {' and '.join(sorted(chosen_by))}" if chosen_by else ""),
        thresholds=tuple(threshold.value for threshold in thresholds),
        chosen=tuple(thresholds),
        detector=results[0].detector,
        lists=tuple(sorted({result.data_digest for result in results if result.data_digest})),
    )
