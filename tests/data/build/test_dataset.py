"""`oltr data build` as a whole: by command, warnings, and a run on the outcome."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.display import Display
from oltr_cli.data.build.dataset import Wish, build_dataset
from oltr_cli.data.feed.loading import evaluation_batches
from oltr_cli.data.feed.opening import open_dataset
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.planning.plan import plan
from tests.helpers.photographs import lists, photos
from tests.helpers.tiny import write_image


def test_nothing_is_touched(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    (root / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in root.rglob("*") if path.is_file()}
    build(root)
    build(root, "decoded", decode=True)
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in root.rglob("*") if path.is_file()}
    assert after == before


def test_warnings_are_shown_before_the_error_that_they_explain(home, tmp_path, capsys):
    root = photos(tmp_path / "in", {"a": 4})
    (root / "b").mkdir()
    (root / "b" / "x.jpg").touch()
    with pytest.raises(DataProblem, match="1 known class with"):
        build_dataset(Wish(root), home / "mine", Display(quiet=True))
    assert "warning: left out, unreadable files (1): b/x.jpg" in capsys.readouterr().err


def invoke(*arguments):
    return CliRunner().invoke(app, ["data", "build", *map(str, arguments)])


def test_by_command(home, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5, "c": 4, "7": 3})
    done = invoke("--images", root, "--as-is", "--open-classes", "7,", "--out", "mine")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:2] == [f"mine: 3 classes in {home / 'mine'}", "  train           9  2–4 per class"]
    assert "next  oltr run dme --dataset mine" in done.stderr
    again = invoke("--images", root, "--open-classes", "1", "--max", 2, "--min", 1, "--out", "tail", "--json", "-q")
    report = json.loads(again.stdout)
    assert report["per_class"]["train"] == [1, 2]
    assert report["folder"] == str(home / "tail")
    assert report["unused"] > 0
    assert "next" not in again.stderr
    other = invoke("--images", root, "--as-is", "--out", tmp_path / "a b" / "there")
    assert f"next  oltr run dme --recipe '{tmp_path}/a b/there/recipe.toml'" in other.stderr
    assert "is kept" not in other.stderr
    (home / "mine" / "recipe.toml").write_text((home / "mine" / "recipe.toml").read_text() + "\n")
    again = ["--images", root, "--as-is", "--open-classes", "7,", "--out", "mine", "--no-decode", "--force"]
    assert "15 images as in the earlier build, 0 new" in invoke(*again).stderr
    forced = invoke(*again, "--fresh-recipe")
    assert "the earlier recipe is kept as recipe.old.toml" in forced.stderr


def test_counts_of_one_are_singular(home, tmp_path):
    root = photos(tmp_path / "in", {"a": 6})
    done = invoke("--images", root, "--as-is", "--out", "mine")
    assert "1 known class with readable images" in str(done.exception)
    done = invoke("--images", root, "--as-is", "--open-classes", 2, "--out", "mine")
    assert str(done.exception) == "--open-classes 2: there is 1 class"


@pytest.mark.parametrize("images", ["in", "nowhere"])
def test_torch_is_not_waited_for(home, tmp_path, images):
    photos(tmp_path / "in", {"a": 6, "b": 5})
    arguments = ["data", "build", "--images", str(tmp_path / images), "--as-is", "--out", "mine"]
    code = (
        "import sys; from typer.testing import CliRunner; from oltr_cli.app import app\n"
        f"done = CliRunner().invoke(app, {arguments})\n"
        "print(done.exit_code, type(done.exception).__name__, {'torch', 'torchvision'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == ("0 NoneType set()\n" if images == "in" else "1 DataProblem set()\n")


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_image_that_a_run_cannot_decode_is_named_with_a_remedy(build, tmp_path, split):
    folder = build(photos(tmp_path / "in", {"a": 6, "b": 5})).folder
    data = plan("plain", "mine", [], 0)[0].link.recipe.data
    first = tmp_path / "in" / lists(folder)[split][0][0]
    content = bytearray(first.read_bytes())
    content[60:70] = b"\0" * 10
    first.write_bytes(content)
    images = open_dataset(data).splits[split]
    for changes, check in (
        ({}, "mine --decode"),
        ({"root": f"{tmp_path}/a b"}, f"mine --root '{tmp_path}/a b' --decode"),
        ({"name": "other", "root": "", "lists": ""}, "RECIPE.toml --decode"),
    ):
        with pytest.raises(DataProblem) as caught:
            list(evaluation_batches(images, data.model_copy(update=changes), 4, 0))
        said = str(caught.value)
        assert said.startswith(f"{first}: cannot be decoded (")
        assert "; repair or replace the file, then the same command resumes from its last checkpoint; " in said
        assert said.endswith(f"oltr data check {check}")
    assert CliRunner().invoke(app, ["data", "check", "mine", "--decode"]).exit_code == 3


@pytest.mark.parametrize("option", ["--alpha", "--max", "--min"])
def test_a_tail_is_kept_or_drawn_not_both(home, tmp_path, option):
    done = invoke("--images", tmp_path, "--as-is", option, 6, "--out", "mine")
    assert isinstance(done.exception, UsageProblem)
    assert "leave out --alpha, --max and --min" in str(done.exception)


@pytest.mark.parametrize("out", ["", ".", "./", "/", "a/.."])
def test_out_is_a_name(home, tmp_path, out):
    done = invoke("--images", tmp_path, "--as-is", "--out", out)
    assert isinstance(done.exception, UsageProblem)
    assert str(done.exception).startswith("--out ")


def test_a_run_on_photographs_of_ones_own(oltr, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for label, count in enumerate((20, 12, 8, 5, 2, 1)):
        for i in range(count):
            write_image(tmp_path / "in" / f"Art {label}" / f"{i}.PNG", label, rng)
    for label in (7, 11):
        for i in range(4):
            write_image(tmp_path / "open" / f"{label}" / f"{i}.png", label, rng)
    (tmp_path / "in" / "Art 0" / "broken.jpg").touch()
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    arguments = ("--images", tmp_path / "in", "--open", tmp_path / "open", "--as-is", "--out", "my own")
    assert invoke(*arguments, "--split-near").exit_code == 0  # the pictures of a class are nearly identical
    sets = ("plain.train.epochs=1", "train.epochs=1", "backbone.width=8")
    run = oltr(
        *("run", "dme", "--dataset", "my own", "--json", "--workers", 0),
        *itertools.chain.from_iterable(("--set", value) for value in sets),
        OLTR_DATA=str(tmp_path / "data"),
    )
    assert "warning" not in run.stderr
    result = json.loads(run.stdout)
    assert result["class_names"] == [f"Art {label}" for label in range(6)]
    assert result["class_counts"] == [14, 9, 5, 3, 1, 1]
    assert result["undecodable"] == []
    metrics = result["metrics"]
    assert (metrics["closed/many"], metrics["closed/medium"]) == (None, None)
    # Every class is few-shot, and the last has no test image: the group's mean is over the other five.
    scores = np.load(tmp_path / "runs" / result["run"] / "scores" / "test.npz")
    per_class = [(scores["prediction"] == scores["labels"])[scores["labels"] == label].mean() for label in range(5)]
    assert metrics["closed/few"] == pytest.approx(np.mean(per_class))
    assert set(scores["labels"].tolist()) == set(range(5))
    assert 0 <= metrics["open/auroc"] <= 1
    tuned = CliRunner().invoke(app, ["tune", "threshold", "--dataset", "my own", "--trials", "2", "--json"])
    assert [run["run"].split("/")[1] for run in json.loads(tuned.stdout)["runs"]] == ["dme", "plain"]
    listed = CliRunner().invoke(app, ["ls", "datasets", "--json"])
    assert "my own" in {row["name"] for row in json.loads(listed.stdout)["datasets"]}
    assert CliRunner().invoke(app, ["show", "my own"]).exit_code == 0
    compared = CliRunner().invoke(app, ["compare", "--dataset", "my own", "--json"])
    assert {row["method"] for row in json.loads(compared.stdout)["rows"] if row["status"] == "measured"} >= {"plain"}
