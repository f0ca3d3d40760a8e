"""Finished runs without training: random scores saved in the layout of a run folder, and their honest result.json.

And a registry of known content with a plan whose hashes tell methods and assignments apart, so that a test of the
tables depends neither on what methods/ holds nor on torch.
"""

import hashlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console

from oltr_cli.base.files import read_json
from oltr_cli.planning.plan import Planned
from oltr_cli.planning.registry import MethodInfo
from oltr_cli.protocol.evaluate import evaluate_scores
from oltr_cli.protocol.thresholds import ThresholdRule
from oltr_cli.runs.folder import Run, runs_root
from oltr_cli.runs.result import RunFailure, RunResult
from oltr_cli.runs.scores import SavedScores, max_softmax
from oltr_cli.tables.filled import FilledRow, FilledTable
from oltr_cli.tables.formats import render
from oltr_cli.tables.rows import LATER

CLASS_COUNTS = [300, 150, 101, 100, 50, 20, 19, 8, 5, 2]


def random_scores(rng: np.random.Generator, size: int, is_open: bool, skill: float) -> SavedScores:
    """Scores (size,) of 10 classes; confidences are rounded, so that many of them tie."""
    classes = len(CLASS_COUNTS)
    labels = np.full(size, -1) if is_open else rng.permutation(np.arange(size) % classes)
    logits = rng.normal(size=(size, classes)).astype(np.float32)
    if not is_open:
        logits[np.arange(size), labels] += skill
    prediction, confidence = max_softmax(logits)
    return SavedScores(prediction, confidence.round(2), labels.astype(np.int64))


def make_run(
    root: Path,
    dataset: str,
    method: str,
    seed: int = 0,
    run_hash: str = "0123456789",
    skill: float = 2.0,
    detector: dict[str, Any] | None = None,
) -> Run:
    """A finished run of 24 epochs that took 90 + seed seconds; ``detector``: what a pair's result says of it."""
    run = Run(root, dataset, method, run_hash, seed)
    rng = np.random.default_rng([seed, *f"{dataset} {method} {run_hash}".encode()])
    sizes = {"val": 200, "test": 300, "open": 120, "open_val": 80}
    splits = {name: random_scores(rng, size, name.startswith("open"), skill) for name, size in sizes.items()}
    for name, scores in splits.items():
        scores.save(run.scores(name))
    evaluated = evaluate_scores(splits["test"], splits["open"], CLASS_COUNTS, ThresholdRule.parse("fixed:0.1"))
    (run.path / "recipe.toml").write_text(f'method = "{method}"\n')
    a_result(
        run,
        threshold=evaluated.threshold,
        metrics=evaluated.metrics,
        epochs=0 if detector else 10,
        epochs_total=24,
        seconds=40.0,
        seconds_total=90.0 + seed,
        device="cpu",
        detector=detector,
    ).write(run.path)
    return run


def a_result(run: Run, **fields: Any) -> RunResult:
    """The result of ``run`` with these fields, and the least in all others."""
    least = {"threshold": {"rule": "fixed:0.1", "value": 0.1}, "metrics": {}, "class_counts": CLASS_COUNTS}
    return RunResult(**{**run.identity, **least, **fields})


def a_failure(run: Run, error: str = "?") -> RunFailure:
    """The result of ``run`` where it failed."""
    return RunFailure(**run.identity, error=error)


def edit_result(run_dir: Path, **changes: Any) -> None:
    """Other values in the result.json of ``run_dir``, whatever they are."""
    edit_json(run_dir / "result.json", **changes)


def edit_json(path: Path, **changes: Any) -> None:
    """Other values in a file that oltr wrote, without its digest."""
    path.write_text(json.dumps({**read_json(path), **changes}))


def fake_methods(monkeypatch: pytest.MonkeyPatch) -> dict[str, MethodInfo]:
    """plain, range, dme and two more at hand, two detectors, and somebody's own method; no lifted, focal or fslwf."""
    infos = {
        "plain": MethodInfo("plain", "", "plain", class_name="Plain"),
        "range": MethodInfo("range", "", "feature regularisation", starts_from="plain", class_name="Range"),
        "dme": MethodInfo("dme", "", "open long-tailed recognition", starts_from="plain", class_name="DME"),
        "a-old": MethodInfo("a-old", "", "re-weighting", starts_from="plain", class_name="Old"),
        "crt": MethodInfo("crt", "", LATER, starts_from="plain", class_name="CRT"),
        "openmax": MethodInfo("openmax", "", "", starts_from="range", class_name="OpenMax", kind="detector"),
        "odin": MethodInfo("odin", "", "", starts_from="plain", class_name="ODIN", kind="detector"),
        "energy": MethodInfo("energy", "", "", class_name="Energy", kind="detector"),
        "mine_100%": MethodInfo("mine_100%", "", "other", class_name="Mine", origin="file"),
        "no-python": MethodInfo("no-python", "line 1: invalid syntax", "broken", origin="file"),
    }
    for where in ("oltr_cli.planning.registry", "oltr_cli.tables.rows"):
        monkeypatch.setattr(f"{where}.list_methods", lambda: infos)
    return infos


def fake_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every recipe resolves to one run on "somewhere", without those before it; the equal budget is 28 epochs."""

    def plan(method: str, recipe: str, sets: list[str], seed: int, start: Run | None = None) -> list[Planned]:
        link = SimpleNamespace(
            hash=fake_hash(method, *sets), recipe=SimpleNamespace(detector=method.partition("+")[2] or None)
        )
        about: Any = SimpleNamespace(name=method)
        return [Planned(Run(runs_root(), "somewhere", method, link.hash, seed), cast("Any", link), about, start)]

    monkeypatch.setattr("oltr_cli.planning.plan.plan", plan)
    monkeypatch.setattr("oltr_cli.planning.plan.equal_budget", lambda method, recipe: ["train.epochs=28"])


def fake_hash(method: str, *sets: str) -> str:
    """What ``fake_plan`` gives: another for other assignments, but not for dme's default attention."""
    told = [s for s in sets if s != "params.attention=modulated"]
    return hashlib.sha256(json.dumps([method, *told]).encode()).hexdigest()[:10]


def by_key(filled: FilledTable) -> dict[str, FilledRow]:
    """The rows of a filled table by their names."""
    return {row.spec.key: row for row in filled.rows}


def as_text(filled: FilledTable, width: int = 100) -> str:
    """The table as a terminal of that width shows it."""
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(render(filled, "rich"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
