"""What a report says, collected from run folders: runs, tables, curves, classes, mistakes, pictures.

A run's numbers are kept in a ``Cache`` by the state of its files, so that watching reads each run once.
"""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oltr_cli.base.display import Display
from oltr_cli.base.files import read_json
from oltr_cli.base.secrets import without_secrets
from oltr_cli.base.text import shortest
from oltr_cli.errors import DataProblem, OltrError
from oltr_cli.protocol.catalogue import METRICS
from oltr_cli.protocol.evaluate import evaluation_of
from oltr_cli.protocol.shots import GROUPS, shot_groups
from oltr_cli.recipe.files import recorded_recipe
from oltr_cli.report.choose import Chosen, running, with_all
from oltr_cli.report.classes import class_numbers
from oltr_cli.report.curves import threshold_numbers
from oltr_cli.report.mistakes import Album, find_mistakes, gallery
from oltr_cli.report.pictures import Picture, paper_figures, run_plots
from oltr_cli.runs.folder import Run
from oltr_cli.runs.history import read_history
from oltr_cli.runs.result import RESULT, TUNED, ChosenThreshold, RunFailure, RunResult, read_tuned
from oltr_cli.runs.scores import SavedScores
from oltr_cli.tables.fill import fill
from oltr_cli.tables.filled import FilledTable

FILES = ("recipe.toml", "environment.json", "metrics.jsonl", RESULT, TUNED)


@dataclass(frozen=True)
class Finished:
    """One finished run as the page shows it.

    Attributes:
        metrics: name → value, those that are None left out.
        numbers: what travels as JSON and the page's script draws: curve, named thresholds, classes, gallery.
        problem: what could not be read of it; "" where all could.
    """

    run: Run
    facts: dict[str, Any]
    metrics: dict[str, float]
    numbers: dict[str, Any]
    recipe: str
    plots: tuple[Picture, ...]
    problem: str = ""


@dataclass(frozen=True)
class Unfinished:
    """A run that goes on, waits or failed: epochs so far of how many, and the last line of its history."""

    run: Run
    status: str
    epoch: int
    epochs: int | None
    last: dict[str, Any]
    error: str = ""


@dataclass(frozen=True)
class Report:
    """All that the page shows; ``left_out`` says which of the paper's tables and figures it does not, and why."""

    dataset: str
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
    """What was made before, by the state of the files it was made from."""

    runs: dict[tuple[Any, ...], Finished] = field(default_factory=dict)
    figures: dict[tuple[Any, ...], Picture] = field(default_factory=dict)
    class_sets: list[dict[str, Any]] = field(default_factory=list)
    album: Album | None = None


