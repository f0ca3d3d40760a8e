"""``oltr run`` does its work once."""

import hashlib
import json
import os

import torch
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.networks.backbones import build_backbone
from oltr_cli.planning import plan, resolve
from oltr_cli.recipe.specs import BackboneSpec


def test_it_plans_once_and_reads_a_weight_file_once(tmp_path, tiny_data, tiny_recipe, monkeypatch):
    weights = tmp_path / "weights.pth"
    torch.save(build_backbone(BackboneSpec(stem="small-stride2", width=8)).state_dict(), weights)
    calls = {"resolve_chain": 0, "file_digest": 0}

    def counted(module, name):
        function = getattr(module, name)

        def call(*arguments, **options):
            calls[name] += 1
            return function(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    counted(plan, "resolve_chain")
    counted(hashlib, "file_digest")
    resolve._digest_of.cache_clear()
    for name, value in {"OLTR_RUNS": tmp_path / "runs", "OLTR_DATA": tiny_data, "OLTR_TRACKING": "off"}.items():
        monkeypatch.setenv(name, str(value))
    command = ["run", "dme", "--detector", "energy", "--recipe", str(tiny_recipe), "--weights", str(weights)]
    command += ["--set", "train.epochs=1", "--set", "plain.train.epochs=1", "--workers", "0", "--json"]
    made = CliRunner().invoke(app, command, catch_exceptions=False)
    assert json.loads(made.stdout)["status"] == "done"
    assert calls == {"resolve_chain": 1, "file_digest": 1}
    # Another content is another run: the file is read again.
    weight_hash = plan.plan("plain", str(tiny_recipe), [f"backbone.weights={json.dumps(str(weights))}"], 0)[0].link.hash
    torch.save(build_backbone(BackboneSpec(stem="small-stride2", width=8)).state_dict(), weights)
    os.utime(weights, ns=(1, 1))
    again = plan.plan("plain", str(tiny_recipe), [f"backbone.weights={json.dumps(str(weights))}"], 0)[0].link.hash
    assert again != weight_hash
    assert calls["file_digest"] == 2
