"""The command line as people meet it: real subprocesses, exit codes, one-line errors, stdout for results alone."""

import json
import os
import re
import subprocess
import sys
import tomllib

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.tiny import Oltr


def one_line(done):
    """The error that a command ended with; no traceback, nothing on stdout."""
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    return errors[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_data, tiny_recipe):
    """A runs folder with a finished dme on tiny."""
    oltr = Oltr(tmp_path_factory.mktemp("finished") / "runs", tiny_data)
    done = oltr("run", "dme", "--recipe", tiny_recipe)
    return oltr, done


def test_run_ends_with_a_table_and_the_next_command(finished, tiny_recipe):
    oltr, done = finished
    for word in ("Many", "Medium", "Few", "F-measure"):
        assert word.lower() in done.stdout.lower()
    assert f"oltr compare --table 3a --recipe {tiny_recipe}" in done.stderr
    assert "oltr tune threshold --method dme --dataset tiny" in done.stderr
    assert "2/2" in done.stderr
    path = next((oltr.runs / "tiny" / "dme").iterdir())
    assert {p.name for p in path.iterdir()} >= {
        "recipe.toml",
        "environment.json",
        "metrics.jsonl",
        "last.pt",
        "best.pt",
        "scores",
        "result.json",
        "plots",
    }
    assert len(list((path / "plots").glob("*.png"))) >= 3


def test_saved_scores_and_result_agree(finished):
    oltr, _ = finished
    path = next((oltr.runs / "tiny" / "dme").iterdir())
    result = json.loads((path / "result.json").read_text())
    with np.load(path / "scores" / "test.npz", allow_pickle=False) as test:
        assert (test["prediction"] == test["labels"]).mean() == pytest.approx(result["metrics"]["closed/overall"])
        assert test["logits"].shape == (20, 5)
        probabilities = torch.tensor(test["logits"]).softmax(1)
        np.testing.assert_allclose(probabilities.amax(1).numpy(), test["confidence"], rtol=1e-5)
        assert test["paths"][0].startswith("test/")
    with np.load(path / "scores" / "open.npz", allow_pickle=False) as open_:
        assert (open_["labels"] == -1).all()
    assert result["starts_from"].startswith("tiny/plain/")
    assert result["epochs_total"] == 5
    assert result["class_names"][1] == "thing 1"
    assert {"id_quantile:0.95", "val_open"} == set(result["other_thresholds"])
    assert tomllib.loads((path / "recipe.toml").read_text())["params"]["lambda"] == 0.01


def test_json_is_one_object_on_stdout(finished, tiny_recipe):
    oltr, _ = finished
    done = oltr("run", "dme", "--recipe", tiny_recipe, "--json")
    assert json.loads(done.stdout)["method"] == "dme"
    for arguments in (["ls"], ["ls", "runs"], ["show", "glyphs-lt"], ["show", "dme"]):
        json.loads(oltr(*arguments, "--json").stdout)


def test_ls_and_show(finished):
    oltr, _ = finished
    listed = oltr("ls").stdout
    for word in ("dme", "plain", "glyphs-lt", "imagenet-lt", "3a", "tiny/dme/", "done"):
        assert word in listed
    shown = oltr("show", "imagenet-lt", "--set", "params.lambda=0.1").stdout
    assert re.search(r"train.epochs +60 +imagenet-lt.toml \[stage2\]", shown)
    assert re.search(r"train.momentum +0.9 +default", shown)
    assert "--set params.lambda" in shown
    assert "Eq. 1" in oltr("show", "dme").stdout


