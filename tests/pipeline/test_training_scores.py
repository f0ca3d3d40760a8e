"""Scores of the training set of a finished run, made from its folder and its images when they are asked for."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from oltr_cli.base.display import Display
from oltr_cli.commands.tune import tune_app
from oltr_cli.errors import DataProblem
from oltr_cli.pipeline.make import run_method
from oltr_cli.pipeline.training_scores import score_training_set
from oltr_cli.runs.folder import run_from_path
from oltr_cli.runs.scores import SavedScores
from tests.helpers.finished_runs import tiny_home
from tests.helpers.tiny import TINY_RECIPE

QUIET = Display(quiet=True)


@pytest.fixture
def home(tmp_path):
    yield from tiny_home(tmp_path)


def made(home, method: str, *sets: str):
    done = run_method(method, str(home / "tiny.toml"), list(sets), device="cpu", workers=0, track=False, display=QUIET)
    return run_from_path(home / "runs" / done.run)


@pytest.mark.parametrize("method", ["plain", "ncm"])
def test_they_are_those_that_a_run_of_a_detector_makes(home, method):
    """Of a run whose settings no recipe has, and of a method on the features of another run."""
    sets = ["train.epochs=1"] if method == "plain" else ["plain.train.epochs=1"]
    run = made(home, method, *sets)
    assert not run.scores("train").exists()
    (home / "tiny.toml").unlink()
    score_training_set(run, QUIET, device="cpu", workers=0)
    scores = SavedScores.load(run.scores("train"))
    run.scores("train").unlink()
    (home / "tiny.toml").write_text(TINY_RECIPE)
    made(home, f"{method}+energy", *sets)
    assert not run.scores("train").exists()
    made(home, f"{method}+knn", *sets)
    expected = SavedScores.load(run.scores("train"))
    for name in ("prediction", "confidence", "labels", "logits", "features", "paths"):
        np.testing.assert_array_equal(getattr(scores, name), getattr(expected, name))


def tune_detector(name: str):
    app = typer.Typer()
    app.add_typer(tune_app, name="tune")
    return CliRunner().invoke(app, ["tune", "detector", name, "--workers", "0", "--json"])


def test_tune_detector_makes_them(home):
    run = made(home, "plain", "train.epochs=1")
    shown = tune_detector(run.name)
    assert shown.exit_code == 0, shown.output
    assert "scoring its training set, to which detectors are fitted" in shown.stderr
    (facts,) = json.loads(shown.stdout)["runs"]
    assert {"knn", "openmax", "react"} <= {one["name"] for one in facts["detectors"]}
    assert "scoring its training set" not in tune_detector(run.name).stderr


@pytest.mark.parametrize(
    ("lose", "says"),
    [
        (lambda data: (data / "train" / "c1" / "0.png").rename(data / "elsewhere.png"), "train/c1/0.png"),
        (lambda data: data.rename(data.parent / "other"), "dataset 'tiny': "),
        (
            lambda data: (data / "train.txt").write_text((data / "train.txt").read_text().rpartition("train/")[0]),
            "have changed since tiny/plain/",
        ),
    ],
)
def test_without_the_images_the_others_are_judged(home, lose, says):
    run = made(home, "plain", "train.epochs=1")
    lose(home / "data" / "tiny")
    with pytest.raises(DataProblem, match=says):
        score_training_set(run, QUIET, device="cpu", workers=0)
    shown = tune_detector(run.name)
    assert shown.exit_code == 0, shown.output
    (facts,) = json.loads(shown.stdout)["runs"]
    assert "fitted to the training set, which cannot be scored: " in facts["left_out"]["knn"]
    assert says in facts["left_out"]["knn"]
    assert "energy" in {one["name"] for one in facts["detectors"]}
