"""The simulated campaign of benchmarks/active.py: its pile is unseen, its picks are those of oltr data active."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.recipe.train import TrainSpec
from oltr_cli.runs.folder import run_from_path
from oltr_cli.runs.scores import SavedScores
from tests.helpers.finished_runs import environment, make_finished_runs

FOLDER = Path(__file__).parents[1] / "benchmarks"
COUNTS = (60, 30, 12, 5)


@pytest.fixture(scope="module")
def its():
    """benchmarks/_campaign.py, which is no package."""
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("_campaign")
    sys.path.remove(str(FOLDER))


def samples(counts, seed, open_=0, spread=0.6):
    """Features around four places, one a class, and open ones of two further classes."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([*range(len(counts)), -1, -2], [*counts, open_ // 2, open_ - open_ // 2])
    features = np.eye(6)[labels] * 2 + spread * rng.standard_normal((len(labels), 6))
    kinds = np.array([f"k{label}/x.png" for label in labels])
    labels = np.maximum(labels, -1)
    nothing = np.zeros(len(labels), np.int64)
    return SavedScores(nothing, nothing.astype(np.float32), labels, features=np.float32(features), paths=kinds)


@pytest.fixture
def start(its):
    pile = samples((20,) * 4, 1, open_=40)
    return its.Start(
        samples(COUNTS, 0),
        pile,
        samples((30,) * 4, 2),
        samples((10,) * 4, 3),
        samples((0,) * 4, 4, open_=40),
        np.array([its.kind(path) for path in pile.paths]),
        np.array(COUNTS),
        "paper",
        TrainSpec(epochs=5, batch_size=16, lr={"classifier": 0.1}, schedule="cosine"),
        seed=0,
    )


@pytest.mark.parametrize("way", ["active", "not spread", "random"])
def test_the_budget_is_spent_on_known_and_open_images(its, start, way):
    course = its.campaign(start, its.PICKERS[way], rounds=3, budget=12)
    assert len(course.accuracy["overall"]) == len(course.labelled) == 4
    assert len(course.open_picks) == 3
    known = np.diff(course.labelled)
    assert (known + course.open_picks).tolist() == [12, 12, 12]
    assert course.labelled[0] == sum(COUNTS)
    assert course.few_left[0] == 2
    assert 0 < course.few_found[-1] <= 1
    assert course.new_classes[-1] <= 2
    assert course.accuracy["overall"][0] > 0.6
    assert len(course.measures) == (0 if way == "random" else 3)


def test_the_whole_pile_is_picked_once_and_all_labels_are_used(its, start):
    picked = []

    def noting(start, left, head, budget, rng):
        rows, groups, measure = its.at_random(start, left, head, budget, rng)
        picked.extend(rows.tolist())
        return rows, groups, measure

    course = its.campaign(start, noting, rounds=4, budget=40)
    assert sorted(picked) == list(range(120))
    assert course.labelled[-1] == sum(COUNTS) + 80
    assert (sum(course.open_picks), sum(course.few_picks)) == (40, 40)
    assert (course.few_left[-1], course.few_found[-1], course.new_classes[-1]) == (0, 1.0, 2)


def test_more_labels_make_a_better_head(its, start):
    """Few-shot classes with 2 images each, and then with 20 more."""
    course = its.campaign(start, its.at_random, rounds=1, budget=120)
    before, after = course.accuracy["few"]
    assert after >= before
    assert course.accuracy["overall"][1] > 0.9


def test_pile_and_held_out_images_are_halves_of_each_class(its):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [10, 11, 2, 1, 50]))
    chosen = [its.half_of_each_class(labels, seed) for seed in (0, 0, 1)]
    assert np.bincount(labels[chosen[0]], minlength=5).tolist() == [5, 5, 1, 0, 25]
    assert (chosen[0] == chosen[1]).all()
    assert (chosen[0] != chosen[2]).any()


def test_kinds_are_folders_or_characters(its):
    assert its.kind("val/n01855672/val_1009.JPEG") == "val/n01855672"
    assert its.kind("open/U+0414 DejaVuSans-Bold #12") == "U+0414"


def test_its_picks_are_those_of_the_command(its, tmp_path):
    """With the run's own head: on the same images as files, oltr data active chooses the same ones."""
    patch = environment(tmp_path)
    try:
        made = make_finished_runs(tmp_path, {"plain": []})
        run = run_from_path(made.path("plain"))
        pile = its.joined(made.scores("plain", "test"), made.scores("plain", "open"))
        val = made.scores("plain", "val")
        everything = its.Start(
            val, pile, val, val, made.scores("plain", "open_val"), pile.paths, np.array([24, 12, 6, 2, 1]), "paper",
            TrainSpec(), 0,
        )  # fmt: skip
        rows, groups, measure = its.product(everything, np.arange(len(pile)), lambda scores: scores, 6, None)
        words = [str(made.images / path) for path in pile.paths]
        done = CliRunner().invoke(app, ["data", "active", run.name, *words, "-n", "6", "--workers", "0", "--json"])
        told = json.loads(done.stdout)
    finally:
        patch.undo()
    assert [one["image"] for one in told["images"]] == [words[row] for row in rows]
    assert (told["groups"], told["auroc"]["value"]) == (groups, measure.area.value)


def test_a_quick_one_writes_numbers_and_curve(tmp_path):
    words = [sys.executable, FOLDER / "active.py", "--quick", "--json", "--out", tmp_path]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(words, capture_output=True, text=True, env=env, check=True)
    found = json.loads((tmp_path / "active-glyphs-lt.json").read_text())
    assert (found["dataset"], found["seeds"], found["rounds"], found["budget"]) == ("glyphs-lt", 2, 2, 10)
    assert set(found["courses"]) == {"active", "not spread", "random"}
    for courses in found["courses"].values():
        assert [len(course["open_picks"]) for course in courses] == [2, 2]
    assert found["courses"]["active"][0]["measures"][0]["verdict"] in (
        "chance",
        "better than chance",
        "worse than chance",
    )
    assert Image.open(tmp_path / "active-glyphs-lt.png").size[0] > 1000
