"""The content of a report, collected from run folders: runs, tables, curves, classes, mistakes, pictures.

Facts about a run are kept in a ``Cache`` by the state of its files, so that watching reads each run once.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oltr_cli.base.digests import check_toml_digest
from oltr_cli.base.display import Display
from oltr_cli.base.text import shortest
from oltr_cli.errors import DataProblem, OltrError
from oltr_cli.protocol.catalogue import METRICS
from oltr_cli.protocol.confusions import Confusions
from oltr_cli.protocol.evaluate import Evaluation, evaluation_of
from oltr_cli.protocol.per_class import PerClass
from oltr_cli.protocol.shots import GROUPS, shot_groups
from oltr_cli.recipe.files import builtin_recipes
from oltr_cli.report.choose import Chosen, with_all
from oltr_cli.report.facts import Unfinished, facts, unfinished
from oltr_cli.report.mistakes import Album, found_in, gallery
from oltr_cli.report.numbers import class_numbers, confusion_numbers, threshold_numbers
from oltr_cli.report.pictures import Picture, paper_figures, run_plots
from oltr_cli.runs.choices import TUNED, ChosenThreshold, read_tuned
from oltr_cli.runs.folder import Run
from oltr_cli.runs.result import RESULT, RunResult
from oltr_cli.runs.scores import SavedScores
from oltr_cli.tables.fill import fill
from oltr_cli.tables.filled import FilledTable

FILES = ("recipe.toml", "environment.json", "metrics.jsonl", RESULT, TUNED)


@dataclass(frozen=True)
class Finished:
    """One finished run as the page shows it.

    Attributes:
        metrics: name → value, without those that are None.
        numbers: JSON for the script of the page, which draws it: curve, named thresholds, classes, gallery.
        problem: what could not be read; "" if everything could.
    """

    run: Run
    facts: dict[str, Any]
    metrics: dict[str, float]
    numbers: dict[str, Any]
    recipe: str
    plots: tuple[Picture, ...]
    problem: str = ""


@dataclass(frozen=True)
class Report:
    """All that the page shows.

    Attributes:
        own: the dataset is the user's own; its classes and numbers come before the paper's table.
        left_out: which of the paper's tables and figures it omits, and why.
    """

    dataset: str
    own: bool
    made: str
    finished: tuple[Finished, ...]
    unfinished: tuple[Unfinished, ...]
    tables: tuple[FilledTable, ...]
    figures: tuple[Picture, ...]
    class_sets: tuple[dict[str, Any], ...]
    pictures: tuple[str, ...]
    metrics: tuple[str, ...]
    left_out: str = ""


@dataclass
class Cache:
    """What was computed before, by the state of the files it was computed from."""

    runs: dict[tuple[Any, ...], Finished] = field(default_factory=dict)
    figures: dict[tuple[Any, ...], Picture] = field(default_factory=dict)
    class_sets: list[dict[str, Any]] = field(default_factory=list)
    album: Album | None = None


def state(run: Run) -> tuple[Any, ...]:
    """Name, and time and size of each file that a report reads; differs once any of them changes."""
    stamps: list[tuple[int, int] | None] = []
    for name in FILES:
        try:
            stat = (run.path / name).stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((stat.st_mtime_ns, stat.st_size))
    return run.name, *stamps


def collect(
    chosen: Chosen,
    table_names: list[str],
    display: Display,
    cache: Cache | None = None,
    figure_names: Sequence[str] | None = None,
) -> Report:
    """Read the chosen runs.

    Args:
        table_names: tables of the paper to fill with them.
        figure_names: figures of the paper to draw; None: all that draw quickly.
        cache: of an earlier call on the same dataset; its content is not computed again.

    Raises:
        UsageProblem: no such table, or patterns that match none of its rows.
    """
    cache = Cache() if cache is None else cache
    cache.album = cache.album or Album(display)
    methods = list(chosen.methods) if chosen.methods else None
    option = chosen.option
    tables = [fill(name, chosen.dataset, methods=methods, source=chosen.source, option=option) for name in table_names]
    # For each method, the runs in the tables come first and get the pictures: an ablation has other numbers.
    shown = {(row.method, row.hash) for table in tables for row in table.rows if not row.spec.exact}
    done = sorted(chosen.done, key=lambda pair: (pair[0].method, (pair[0].method, pair[0].hash) not in shown))
    finished = []
    seen: set[str] = set()
    with display.bar("runs", len(done), "runs") as bar:
        for run, result in done:
            first = run.method not in seen
            seen.add(run.method)
            key = (first, *state(run))
            if key not in cache.runs:
                cache.runs[key] = _finished(run, result, cache, with_pictures=first)
            finished.append(cache.runs[key])
            bar.advance()
    tables, left_out = with_all(chosen, tables)
    to_draw = chosen.done and (tables or not left_out)
    figures = paper_figures(chosen, display, cache.figures, state, figure_names) if to_draw else []
    names = [name for _, result in chosen.done for name in result.metrics]
    extra = sorted(set(names) - set(METRICS), key=names.index)
    return Report(
        chosen.dataset,
        chosen.dataset not in builtin_recipes(),
        time.strftime("%Y-%m-%d %H:%M:%S %z"),
        tuple(finished),
        tuple(unfinished(run) for run in chosen.others),
        tuple(tables),
        tuple(figures),
        tuple(cache.class_sets),
        tuple(cache.album.pictures),
        tuple(m for m in (*METRICS, *extra) if any(m in one.metrics for one in finished)),
        left_out,
    )


def _finished(run: Run, result: RunResult, cache: Cache, with_pictures: bool) -> Finished:
    """One run; what cannot be read is named in ``problem``, and the rest is shown."""
    assert cache.album is not None
    try:
        evaluated = evaluation_of(run.path, result)
    except OltrError:  # threshold.json or the scores are damaged, which is found again below
        evaluated = Evaluation.of(result)
    own, counts, shots = evaluated.threshold, result.class_counts, evaluated.shots
    named, problem = _named_thresholds(run, result, own)
    numbers: dict[str, Any] = {
        "run": run.name,
        "own": shortest(own.value),
        "named": [{"rule": rule, "tau": shortest(tau)} for rule, tau in named.items()],
        "curve": None,
        "classes": None,
        "confusions": [],
        "gallery": None,
    }
    try:
        known = SavedScores.load(run.scores("test"))
        open_ = SavedScores.load(run.scores("open")) if run.scores("open").exists() else None
        open_ = open_ if open_ is not None and len(open_) else None
        _check(known, len(counts), run)
    except OltrError as error:
        problem = str(error)
    else:
        numbers["class_set"] = _class_set(result, shots, cache)
        if len(known):
            numbers["classes"] = class_numbers(PerClass.of(known, open_, counts, own.tau, shots))
            numbers["confusions"] = confusion_numbers(Confusions.of(known, open_, len(counts), own.tau))
            if open_ is not None:
                numbers["curve"] = threshold_numbers(known, open_, counts, shots, named)
            if with_pictures:
                found, numbers["noSuspects"] = found_in(run, known, open_, result, shots)
                numbers["gallery"], numbers["galleryProblem"] = gallery(run, found, result.data_digest, cache.album)
    metrics = {name: float(value) for name, value in evaluated.metrics.items() if value is not None}
    plots = tuple(run_plots(run)) if with_pictures else ()
    try:
        recipe = (run.path / "recipe.toml").read_text(encoding="utf-8", errors="replace")
        run.environment()
        check_toml_digest(recipe)
    except OSError as error:
        recipe = f"cannot be read: {error.strerror}"
    except ValueError as changed:
        problem = problem or f"{run.path / 'recipe.toml'}: is {changed}"
    except DataProblem as damaged:
        problem = problem or str(damaged)
    return Finished(run, facts(run, result), metrics, numbers, recipe, plots, problem)


def _check(known: SavedScores, classes: int, run: Run) -> None:
    both = np.concatenate([known.labels, known.prediction])
    if len(both) and not (both.min() >= 0 and both.max() < classes):
        raise DataProblem(f"{run.scores('test')}: contains classes that are not in its result.json")


def _named_thresholds(run: Run, result: RunResult, own: ChosenThreshold) -> tuple[dict[str, float], str]:
    """Rule → τ, the one that the page opens with first; and what is wrong with threshold.json, if anything."""
    known, problem = [own, result.threshold, *result.other_thresholds.values()], ""
    try:
        if (tuned := read_tuned(run.path)) is not None:
            known.append(tuned.chosen)
    except DataProblem as error:
        problem = str(error)
    named: dict[str, float] = {}
    for one in known:
        # The plot has one axis of τ: of a rule by class it shows the one τ of the same share.
        named.setdefault(one.text if one.by_class is None else f"{one.text}, as one τ for all classes", one.value)
    return named, problem


def _class_set(result: RunResult, shots: str, cache: Cache) -> int:
    """Number of the run's classes among the different sets of classes on the page."""
    groups = shot_groups(result.class_counts, shots)
    of = np.select([groups[name] for name in GROUPS], range(3)).tolist()
    own = {"names": result.class_names, "counts": result.class_counts, "groups": of}
    if own not in cache.class_sets:
        cache.class_sets.append(own)
    return cache.class_sets.index(own)
