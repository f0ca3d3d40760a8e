"""``oltr run`` does its work once."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.display import Display
from oltr_cli.commands.run import _next_steps
from oltr_cli.errors import UsageProblem
from oltr_cli.networks.backbones import build_backbone
from oltr_cli.planning import plan, resolve, run_hash
from oltr_cli.recipe.specs import BackboneSpec
from tests.helpers.fake_runs import make_run


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
    run_hash._digest_of.cache_clear()
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


def test_on_photographs_of_the_users_own_the_next_step_is_to_predict(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path))
    made = make_run(tmp_path, "mine", "dme")
    display = Display()
    for digest, says in (("ab", "oltr predict mine/dme IMAGES"), (None, "oltr compare --table 3a --dataset mine")):
        recipe = SimpleNamespace(data=SimpleNamespace(lists_digest=digest))
        planned = [SimpleNamespace(run=made, link=SimpleNamespace(recipe=recipe))]
        _next_steps(made.result(), planned, display, True, "--dataset mine")
        assert f"next  {says}" in capsys.readouterr().err


ASK = """
import sys
from oltr_cli.app import main
try:
    main()
finally:
    sys.stderr.write(f"torch: {'torch' in sys.modules}")
"""


@pytest.mark.parametrize("words", [("run", "dme"), ("tune", "lambda")])
@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("lambda=", "the value is missing"),
        ("train.epochs", "write it as KEY=VALUE"),
        ("a b=1", "write it as KEY=VALUE"),
        ("train..epochs=1", "write it as KEY=VALUE"),
        ("train.lr=[1", "the value is not valid TOML"),
    ],
)
def test_a_malformed_assignment_is_refused_without_torch(tmp_path, words, assignment, says):
    env = {**os.environ, "OLTR_RUNS": str(tmp_path), "OLTR_TRACKING": "off", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *words, "--set", assignment], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert f"error: --set {assignment}: {says}" in done.stderr
    assert done.stderr.endswith("torch: False")


def test_an_empty_text_and_a_text_that_looks_like_toml_can_be_set():
    assert resolve.parse_set('data.root=""') == ("data.root", "")
    assert resolve.parse_set("data.root=it's here") == ("data.root", "it's here")
    with pytest.raises(UsageProblem) as caught:
        resolve.parse_set("data.root=[2024] birds")
    (_, advised) = shlex.split(str(caught.value).partition("write ")[2])
    assert resolve.parse_set(advised) == ("data.root", "[2024] birds")
