"""OLTR_PRECISION: which precision a device computes in, and what is refused."""

import json

import pytest
import torch

from oltr_cli.base.machine import precision
from oltr_cli.errors import UsageProblem


@pytest.mark.parametrize(
    ("asked", "device", "bf16", "chosen"),
    [
        (None, "cpu", False, "float32"),
        ("", "cpu", False, "float32"),
        (None, "cuda", True, "bf16"),
        (None, "cuda", False, "float32"),
        ("float32", "cuda", True, "float32"),
        ("float64", "cuda", True, "float64"),
        ("bf16", "cpu", False, "bf16"),
    ],
)
def test_what_is_chosen(monkeypatch, asked, device, bf16, chosen):
    monkeypatch.delenv("OLTR_PRECISION", raising=False)
    if asked is not None:
        monkeypatch.setenv("OLTR_PRECISION", asked)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    assert precision(torch.device(device)) == chosen


@pytest.mark.parametrize(
    ("asked", "device"), [("float16", "cpu"), ("FLOAT32", "cpu"), ("float64", "mps"), ("bf16", "cuda")]
)
def test_what_is_refused(monkeypatch, asked, device):
    monkeypatch.setenv("OLTR_PRECISION", asked)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(UsageProblem, match=f"OLTR_PRECISION={asked}: .*use"):
        precision(torch.device(device))


def test_a_run_and_a_head_on_its_features_in_float64(oltr, tiny_recipe):
    oltr.env["OLTR_PRECISION"] = "float64"
    for method in ("plain", "cosine-la"):
        done = oltr("run", method, "--recipe", tiny_recipe, "--json", "--workers", "0")
        assert done.returncode == 0, done.stderr
        run = oltr.runs / json.loads(done.stdout)["run"]
        assert json.loads((run / "environment.json").read_text())["precision"] == "float64"