@pytest.mark.parametrize("columns", ["40", "80"])
def test_ls_keeps_names_whole(finished, columns):
    oltr, _ = finished
    study = oltr.runs / "tiny" / "studies" / "dme-attention-lambda-epochs-and-1-more-dcca28"
    (study / "trials").mkdir(parents=True, exist_ok=True)
    runs = [row["name"] for row in json.loads(oltr("ls", "runs", "--json").stdout)["runs"]]
    listed = oltr("ls", "runs", COLUMNS=columns).stdout
    assert all(f"{name} " in listed for name in runs)
    assert re.search(rf"{re.escape(runs[0])} +done +20\d\d-\d\d-\d\d +2 +[\d.]+ +[\d.]+ +[\d.]+", listed)
    assert f"tiny/{study.name} " in oltr("ls", "studies", COLUMNS=columns).stdout
    if columns == "80":
        assert max(map(len, listed.splitlines())) <= 80


def test_evaluate_a_run_by_part_of_its_name(finished):
    oltr, _ = finished
    result = json.loads(oltr("evaluate", "tiny/dme", "--json", "--threshold", "val_open", "--shots", "code").stdout)
    assert result["threshold"]["rule"] == "val_open"
    error = one_line(oltr("evaluate", "tiny/", check=2))
    assert "fits 2 runs" in error


def test_compare_makes_what_is_missing(tmp_path, tiny_data, tiny_recipe):
    oltr = Oltr(tmp_path / "runs", tiny_data)
    options = ("compare", "--recipe", tiny_recipe, "--method", "plain", "--method", "dme", "--json")
    before = json.loads(oltr(*options).stdout)
    made = json.loads(oltr(*options, "--run", "--seeds", 2, "--save", tmp_path / "saved").stdout)

    def measured(table, method):
        row = next(row for row in table["rows"] if row["method"] == method)
        return row["status"], row["seeds"]

    assert measured(before, "dme") == ("missing", [])
    assert measured(made, "dme") == measured(made, "plain") == ("measured", [0, 1])
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} == {".md", ".csv", ".json", ".tex"}


def test_cp_makes_a_recipe_to_run(oltr, tmp_path):
    file = tmp_path / "mine.toml"
    oltr("cp", "glyphs-lt", file)
    assert tomllib.loads(file.read_text())["data"]["name"] == "glyphs-lt"
    assert "--force" in oltr("cp", "glyphs-lt", file, check=2).stderr
    oltr("cp", "glyphs-lt", file, "--force")
    assert ".toml" in oltr("cp", "glyphs-lt", tmp_path / "mine.txt", check=2).stderr