def state(run: Run) -> tuple[Any, ...]:
    """Name, and time and size of each file that a report reads of a run; other once any of them changes."""
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
        table_names: of the paper's tables to lay over them.
        figure_names: of the paper's figures to draw; None: all that take no minutes.
        cache: of an earlier call on the same dataset; what it holds is not made again.

    Raises:
        UsageProblem: no such table, or patterns that fit none of its rows.
    """
    cache = Cache() if cache is None else cache
    cache.album = cache.album or Album(display)
    methods = list(chosen.methods) if chosen.methods else None
    option = chosen.option
    tables = [fill(name, chosen.dataset, methods=methods, source=chosen.source, option=option) for name in table_names]
    # Of each method the runs that the tables show come first, and so have the pictures: an ablation has other numbers.
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
        time.strftime("%Y-%m-%d %H:%M:%S %z"),
        tuple(finished),
        tuple(_unfinished(run) for run in chosen.others),
        tuple(tables),
        tuple(figures),
        tuple(cache.class_sets),
        tuple(cache.album.pictures),
        tuple(m for m in (*METRICS, *extra) if any(m in one.metrics for one in finished)),
        left_out,
    )


def _finished(run: Run, result: RunResult, cache: Cache, with_pictures: bool) -> Finished:
    """One run; what of it cannot be read is named in ``problem``, and the rest is shown."""
    assert cache.album is not None
    evaluated = evaluation_of(run.path, result)
    own, counts, shots = evaluated.threshold, result.class_counts, evaluated.shots
    named, problem = _named_thresholds(run, result, own)
    numbers: dict[str, Any] = {
        "run": run.name,
        "own": shortest(own.value),
        "named": [{"rule": rule, "tau": shortest(tau)} for rule, tau in named.items()],
        "curve": None,
        "classes": None,
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
            numbers["classes"] = class_numbers(known, len(counts), own.value if open_ is not None else None)
            if open_ is not None:
                numbers["curve"] = threshold_numbers(known, open_, counts, shots, named)
            if with_pictures:
                found = find_mistakes(known, open_, counts, shots)
                numbers["gallery"], numbers["galleryProblem"] = gallery(run, found, result.data_digest, cache.album)
    metrics = {name: float(value) for name, value in evaluated.metrics.items() if value is not None}
    plots = tuple(run_plots(run)) if with_pictures else ()
    try:
        recipe = (run.path / "recipe.toml").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        recipe = f"cannot be read: {error.strerror}"
    return Finished(run, _facts(run, result), metrics, numbers, recipe, plots, problem)


def _check(known: SavedScores, classes: int, run: Run) -> None:
    both = np.concatenate([known.labels, known.prediction])
    if len(both) and not (both.min() >= 0 and both.max() < classes):
        raise DataProblem(f"{run.scores('test')}: holds classes that its result.json does not know")


def _named_thresholds(run: Run, result: RunResult, own: ChosenThreshold) -> tuple[dict[str, float], str]:
    """Rule → τ, the run's own first; and what is wrong with threshold.json."""
    known, problem = [own, result.threshold, *result.other_thresholds.values()], ""
    try:
        if (tuned := read_tuned(run.path)) is not None:
            known.append(tuned.chosen)
    except DataProblem as error:
        problem = str(error)
    named: dict[str, float] = {}
    for one in known:
        named.setdefault(one.text, one.value)
    return named, problem


def _class_set(result: RunResult, shots: str, cache: Cache) -> int:
    """Number of the run's classes among the different sets of classes on the page."""
    groups = shot_groups(result.class_counts, shots)
    of = np.select([groups[name] for name in GROUPS], range(3)).tolist()
    own = {"names": result.class_names, "counts": result.class_counts, "groups": of}
    if own not in cache.class_sets:
        cache.class_sets.append(own)
    return cache.class_sets.index(own)


def _facts(run: Run, result: RunResult) -> dict[str, Any]:
    """What to say of how a run was made; None for what is not known."""
    found = read_json(run.path / "environment.json")
    environment: dict[str, Any] = found if isinstance(found, dict) else {}
    command, packages = environment.get("command"), environment.get("packages")
    try:
        finished = (run.path / RESULT).stat().st_mtime
    except OSError:
        finished = None
    return {
        "commit": environment.get("commit"),
        "oltr": environment.get("oltr"),
        "python": environment.get("python"),
        "platform": environment.get("platform"),
        "packages": ", ".join(f"{k} {v}" for k, v in packages.items()) if isinstance(packages, dict) else None,
        "device": environment.get("device") or result.device,
        "precision": environment.get("precision"),
        "processes": environment.get("processes"),
        "threads": environment.get("threads"),
        "command": shlex.join(without_secrets(str(word)) for word in command) if isinstance(command, list) else None,
        "epochs": result.epochs,
        "epochs_total": result.epochs_total,
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
        "seconds_total": result.seconds_total,
        "starts_from": result.starts_from,
        "undecodable": len(result.undecodable),
        "data_digest": result.data_digest,
        "finished": None if finished is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(finished)),
    }


def _unfinished(run: Run) -> Unfinished:
    history = read_history(run.path / "metrics.jsonl")
    epochs = recorded_recipe(run.path).get("train", {}).get("epochs")
    last = history[-1] if history else {}
    try:
        outcome = run.outcome()
        error = outcome.error if isinstance(outcome, RunFailure) else ""
    except DataProblem as problem:
        error = str(problem)
    known = epochs if isinstance(epochs, int) else None
    return Unfinished(run, running(run), last.get("epoch", 0), known, last, error)
