"""A paper's table laid over the finished runs of a dataset: the paper's figure beside mean ± std over the seeds."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, Literal

from oltr_cli.errors import OltrError, UsageProblem, nearest
from oltr_cli.registry import list_methods
from oltr_cli.runs import Run, find_runs
from oltr_cli.shots import DEFINITIONS
from oltr_cli.tables.paper import DASH, Column, Table, load_table

if TYPE_CHECKING:
    from oltr_cli.thresholds import ThresholdRule


@dataclass(frozen=True)
class Cell:
    """One figure of the paper beside what the seeds gave, both in the column's unit."""

    paper: str | None  # as printed; None in a row that the paper does not have
    values: tuple[float, ...] = ()  # one a seed; a metric that cannot be computed (an empty shot group) is left out

    @property
    def paper_value(self) -> float | None:
        return None if self.paper in (None, DASH) else float(self.paper or "nan")

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float | None:
        return mean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation (ddof = 1); None below two seeds."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def delta(self) -> float | None:
        """Measured mean − the paper's figure."""
        return None if self.mean is None or self.paper_value is None else self.mean - self.paper_value


@dataclass(frozen=True)
class FilledRow:
    """A row with its measurements.

    Status: ``measured``; ``missing``, to be made by ``command``; ``left_out``, as the table's notes say;
    ``unavailable``, a method that is not in this version.
    """

    label: str
    method: str
    in_paper: bool
    cells: tuple[Cell, ...]
    status: Literal["measured", "missing", "left_out", "unavailable"]
    command: str | None = None
    hash: str | None = None
    seeds: tuple[int, ...] = ()
    epochs: int | None = None  # with those of the runs it starts from
    seconds: float | None = None  # training time of one seed, likewise; the mean over the seeds
    devices: tuple[str, ...] = ()
    threshold_rule: str | None = None
    thresholds: tuple[float, ...] = ()  # τ of each seed


@dataclass(frozen=True)
class FilledTable:
    """A table laid over a dataset's finished runs."""

    name: str
    table: Table
    dataset: str
    shots: str
    rows: tuple[FilledRow, ...]
    notes: tuple[str, ...]
    marks_test_leak: bool

    def best(self, column: int) -> float | None:
        """The best measured mean of a column, once two rows compete for it."""
        means = [m for row in self.rows if (m := row.cells[column].mean) is not None]
        if len(means) < 2:
            return None
        return max(means) if self.table.columns[column].better == "higher" else min(means)


def fill(
    name: str,
    dataset: str,
    *,
    root: Path | None = None,
    rule: "ThresholdRule | None" = None,
    shots: str = "paper",
    wanted: Mapping[str, str] | None = None,
    methods: Sequence[str] | None = None,
    recipe_option: str | None = None,
) -> FilledTable:
    """Lay table ``name`` over the finished runs of ``dataset``; methods that the paper does not have come last.

    Args:
        root: where the runs are; default ``runs_root()``.
        rule: how τ is chosen, from the saved scores; None takes each run's own result.
        shots: definition of the shot groups.
        wanted: method → recipe hash whose runs make the row. A method that it does not name, or of which no run has
            that hash, shows the recipe with most finished seeds, the newest of several; a note says so.
        methods: show these rows only.
        recipe_option: how the commands of missing rows name the recipe; default ``--dataset DATASET``.

    Raises:
        UsageProblem: no such table, or no such definition of the shot groups.
    """
    if shots not in DEFINITIONS:
        raise UsageProblem(f"no shot groups '{shots}'{nearest(shots, DEFINITIONS)}")
    table, known = load_table(name), list_methods()
    option = recipe_option or f"--dataset {dataset}"
    finished = finished_runs(dataset, root)
    in_paper = {row.method for row in table.rows}
    others = sorted({*finished, *(methods or ())} - in_paper)
    dashes = (None,) * len(table.columns)
    wanted_rows: list[tuple[str, str, Sequence[str | None]]] = [
        *((row.label, row.method, row.figures) for row in table.rows),
        *((method, method, dashes) for method in others),
    ]
    rows: list[FilledRow] = []
    notes: list[str] = []
    for label, method, figures in wanted_rows:
        if methods is not None and method not in methods:
            continue
        row = FilledRow(
            label=label,
            method=method,
            in_paper=method in in_paper,
            cells=tuple(Cell(figure) for figure in figures),
            status="missing" if method in known else "unavailable",
            command=f"oltr run {method} {option}" if method in known else None,
        )
        if method in finished:
            chosen = _choose_recipe(method, finished[method], (wanted or {}).get(method), notes)
            row = _measure(row, table.columns, chosen, rule, shots, notes)
        rows.append(row)
    if shots != "paper":
        many, medium, few = DEFINITIONS[shots]
        notes.insert(0, f"Shot groups here, by --shots {shots}: many {many}, medium {medium}, few {few}.")
    if dataset != table.dataset:
        notes.insert(
            0, f"The paper's figures are for {table.dataset_title}: beside {dataset}, only the shape compares."
        )
    leaks = rule is not None and rule.marks_test_leak
    if leaks:
        notes.append("† τ was chosen on the test set itself.")
    return FilledTable(name, table, dataset, shots, tuple(rows), tuple(dict.fromkeys(notes)), leaks)


