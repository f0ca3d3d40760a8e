"""``oltr compare --table detectors``: every detector on the finished runs of a dataset, from their saved scores.

Nothing is trained and no detector run has to exist; if there is one on the same run, its result is shown. The table is
filled like one of the paper's, without figures of a paper, so that all formats can show it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from oltr_cli.base.added_code import named_faults
from oltr_cli.base.display import Bar, Display
from oltr_cli.errors import OltrError, UsageProblem
from oltr_cli.pipeline.rescoring import NeedsImages, NoTrainingScores, Rescoring, detector_names
from oltr_cli.planning.registry import PLUS
from oltr_cli.planning.source import Source
from oltr_cli.protocol.evaluate import Evaluation, evaluate_scores, evaluation_of
from oltr_cli.protocol.open_sets import is_open, is_open_set
from oltr_cli.protocol.thresholds import PAPER_RULE, ThresholdRule
from oltr_cli.runs.folder import Run, finished_runs
from oltr_cli.runs.made_with import hint
from oltr_cli.runs.result import DetectorFacts
from oltr_cli.tables.fill import runs_left_out
from oltr_cli.tables.filled import Cell, FilledRow, FilledTable
from oltr_cli.tables.paper import DETECTORS, TUNED, Column, Table, open_set_columns
from oltr_cli.tables.rows import RowSpec
from oltr_cli.tables.which_runs import Pairs, choose_recipe, on_its_lists

OWN = "own confidence"
_GROUPS = ("many", "medium", "few")
_COLUMNS = (
    Column(name="all", metric="open/auroc", group="AUROC against open"),
    *(Column(name=group, metric=f"open/auroc_{group}", group="AUROC against open") for group in _GROUPS),
    Column(name="all", metric="open/fpr95", group="FPR95"),
    *(Column(name=group, metric=f"open/fpr95_{group}", group="FPR95") for group in _GROUPS),
    Column(name="F-measure", metric="open/f_measure", group="at τ"),
)


@dataclass
class _Filling:
    """The rows of a table so far.

    Attributes:
        reasons: reason → rows that were left out for it.
    """

    source: Source
    rule: ThresholdRule | None
    shots: str
    columns: tuple[Column, ...]
    finished: dict[str, Pairs]
    reasons: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def _sets(self) -> list[str]:
        """The further open sets that the columns show."""
        return sorted({part for c in self.columns if is_open_set(part := c.metric.partition("/")[0])})

    def row(self, method: str, detector: str | None, seeds: list[Rescoring], bar: Bar) -> FilledRow:
        """One detector, or None for the run's own confidence, on the runs of all seeds of a method."""
        name = method if detector is None else f"{method}{PLUS}{detector}"
        spec = RowSpec(name, detector or OWN, name, name, (None,) * len(self.columns), method, named=True)
        row = FilledRow(spec, tuple(Cell(None) for _ in self.columns), "left_out", hash=seeds[0].run.hash)
        found: list[tuple[Rescoring, Evaluation, DetectorFacts | None]] = []
        command = None
        for on in seeds:
            try:
                with named_faults():
                    found.append((on, *self._evaluated(on, detector)))
            except (NeedsImages, NoTrainingScores) as problem:
                command = command or problem.command
                if problem.command is None:
                    self.reasons[str(problem)].append(name)
            except OltrError as problem:
                self.reasons[str(problem).removeprefix(f"{detector} ").removeprefix(f"{detector}: ")].append(name)
            bar.advance(title=name)
        if not found:
            return replace(row, status="missing", command=command) if command else row
        thresholds = [evaluated.threshold for _, evaluated, _ in found]
        cells = (
            Cell(None, tuple(c.scale * v for _, one, _ in found if (v := one.metrics.get(c.metric)) is not None))
            for c in self.columns
        )
        return replace(
            row,
            cells=tuple(cells),
            status="measured",
            seeds=tuple(on.run.seed for on, _, _ in found),
            epochs=max(on.result.epochs_total or 0 for on, _, _ in found) or None,
            devices=tuple(sorted({on.result.device for on, _, _ in found if on.result.device})),
            threshold_rule=" and ".join(dict.fromkeys(threshold.rule for threshold in thresholds)),
            thresholds=tuple(threshold.value for threshold in thresholds),
            chosen=tuple(thresholds),
            detector=found[0][2],
        )

    def _evaluated(self, on: Rescoring, detector: str | None) -> tuple[Evaluation, DetectorFacts | None]:
        """The evaluation on the test set; that of a stored run of the detector if there is one."""
        own = ThresholdRule("own")
        if detector is None:
            return evaluation_of(on.run.path, on.result, self.rule or own, self.shots), None
        for run, result in self.finished.get(f"{on.run.method}{PLUS}{detector}", ()):
            if result.starts_from == on.run.name and result.detector is not None:
                return evaluation_of(run.path, result, self.rule or own, self.shots), result.detector
        fitted = on.fitted(detector)
        rule = self.rule if self.rule is not None and self.rule.name != "own" else None
        rule = rule or ThresholdRule.parse(getattr(fitted, "threshold_rule", PAPER_RULE))
        known = on.scores(fitted, "test")  # says which file is missing, if it is
        splits = {split: on.scores(fitted, split) for split in ("open", *rule.splits) if on.has(split)}
        evaluated = evaluate_scores(
            known,
            splits.get("open"),
            on.result.class_counts,
            rule,
            self.shots,
            splits.get("val"),
            splits.get("open_val"),
            {split: on.scores(fitted, split) for split in self._sets if on.has(split)},
        )
        params = fitted.setup.params.model_dump(mode="json", by_alias=True)
        return evaluated, DetectorFacts(name=detector, params=params, report=fitted.report())