def test_dry_run_writes_nothing(oltr, tiny_recipe):
    done = oltr("run", "dme", "--recipe", tiny_recipe, "--dry-run")
    assert "3 epochs × 5 steps = 15 steps" in done.stdout
    assert "from tiny/plain/" in done.stdout
    assert not oltr.runs.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "dmee"], 2, "no method 'dmee'; did you mean 'dme'?"),
        (["run", "dme", "--dataset", "glyph-lt"], 2, "did you mean 'glyphs-lt'?"),
        (["run", "dme", "--set", "train.epoch=3"], 2, "did you mean 'epochs'?"),
        (["run", "dme", "--set", "epochs"], 2, "KEY=VALUE"),
        (["run", "dme", "--set", "data.name=../elsewhere"], 2, "data.name"),
        (["run", "dme", "--recipe", "none.toml"], 2, "none.toml"),
        (["run", "dme", "--recipe", "x.toml", "--dataset", "glyphs-lt"], 2, "give one of them"),
        (["run", "dme", "--dataset", "imagenet-lt"], 3, "OLTR_DATA"),
        (["run", "plain", "--set", "backbone.weights=no.pt"], 3, "no.pt"),
        (["run", "plain", "--device", "tpu"], 2, "write cpu, cuda"),
        (["run", "plain", "--device", "mps"], 2, "available: cpu"),
        (["ls", "method"], 2, "did you mean 'methods'?"),
        (["show", "glyphs"], 2, "did you mean 'glyphs-lt'?"),
        (["evaluate", "no/such/run"], 2, "no run"),
        (["compare", "--table", "3aa"], 2, "3a"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(oltr, arguments, code, words):
    assert words in one_line(oltr(*arguments, check=code))


def test_batches_larger_than_the_training_set(oltr, tiny_recipe):
    larger = ["--set", "train.batch_size=64", "--set", "plain.train.batch_size=64"]
    result = json.loads(oltr("run", "dme", "--recipe", tiny_recipe, *larger, "--json").stdout)
    assert result["epochs"] == 2


def test_runs_folder_that_cannot_be_made(oltr, tiny_recipe, tmp_path):
    (tmp_path / "file").write_text("")
    done = oltr("run", "plain", "--recipe", tiny_recipe, check=1, OLTR_RUNS=str(tmp_path / "file" / "runs"))
    assert "OLTR_RUNS" in one_line(done)


def test_several_mistakes_are_shown_at_once(oltr):
    done = oltr("run", "dme", "--set", "train.epochs=0", "--set", "params.lamda=1", check=2)
    assert "2 problems" in done.stderr
    assert "did you mean 'lambda'" in done.stderr


def test_a_loss_that_is_not_finite_stops_the_run(oltr, tiny_recipe):
    done = oltr("run", "plain", "--recipe", tiny_recipe, "--set", "train.lr.features=1e30", check=4)
    error = one_line(done)
    assert "cross_entropy" in error or "not finite" in error
    path = next((oltr.runs / "tiny" / "plain").iterdir())
    result = json.loads((path / "result.json").read_text())
    assert (result["status"], result["exit_code"]) == ("failed", 4)
    assert "failed" in oltr("ls", "runs").stdout


def test_undecodable_training_image_is_replaced_counted_and_named(tmp_path, own_tiny_data, tiny_recipe):
    oltr = Oltr(tmp_path / "runs", own_tiny_data)
    tiny = own_tiny_data / "tiny"
    # One broken image of 101: enough good ones of its class lie beside it.
    extra = [f"train/c0/more{i}.png 0" for i in range(60)]
    for line in extra:
        Image.new("RGB", (20, 20), (90, 90, 90)).save(tiny / line.split()[0])
    with (tiny / "train.txt").open("a") as file:
        file.write("\n".join(extra) + "\n")
    broken = tiny / "train" / "c0" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    done = oltr("run", "plain", "--recipe", tiny_recipe, "--workers", 1)
    assert "train/c0/3.png" in done.stderr
    result = json.loads(next((oltr.runs / "tiny" / "plain").glob("*/result.json")).read_text())
    assert result["undecodable"] == ["train/c0/3.png"]


def test_too_many_undecodable_training_images_stop_the_run(tmp_path, own_tiny_data, tiny_recipe):
    broken = own_tiny_data / "tiny" / "train" / "c0" / "3.png"
    broken.write_bytes(b"")
    error = one_line(Oltr(tmp_path / "runs", own_tiny_data)("run", "plain", "--recipe", tiny_recipe, check=3))
    assert "train/c0/3.png" in error
    assert "more than 1 %" in error


def test_the_only_image_of_a_class_broken(tmp_path, own_tiny_data, tiny_recipe):
    (own_tiny_data / "tiny" / "train" / "c4" / "0.png").write_bytes(b"")
    oltr = Oltr(tmp_path / "runs", own_tiny_data)
    error = one_line(oltr("run", "plain", "--recipe", tiny_recipe, "--workers", 2, check=3))
    assert "c4/0.png" in error
    assert "class 4" in error


def test_undecodable_test_image_is_an_error_with_its_name(tmp_path, own_tiny_data, tiny_recipe):
    oltr = Oltr(tmp_path / "runs", own_tiny_data)
    image = own_tiny_data / "tiny" / "test" / "c1" / "2.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    error = one_line(oltr("run", "plain", "--recipe", tiny_recipe, check=3))
    assert "test/c1/2.png" in error
    image.write_bytes(whole)
    done = oltr("run", "plain", "--recipe", tiny_recipe)  # training is not done again
    assert "1/3" not in done.stderr


def test_a_hostile_checkpoint_is_not_executed(oltr, tiny_recipe, tmp_path):
    oltr("run", "plain", "--recipe", tiny_recipe)
    path = next((oltr.runs / "tiny" / "plain").iterdir())
    victim = tmp_path / "executed"

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {victim}",)

    for name in ("last.pt", "last.prev.pt", "best.pt"):
        torch.save({"model": Hostile()}, path / name)
    error = one_line(oltr("run", "dme", "--recipe", tiny_recipe, check=3))
    assert "best.pt" in error
    assert not victim.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on file sizes stands for the full disk, and is Unix's")
def test_a_full_disk_is_named_and_nothing_is_lost(tmp_path):
    from oltr_cli.errors import OltrError
    from oltr_cli.runs.checkpoint import save_checkpoint

    path = tmp_path / "last.pt"
    save_checkpoint(path, {"model": torch.zeros(3)})
    before = path.read_bytes()
    code = (
        "import resource, sys, torch; from pathlib import Path; from oltr_cli.runs.checkpoint import save_checkpoint\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "from oltr_cli.errors import OltrError\n"
        "try: save_checkpoint(Path(sys.argv[1]), {'model': torch.zeros(1_000_000)}, keep_previous=True)\n"
        "except OltrError as e: print(e); sys.exit(e.exit_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "cannot write" in done.stdout
    assert "File too large" in done.stdout, "what is wrong, not where the zip writer was"
    assert path.read_bytes() == before
    assert torch.load(path, weights_only=True)["model"].tolist() == [0, 0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
    with pytest.raises(OltrError, match="cannot write"):
        save_checkpoint(tmp_path / "last.pt" / "below-a-file.pt", {"model": torch.zeros(3)})


@pytest.mark.parametrize("page", [[], ["run"], ["tune"], ["tune", "search"], ["data", "prepare", "places-lt"]])
def test_help_is_quick_because_it_imports_nothing_heavy(page):
    code = (
        f"import sys; sys.argv = ['oltr', *{page}, '--help']\n"
        "from oltr_cli.app import app\n"
        "try: app()\nexcept SystemExit: pass\n"
        "heavy = set('torch torchvision mlflow optuna matplotlib sklearn accelerate numpy'.split())\n"
        "heavy |= {'pydantic'} if len(sys.argv) == 2 else set()  # Typer itself imports it for the words of a command\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    assert " ".join(["Usage: oltr", *page]) in done.stdout


def test_help_lists_the_commands(oltr):
    shown = oltr("--help").stdout
    for command in ("run", "evaluate", "compare", "tune", "ls", "show", "cp", "ui"):
        assert command in shown


def test_examples_in_help_keep_their_lines(oltr):
    lines = [line.strip() for line in oltr("run", "--help").stdout.splitlines()]
    assert (
        "oltr run dme --detector energy                 with an open-set detector; trains dme first if needed" in lines
    )
    assert not any("```" in line for line in lines)


def test_ls_methods_imports_no_torch():
    code = (
        "import sys; sys.argv = ['oltr', 'ls', 'methods']\n"
        "from oltr_cli.app import app\n"
        "try: app()\nexcept SystemExit: pass\n"
        "print('TORCH', 'torch' in sys.modules)"
    )
    assert "TORCH False" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout


def test_version_and_completion(oltr):
    from oltr_cli import __version__

    assert oltr("--version").stdout.strip() == f"oltr {__version__}"
    shown = subprocess.run(
        [sys.executable, "-c", "from oltr_cli.app import main; main()"],
        env={**oltr.env, "_OLTR_COMPLETE": "complete_bash", "COMP_WORDS": "oltr ev", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
    )
    assert "evaluate" in shown.stdout


def test_ctrl_c_outside_of_training_is_said(monkeypatch, capsys):
    from oltr_cli import app

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("oltr_cli.commands.ls._list", interrupted)
    monkeypatch.setattr("sys.argv", ["oltr", "ls", "runs"])
    with pytest.raises(SystemExit) as left:
        app.main()
    assert left.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
