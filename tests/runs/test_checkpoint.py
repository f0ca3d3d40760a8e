"""Checkpoints that are damaged, of another run or of another program: refused by name, or the one before is used."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oltr_cli.errors import DataProblem
from oltr_cli.runs.checkpoint import load_best, load_latest, save_checkpoint
from oltr_cli.runs.folder import Run

IDENTITY = {"format": 1, "hash": "0123456789", "seed": 0, "data_digest": "d"}
WEIGHTS = {"model": {"weight": torch.arange(2000, dtype=torch.float32)}}
BEST = {**IDENTITY, **WEIGHTS, "epoch": 2, "value": 0.5}
LAST = {**IDENTITY, **WEIGHTS, "progress": {"epoch": 3}, "optimizer": {}, "scheduler": {}}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path, "tiny", "plain", "0123456789", 0)
    save_checkpoint(run.path / "best.pt", BEST)
    for epoch in (2, 3):
        save_checkpoint(run.path / "last.pt", {**LAST, "progress": {"epoch": epoch}}, keep_previous=True)
    return run


def flip(path: Path, place: int, bit: int = 6) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def test_what_was_saved_is_loaded(run: Run):
    assert load_best(run)["epoch"] == 2
    content, warning = load_latest(run)
    assert content is not None
    assert (content["progress"], warning) == ({"epoch": 3}, "")


def test_no_flipped_bit_in_the_weights_is_used(run: Run):
    """torch.load itself takes them: that is what the check sums are compared for."""
    path = run.path / "best.pt"
    with zipfile.ZipFile(path) as archive:
        record = next(info for info in archive.infolist() if "/data/" in info.filename and info.file_size == 8000)
    middle = path.read_bytes().index(WEIGHTS["model"]["weight"].numpy().tobytes()) + record.file_size // 2
    flip(path, middle)
    used = torch.load(path, weights_only=True)["model"]["weight"]
    assert not torch.equal(used, WEIGHTS["model"]["weight"])
    with pytest.raises(DataProblem, match=r"best\.pt: is damaged"):
        load_best(run)


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(run: Run):
    path = run.path / "last.pt"
    whole = path.read_bytes()
    used = 0
    for place in np.random.default_rng(0).integers(0, len(whole), 150):
        flip(path, int(place), int(place) % 8)
        content, warning = load_latest(run)
        assert content is not None
        assert torch.equal(content["model"]["weight"], WEIGHTS["model"]["weight"])
        assert content["progress"] == {"epoch": 2 if warning else 3}
        used += not warning
        path.write_bytes(whole)
    assert used < 50, "only what no reader looks at, such as padding, may be flipped without a word"


@pytest.mark.parametrize("name", ["model", "progress", "optimizer", "scheduler", "data_digest", "hash", "seed"])
@pytest.mark.parametrize("value", [None, 7.5, "text"])
def test_what_is_missing_or_odd_costs_one_checkpoint(run: Run, name: str, value: Any):
    odd = {key: content for key, content in LAST.items() if key != name}
    if value is not None and not (name == "data_digest" and isinstance(value, str)):
        odd[name] = value
    torch.save(odd, run.path / "last.pt")
    content, warning = load_latest(run)
    assert content is not None
    assert content["progress"] == {"epoch": 2}
    assert "last.pt" in warning
    assert "resuming from the checkpoint before it" in warning


def test_another_runs_weights_are_refused(run: Run):
    torch.save({**BEST, "hash": "9876543210"}, run.path / "best.pt")
    with pytest.raises(DataProblem, match=r"belongs to another run \(9876543210-s0\)"):
        load_best(run)


def test_nothing_usable_starts_from_the_beginning_and_says_so(run: Run):
    for name in ("last.pt", "last.prev.pt"):
        (run.path / name).write_bytes(b"PK\x03\x04 not much")
    content, warning = load_latest(run)
    assert content is None
    assert warning.endswith("starting from the beginning")
