"""What nobody types on purpose: one line and the right exit code, never a traceback, never a silent default."""

import json
from pathlib import Path

import pytest
import torch

from oltr_cli.errors import DataProblem, NotFinite, UsageProblem
from oltr_cli.planning.registry import load_method
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.files import builtin_recipes, read_recipe
from oltr_cli.recipe.specs import BackboneSpec, Recipe
from oltr_cli.recipe.train import TrainSpec
from oltr_cli.runs.history import read_history
from oltr_cli.training.scoring import check_finite
from oltr_cli.training.task import build_method
from oltr_cli.tuning.storage import open_journal
from tests.helpers.fake_runs import make_run
from tests.helpers.in_process import oltr_here
from tests.helpers.tiny import TINY_RECIPE, make_tiny_dataset

DEEP = "[" * 900 + "]" * 900


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def refused(code: int, *arguments: object, **environment: str) -> str:
    """The one line that says why the command ended with ``code``."""
    ended, out, err = oltr_here(*arguments, **environment)
    said = [line for line in err.splitlines() if not line.startswith("starting torch")]
    assert ended == code, err
    assert out == ""
    assert len(said) == 1, err
    return said[0]


@pytest.mark.parametrize("option", ["--dataset", "--recipe", "--weights"])
@pytest.mark.parametrize("form", [("{}", ""), ("{}=",)])
def test_an_empty_value_is_not_the_default(option, form):
    line = refused(2, "run", "plain", "--dry-run", *(part.format(option) for part in form))
    assert option in line
    assert "is empty" in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[method]\nplain = 1", "[method.plain] must be a table"),
        ("[detector]\nenergy = 1", "[detector.energy] must be a table"),
        (f"[train]\nepochs = {'9' * 5000}", "not valid TOML"),
        (f"[train]\nepochs = {'9' * 4000}", "train.epochs"),
        (f"[train]\nlr = {DEEP}", "nested too deeply"),
        (f"[train]\nlr = {'[' * 30}{']' * 30}", "nested too deeply"),
        (f"[data]\nname = '{'n' * 300}'", "data.name"),
        ('[data]\nroot = "a\\u0000b"', "data.root"),
        ('[train]\nlr = "x"\n[stage1]\nlr = { features = 0.1 }', "train.lr is a table"),
        ("[data]\nmean = [nan, 0.5, 0.5]", "data.mean"),
        ("[data]\nstd = [0.2, inf, 0.2]", "data.std"),
        ("[data]\ncolor_jitter = [0.0, nan, 0.0]", "data.color_jitter"),
        ("[data]\ncrop_ratio = [0.5, inf]", "data.crop_ratio"),
        ("[train]\nweight_decay = inf", "train.weight_decay"),
        ("[train]\nlr = { features = nan }", "train.lr.features"),
        ("[method.dme.params]\nlambda = nan", "params.lambda"),
    ],
)
def test_a_recipe_that_no_run_can_follow(home, text, words):
    (home / "mine.toml").write_text(text)
    line = refused(2, "show", home / "mine.toml")
    assert words in line
    assert len(line) < 400


def test_values_on_the_command_line_too(home):
    assert "train.epochs" in refused(2, "show", "glyphs-lt", "--set", f"train.epochs={'9' * 5000}")
    assert "train.lr" in refused(2, "show", "glyphs-lt", "--set", f"train.lr={DEEP}")
    assert "/" in refused(2, "show", "/")
    for name in ("OLTR_RUNS", "OLTR_DATA"):
        line = refused(2, "run", "plain", "--dataset", "tiny-imagenet-lt", "--dry-run", **{name: "~nouser-of-this/x"})
        assert "begins with ~" in line


def test_every_number_of_a_recipe_must_be_finite():
    for spec in (DataSpec, BackboneSpec, TrainSpec):
        assert spec.model_config["allow_inf_nan"] is False
    for path in builtin_recipes().values():
        read_recipe(path)


def test_one_image_a_batch_and_a_map_of_one_cell(home):
    make_tiny_dataset(home / "data" / "tiny")
    (home / "tiny.toml").write_text(TINY_RECIPE.replace("image_size = 16", "image_size = 8"))
    sets = ("--set", "train.batch_size=1", "--set", "train.epochs=1")
    code, _, err = oltr_here("run", "plain", "--recipe", home / "tiny.toml", *sets, "--workers", 0, "-q")
    assert code == 2, err
    assert "raise train.batch_size" in err.splitlines()[-1]


