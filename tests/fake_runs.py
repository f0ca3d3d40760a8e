"""Finished runs without training: random scores saved in the layout of a run folder, and their honest result.json."""

import json
from pathlib import Path

import numpy as np

from oltr_cli.evaluate import evaluate_scores
from oltr_cli.runs import Run
from oltr_cli.scores import SavedScores, max_softmax
from oltr_cli.thresholds import ThresholdRule

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
    root: Path, dataset: str, method: str, seed: int = 0, run_hash: str = "0123456789", skill: float = 2.0
) -> Run:
    """A finished run of 24 epochs that took 90 + seed seconds."""
    run = Run(root, dataset, method, run_hash, seed)
    rng = np.random.default_rng([seed, *f"{dataset} {method} {run_hash}".encode()])
    sizes = {"val": 200, "test": 300, "open": 120, "open_val": 80}
    splits = {name: random_scores(rng, size, name.startswith("open"), skill) for name, size in sizes.items()}
    for name, scores in splits.items():
        scores.save(run.scores(name))
    evaluated = evaluate_scores(splits["test"], splits["open"], CLASS_COUNTS, ThresholdRule.parse("fixed:0.1"))
    result = {
        "status": "done",
        "method": method,
        "dataset": dataset,
        "seed": seed,
        "hash": run_hash,
        **{key: evaluated[key] for key in ("threshold", "shots", "metrics")},
        "class_counts": CLASS_COUNTS,
        "epochs": 10,
        "epochs_total": 24,
        "seconds": 40.0,
        "seconds_total": 90.0 + seed,
        "device": "cpu",
    }
    (run.path / "recipe.toml").write_text(f'method = "{method}"\n')
    (run.path / "result.json").write_text(json.dumps(result))
    return run