def finished_runs(dataset: str, root: Path | None = None) -> dict[str, list[tuple[Run, dict[str, Any]]]]:
    """Method → its finished runs on a dataset, with the content of their result.json."""
    finished: dict[str, list[tuple[Run, dict[str, Any]]]] = defaultdict(list)
    for run in find_runs(root, dataset):
        result = run.result()
        if isinstance(result, dict) and result.get("status") == "done" and "metrics" in result:
            finished[run.method].append((run, result))
    return dict(finished)


def _choose_recipe(
    method: str, runs: list[tuple[Run, dict[str, Any]]], wanted: str | None, notes: list[str]
) -> list[tuple[Run, dict[str, Any]]]:
    """The runs of one recipe, by seed; a note when that is not the wanted one, or when others are left out."""
    seeds = Counter(run.hash for run, _ in runs)
    newest = {run.hash: 0.0 for run, _ in runs}
    for run, _ in runs:
        newest[run.hash] = max(newest[run.hash], (run.path / "result.json").stat().st_mtime)
    chosen = wanted if wanted in seeds else max(seeds, key=lambda h: (seeds[h], newest[h], h))
    left_out = f" Left out: {', '.join(sorted(h for h in seeds if h != chosen))}." if len(seeds) > 1 else ""
    if wanted is not None and chosen != wanted:
        notes.append(f"{method}: no finished run of the recipe as it stands ({wanted}); shown is {chosen}.{left_out}")
    elif left_out:
        why = "the recipe as it stands" if wanted else "the recipe with most finished seeds"
        notes.append(f"{method}: shown is {chosen}, {why}.{left_out}")
    return sorted(((run, result) for run, result in runs if run.hash == chosen), key=lambda pair: pair[0].seed)


def _measure(
    row: FilledRow,
    columns: Sequence[Column],
    runs: list[tuple[Run, dict[str, Any]]],
    rule: "ThresholdRule | None",
    shots: str,
    notes: list[str],
) -> FilledRow:
    """``row`` with the runs' numbers; a run that cannot be evaluated by ``rule`` is left out, and a note says why."""
    used: list[tuple[Run, dict[str, Any], dict[str, Any]]] = []
    problems: dict[str, list[str]] = defaultdict(list)
    for run, result in runs:
        try:
            used.append((run, result, _evaluated(run, result, rule, shots)))
        except OltrError as error:
            problems[str(error)].append(f"{run.hash}-s{run.seed}")
    notes += [f"{row.method}: left out {', '.join(names)}: {problem}" for problem, names in problems.items()]
    if not used:
        return replace(row, status="left_out", command=None)
    results = [result for _, result, _ in used]
    metrics = [evaluated["metrics"] for _, _, evaluated in used]
    thresholds = [evaluated["threshold"] for _, _, evaluated in used]
    seconds = [r["seconds_total"] for r in results if r.get("seconds_total") is not None]
    chosen_by = {by for t in thresholds if (by := t.get("chosen_by"))}
    return replace(
        row,
        cells=tuple(
            replace(cell, values=tuple(c.scale * m[c.metric] for m in metrics if m.get(c.metric) is not None))
            for cell, c in zip(row.cells, columns, strict=True)
        ),
        status="measured",
        command=None,
        hash=used[0][0].hash,
        seeds=tuple(run.seed for run, _, _ in used),
        epochs=max((r.get("epochs_total") or 0 for r in results), default=0) or None,
        seconds=mean(seconds) if seconds else None,
        devices=tuple(sorted({str(r["device"]) for r in results if r.get("device")})),
        threshold_rule=thresholds[0]["rule"] + (f", by {' and '.join(sorted(chosen_by))}" if chosen_by else ""),
        thresholds=tuple(float(t["value"]) for t in thresholds),
    )


def _evaluated(run: Run, result: dict[str, Any], rule: "ThresholdRule | None", shots: str) -> dict[str, Any]:
    """Metrics and threshold: the run's own where they are what is asked for, else anew from the saved scores."""
    own_rule = result["threshold"]["rule"]
    if (rule is None or rule.text == own_rule) and result.get("shots") == shots:
        return result
    from oltr_cli.evaluate import evaluate_run
    from oltr_cli.thresholds import ThresholdRule

    return evaluate_run(run.path, rule or ThresholdRule.parse(own_rule), shots)