def test_a_rate_that_is_far_too_high_is_divergence(home):
    make_tiny_dataset(home / "data" / "tiny")
    (home / "tiny.toml").write_text(TINY_RECIPE)
    sets = ("--set", "train.lr.features=1e10", "--set", "train.epochs=1", "--set", "train.schedule=cosine")
    code, _, err = oltr_here("run", "plain", "--recipe", home / "tiny.toml", *sets, "--workers", 0, "-q")
    assert code == 4, err
    assert err.splitlines()[-1].endswith("Lower train.lr.features (now 1e+10) or train.lr.classifier (now 0.05)")


def test_scores_that_overflow_are_divergence():
    fine = torch.ones(2).numpy()
    check_finite(fine, [fine])
    for bad in (float("nan"), float("inf")):
        with pytest.raises(NotFinite, match="diverged"):
            check_finite(fine, [torch.tensor([1.0, bad]).numpy()])
    with pytest.raises(NotFinite, match="diverged"):
        check_finite(torch.tensor([float("nan")]).numpy(), [])


@pytest.mark.parametrize(("width", "contiguous"), [(8, True), (15, True), (16, False)])
def test_narrow_networks_run_in_contiguous_layout(width, contiguous):
    cls = load_method("plain")
    spec = BackboneSpec(width=width, stem="small-stride2")
    recipe = Recipe(method="plain", data=DataSpec(name="x", image_size=32, eval_resize=32), backbone=spec)
    method = build_method(cls, recipe, [5, 5], 0)
    layouts = set()

    def look(module, inputs, output):
        for tensor in (inputs[0], output, module.weight):
            if tensor.ndim == 4 and min(tensor.shape[1:]) > 1:
                layouts.add(tensor.is_contiguous())

    for module in method.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(look)
    method(torch.rand(2, 3, 32, 32).to(memory_format=torch.channels_last))
    assert layouts == {contiguous}


@pytest.mark.parametrize("content", ["[]", "5", '{"packages": [1]}', "{", '{"command": 5}', DEEP * 100])
def test_a_damaged_environment_costs_the_report_nothing(home, content):
    run = make_run(home / "runs", "mine", "plain")
    (run.path / "environment.json").write_text(content)
    code, _, err = oltr_here("report", "--dataset", "mine", "--out", home / "page.html")
    assert code == 0, err


@pytest.mark.parametrize("content", [b"[]", b"params = 5", b"= =", b"\xff", b"data.image_size = 'x'", DEEP.encode()])
def test_a_damaged_recipe_of_a_run(home, content):
    for seed in (0, 1):
        run = make_run(home / "runs", "mine", "plain", seed=seed, run_hash=f"012345678{seed}")
        (run.path / "recipe.toml").write_bytes(content)
    (run.path / "result.json").unlink()
    for command in (("ls", "runs"), ("report", "--dataset", "mine", "--out", home / "page.html"), ("compare",)):
        code, _, err = oltr_here(*command)
        assert code in (0, 2), err
        assert "Traceback" not in err
    line = refused_of_many("predict", "mine/plain/0123456780-s0", home)
    assert "recipe.toml" in line


def refused_of_many(*arguments: object) -> str:
    code, _, err = oltr_here(*arguments)
    assert code in (2, 3), err
    assert "Traceback" not in err
    return err.splitlines()[-1]


@pytest.mark.parametrize(
    "line",
    ["[]", "5", "null", "{", '{"epoch": "x"}', '{"op_code": 99, "worker_id": "a"}', "\0", DEEP, '{"op_code": 0}'],
)
def test_a_journal_or_a_history_with_a_garbage_line(home, line):
    (home / "a.journal").write_text(f"{line}\n{line}\n")  # Optuna overlooks a last line
    with pytest.raises(DataProblem, match=r"a\.journal: is not a journal of studies"):
        open_journal(home / "a.journal")
    good = {"epoch": 1, "loss": 0.5, "few": None}
    (home / "metrics.jsonl").write_text(f"{json.dumps(good)}\n{line}\n{json.dumps(good)}\n")
    assert read_history(home / "metrics.jsonl") == [good]
    (home / "metrics.jsonl").write_bytes(b"\xff\xfe\n")
    assert read_history(home / "metrics.jsonl") == []


def test_read_recipe_names_the_file(home):
    path = Path(home / "mine.toml")
    path.write_text(f"x = {'[' * 2000}")
    with pytest.raises(UsageProblem, match=r"mine\.toml: not valid TOML"):
        read_recipe(path)