def detector_table(
    source: Source,
    display: Display,
    *,
    rule: ThresholdRule | None = None,
    shots: str = "paper",
    methods: Sequence[str] | None = None,
    by_set: bool = False,
) -> FilledTable:
    """Every detector on the finished runs of trained methods on a dataset.

    Args:
        rule: how τ is chosen; None takes each detector's own rule, and each run's own for its own confidence.
        shots: definition of the shot groups.
        by_set: the columns of each open set instead of those of the shot groups.
        methods: only these trained methods, names or globs, several separated by commas; default all finished ones.

    Raises:
        UsageProblem: the rule is ``tuned``; no run is finished; a name fits none.
    """
    if rule is not None and rule.name == "tuned":
        raise UsageProblem("--threshold tuned is saved for a run's own confidence; for detectors use a rule, or own")
    dataset = source.dataset
    damaged: dict[Run, str] = {}
    finished, elsewhere = on_its_lists(finished_runs(dataset, damaged=damaged), source.recipe)
    trained = {method: runs for method, runs in finished.items() if PLUS not in method}
    left_out = runs_left_out(damaged.values(), elsewhere, dataset)
    try:
        names, notes = _chosen(list(trained), methods, source)
    except UsageProblem:
        for note in left_out:  # there is no table below which they could stand
            display.warn(note)
        raise
    measured = [metric for name in names for _, result in trained[name] for metric in result.metrics]
    columns = open_set_columns(measured) if by_set else _COLUMNS
    filling = _Filling(source, rule, shots, columns, finished)
    rows: list[FilledRow] = []
    detectors = [None, *detector_names()]
    chosen = {name: choose_recipe(name, trained[name], _hash(name, source)) for name in names}
    with display.bar("detectors", len(detectors) * sum(len(runs) for runs, _ in chosen.values()), "detectors") as bar:
        for name, (runs, note) in chosen.items():
            notes += [note] if note else []
            seeds = [Rescoring(run, result) for run, result in runs]
            rows += [filling.row(name, detector, seeds, bar) for detector in detectors]
    for reason, without in filling.reasons.items():
        notes.append(f"{', '.join(dict.fromkeys(without))}: left out: {reason}")
    notes += left_out
    if any(row.tuned_on_open for row in rows):
        notes.append(f"{TUNED} Open validation samples chose parameters of the detector.")
    if rows and not any(
        cell.n
        for row in rows
        for c, cell in zip(columns, row.cells, strict=True)
        if is_open(c.metric.partition("/")[0])
    ):
        notes.append(f"{dataset} has no open test images, so nothing can be measured.")
    leaks = rule is not None and rule.marks_test_leak
    notes += [f"{TUNED} τ was chosen on the test set itself."] if leaks else []
    table = Table(
        label="Detectors",
        caption="each from the run's saved scores" + ("" if rule else ", τ by its own rule"),
        source=f"finished runs on {dataset}",
        dataset=dataset,
        dataset_title=dataset,
        columns=_COLUMNS,
        rows=(),
    ).model_copy(update={"columns": columns})
    return FilledTable(DETECTORS, table, dataset, shots, tuple(rows), tuple(dict.fromkeys(notes)), leaks)


def _hash(method: str, source: Source) -> str | None:
    """Hash of the method's run by the current recipe, if there is one."""
    spec = RowSpec(method, method, method, method, (), "")
    return None if source.recipe is None else spec.hash(source.recipe)


def _chosen(trained: list[str], patterns: Sequence[str] | None, source: Source) -> tuple[list[str], list[str]]:
    """The methods to show, and notes on those that were asked for and have no finished run."""
    if patterns is None:
        if not trained:
            raise UsageProblem(f"no finished run on {source.dataset}; make one: oltr run dme {source.option}")
        return trained, []
    chosen: list[str] = []
    notes: list[str] = []
    for pattern in filter(None, (part.strip() for text in patterns for part in text.split(","))):
        fitting = [name for name in trained if fnmatchcase(name, pattern)]
        chosen += fitting
        if not fitting:
            notes.append(_not_there(pattern, source))
    if not chosen:
        raise UsageProblem(notes[0] if notes else "--methods names no method")
    return list(dict.fromkeys(chosen)), notes


def _not_there(name: str, source: Source) -> str:
    from oltr_cli.planning.registry import list_methods

    methods = {method for method, info in list_methods().items() if info.kind == "method"}
    if PLUS in name or (name not in methods and name in list_methods()):
        raise UsageProblem(f"--methods {name}: give trained methods; the table shows all detectors on each")
    if name not in methods and not set(name) & set("*?["):
        raise UsageProblem(f"no method '{name}'{hint(name, methods)}")
    return f"{name}: no finished run on {source.dataset}; to train it: oltr run {name} {source.option}"
