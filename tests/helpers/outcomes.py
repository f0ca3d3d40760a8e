"""What a run ended with, and whether two ended alike."""

import json
import time

import torch

EPOCH_FIELDS = ("epoch", "loss", "val/closed/overall", "lr/features")


def run_dir(oltr, method):
    return next((oltr.runs / "tiny" / method).iterdir())


def outcome_of(path):
    """All that must not depend on interruptions: metrics, epochs, weights."""
    result = json.loads((path / "result.json").read_text())
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    weights = torch.load(path / "last.pt", weights_only=True)["model"]
    best = torch.load(path / "best.pt", weights_only=True)["model"]
    kept = {k: result[k] for k in ("metrics", "other_thresholds", "best_epoch", "epochs", "undecodable")}
    return kept, [{k: row.get(k) for k in EPOCH_FIELDS} for row in rows], weights, best


def assert_equal(a, b):
    assert a[0] == b[0]
    assert a[1] == b[1]
    for weights, others in zip(a[2:], b[2:], strict=True):
        assert weights.keys() == others.keys()
        for key in weights:
            assert torch.equal(weights[key], others[key]), key


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition() or process.poll() is not None:
            return
        time.sleep(0.005)
    raise AssertionError("nothing happened")
