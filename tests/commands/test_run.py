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


@pytest.fixture
def begun(monkeypatch, tmp_path):
    """What would have been made, the methods of each chain; every run is then there."""
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    calls = []

    def make_runs(planned, **machine):
        calls.append(([p.run.method for p in planned], planned[-1].run.seed, machine))
        run = planned[-1].run
        return make_run(run.root, run.dataset, run.method, run.seed, run.hash).result()

    monkeypatch.setattr("oltr_cli.pipeline.make.make_runs", make_runs)
    monkeypatch.setattr("oltr_cli.pipeline.working.make_runs", make_runs)
    return calls


def test_until_ends_with_a_run_of_the_chain_and_no_wait_does_not_wait(begun):
    done = CliRunner().invoke(app, ["run", "openmax", "--until", "range", "--json", "--no-wait"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["method"] == "range"
    assert [(chain, machine["waits"]) for chain, _, machine in begun] == [(["plain", "range"], False)]
    refused = CliRunner().invoke(app, ["run", "openmax", "--until", "dme"])
    assert "--until dme: range+openmax has no such run before it" in str(refused.exception)
    planned = CliRunner().invoke(app, ["run", "openmax", "--until", "plain", "--dry-run", "--json"])
    assert [run["run"].split("/")[1] for run in json.loads(planned.stdout)["runs"]] == ["plain"]


def test_seeds_are_runs_from_the_first_seed_on(begun):
    done = CliRunner().invoke(app, ["run", "dme", "--seeds", "2", "--seed", "3", "--device", "cpu", "--compile"])
    assert done.exit_code == 0, done.output
    assert [(chain[-1], seed) for chain, seed, _ in begun] == [("plain", 3), ("plain", 4), ("dme", 3), ("dme", 4)]
    assert all(machine["device"] == "cpu" and machine["compiled"] for *_, machine in begun)
    lines = [line.split("│")[1].strip() for line in done.stdout.splitlines() if "│" in line]
    assert lines == ["3", "4", "mean"]
    assert "oltr compare --table 3a --dataset glyphs-lt" in done.stderr
    both = CliRunner().invoke(app, ["run", "dme", "--seeds", "2", "--seed", "3", "--json"])
    assert [run["seed"] for run in json.loads(both.stdout)["runs"]] == [3, 4]
    for more in (["--until", "plain"], ["--no-wait"]):
        assert "--seeds does not go with" in str(
            CliRunner().invoke(app, ["run", "dme", "--seeds", "2", *more]).exception
        )


def test_a_seed_that_fails_is_named_and_the_others_are_shown(begun, monkeypatch):
    def make_runs(planned, **machine):
        if planned[-1].run.seed == 1:
            raise UsageProblem("no such thing")
        return make(planned, **machine)

    from oltr_cli.pipeline import working

    make = working.make_runs
    monkeypatch.setattr(working, "make_runs", make_runs)
    done = CliRunner().invoke(app, ["run", "dme", "--seeds", "3", "--json"])
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert [run["seed"] for run in said["runs"]] == [0, 2]
    assert [one["what"] for one in said["failed"]] == ["dme, seed 1"]
    assert said["failed"][0]["error"].endswith(": no such thing")


@pytest.mark.parametrize("words", [["run", "dme"], ["run", "dme", "--seeds", "1", "--rate", "10"]])
def test_a_dry_run_names_a_damaged_run_that_would_stop_it(tmp_path, monkeypatch, words):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path))
    run = plan.plan("dme", "glyphs-lt", [], 0)[0].run
    run.path.mkdir(parents=True)
    (run.path / "result.json").write_text("{")
    done = CliRunner().invoke(app, [*words, "--dry-run"])
    assert done.exit_code == 0
    assert "result.json: is damaged" in done.stderr


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("outlier-exposure", "outlier-exposure: trains on outliers, and 'tiny' has none"),
        ("lift", "lift: keeps the weights of a pre-trained transformer, and backbone.weights names none"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would_refuse_before_its_first_step(
    tmp_path, tiny_data, tiny_recipe, monkeypatch, method, said
):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path))
    monkeypatch.setenv("OLTR_DATA", str(tiny_data))
    assert said in str(CliRunner().invoke(app, ["run", method, "--recipe", str(tiny_recipe), "--dry-run"]).exception)


def test_a_dry_run_of_a_table_leaves_out_the_row_that_cannot_be_made(tmp_path, tiny_data, tiny_recipe, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path))
    monkeypatch.setenv("OLTR_DATA", str(tiny_data))
    words = ["compare", "--table", "3a", "--recipe", str(tiny_recipe), "--methods", "plain,outlier-exposure", "--run"]
    done = CliRunner().invoke(app, [*words, "--dry-run", "--rate", "5", "--json"])
    assert done.exit_code == 0, done.output
    assert [run["run"].split("/")[1] for run in json.loads(done.stdout)["runs"]] == ["plain"]
    assert done.stderr.count("warning: outlier-exposure, seed 0: outlier-exposure: trains on outliers") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["run", "dme", "--dry-run"],
        ["compare", "--table", "3a", "--run"],
        ["figure", "8a", "--run"],
        ["tune", "lambda"],
        ["predict", "mine/dme", "photos"],
    ],
)
def test_a_device_that_is_none_is_refused_before_anything_is_done(tmp_path, monkeypatch, words):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path))
    for name in ("nope", "cuda:x", "cpu:1", ""):
        refused = CliRunner().invoke(app, [*words, "--device", name])
        assert str(refused.exception) == f"--device {name}: write cpu, cuda, cuda:1 or mps"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["run", "dme"], ["compare", "--table", "3a", "--run"], ["figure", "8a", "--run"]])
def test_a_dry_run_is_for_one_process(monkeypatch, words):
    """Each process of a group would print it."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused = CliRunner().invoke(app, [*words, "--dry-run", "--json"])
    assert str(refused.exception) == "--dry-run needs one process; leave torchrun out"
