"""oltr predict with label sets and a taxonomy, on real runs; the formulas have their own tests in protocol/."""

import csv
import io
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.inference.wider import Taxon, Wider, WiderAnswers, said, taxon_name
from oltr_cli.protocol.label_sets import SetRule, calibrate
from oltr_cli.runs.scores import SavedScores
from tests.helpers.finished_runs import environment, make_finished_runs

NAMES = [f"thing {i}" for i in range(5)]
COUNTS = [24, 12, 6, 2, 1]
TREE = "thing 0,soft\nthing 1,soft\nthing 2,hard\nthing 3,hard\nhard,dry\nthing 4,wet\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("finished")
    patch = environment(home)
    yield make_finished_runs(home, {"plain": [], "plain+energy": []})
    patch.undo()


@pytest.fixture
def tree(tmp_path):
    file = tmp_path / "tree.csv"
    file.write_text(TREE)
    return file


def predict(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--workers", "0", "--device", "cpu"])


def told(*arguments):
    done = predict(*arguments, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


@pytest.mark.parametrize("score", ["softmax", "pas"])
@pytest.mark.parametrize("weight", [0, 0.5, 1])
def test_sets_are_those_of_the_saved_scores(finished, score, weight):
    rule = SetRule(0.6, score, weight)
    sets = calibrate(rule, finished.scores("plain", "val"), COUNTS)
    logits = finished.scores("plain", "test").logits
    arguments = ("--coverage", 0.6, "--set-score", score, "--class-weight", weight)
    answer = told(finished.names["plain"], *finished.files("test"), *arguments)
    assert answer["sets"] == {
        "coverage": 0.6,
        "score": score,
        "class_weight": weight,
        "guaranteed": rule.guaranteed,
        "calibrated_on": 15,
        "few": [],
    }
    near = (np.abs(sets.scores(logits) - sets.thresholds) < 1e-5).any(axis=1)
    assert near.mean() < 0.3
    for row, members, values, skipped in zip(
        answer["images"], sets.members(logits), sets.scores(logits), near, strict=True
    ):
        if not skipped:
            assert set(row["set"]) == {NAMES[k] for k in np.flatnonzero(members)}
        shown = [values[NAMES.index(name)] for name in row["set"]]
        assert shown == sorted(shown, reverse=True)


def test_unknown_is_a_verdict_of_its_own(finished):
    files = finished.files("open")
    known, unknown = (
        told(finished.names["plain"], *files, "--coverage", 0.6, "--threshold", tau)["images"] for tau in ("-1", "2")
    )
    assert {row["label"] for row in unknown} == {"unknown"}
    assert [row["set"] for row in unknown] == [row["set"] for row in known]
    assert "set" not in told(finished.names["plain"], files[0])["images"][0]


def test_a_detector_changes_no_set(finished):
    files = finished.files("test")
    sets = [
        [row["set"] for row in told(finished.names[method], *files, "--coverage", 0.6)["images"]]
        for method in ("plain", "plain+energy")
    ]
    assert sets[0] == sets[1]


def test_the_promise_and_classes_without_enough_images_are_said(finished):
    done = predict(finished.names["plain"], finished.files("test")[0], "--coverage", 0.9)
    said = " ".join(done.stderr.split())
    assert "label sets: softmax, thresholds of class and of all mixed 0.5 to 0.5" in said
    assert "guarantees 80 %; calibrated on 15 validation images" in said
    assert "5 of 5 classes have fewer than 9 validation images" in said
    done = predict(finished.names["plain"], finished.files("test")[0], "--coverage", 0.99)
    assert "15 validation images are fewer than 99: every set holds all classes" in " ".join(done.stderr.split())
    assert "set of 5 of 5 classes: thing" in done.stdout


def test_taxa_are_sums_of_probabilities(finished, tree):
    answer = told(finished.names["plain"], *finished.files("test"), "-k", 5, "--taxonomy", tree, "--at-least", 0.6)
    assert answer["at_least"] == 0.6
    below = {"soft": NAMES[:2], "hard": NAMES[2:4], "dry": NAMES[2:4], "wet": NAMES[4:]} | {n: [n] for n in NAMES}
    levels = [NAMES, ["soft", "hard", "wet"], ["dry"]]
    for row in answer["images"]:
        shares = {one["class"]: one["probability"] for one in row["top"]}
        sums = {node: sum(shares[name] for name in names) for node, names in below.items()}
        reached = [node for level in levels for node in level if sums[node] >= 0.6]
        taxon = row["taxon"]
        assert taxon["name"] == (reached[0] if reached else None)
        assert taxon["probability"] == pytest.approx(sums[reached[0]] if reached else 1.0, rel=1e-5)
        assert taxon["classes"] == (len(below[reached[0]]) if reached else 5)


def test_a_csv_has_columns_for_both_and_a_set_is_one_cell(finished, tree, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    arguments = (finished.names["plain"], finished.files("test")[0], tmp_path / "bad.png")
    arguments += ("--coverage", 0.6, "--taxonomy", tree)
    good, bad = csv.DictReader(io.StringIO(predict(*arguments, "--format", "csv").stdout))
    row = json.loads(predict(*arguments, "--json").stdout)["images"][0]
    assert json.loads(good["set"]) == row["set"]
    assert int(good["set_size"]) == len(row["set"])
    assert (good["taxon"] or None, float(good["taxon_probability"])) == (
        row["taxon"]["name"],
        row["taxon"]["probability"],
    )
    assert [bad[name] for name in ("set", "set_size", "taxon", "taxon_probability")] == [""] * 4
    assert bad["error"]


def test_the_table_says_some_owl(finished, tree):
    arguments = (finished.names["plain"], *finished.files("test"), "--taxonomy", tree, "--at-least", 0.99)
    done = predict(*arguments, "--threshold", "-1")
    labels = [line for line in done.stdout.splitlines() if line.startswith(("some ", "any class"))]
    assert labels
    assert all("(thing " in line for line in labels)
    assert "taxonomy of 9 nodes: the most specific one with a probability of at least 0.99" in " ".join(
        done.stderr.split()
    )
    unknown = predict(*arguments, "--threshold", "2").stdout.splitlines()[1]
    assert unknown.startswith("unknown (thing")


def test_lines_for_people_are_short():
    names = [f"a class of number {i}" for i in range(30)]
    asked = WiderAnswers(names)
    (line,) = said(Wider(label_set=names), asked)
    assert line.startswith("set of 30 of 30 classes: a class of number 0, ")
    assert line.endswith("number 9, …")
    assert said(Wider(label_set=[]), asked) == ["set of 0 of 30 classes"]
    assert said(Wider(taxon=Taxon("owl", 0.934, 4)), asked) == ["some owl, 0.934, 4 classes"]
    assert taxon_name(Taxon(names[0], 0.9, 1), names) == names[0]
    assert taxon_name(Taxon("genus of one", 0.9, 1), names) == "some genus of one"
    assert taxon_name(Taxon(None, 1.0, 30), names) == "any class"


@pytest.mark.parametrize(
    ("arguments", "kind", "word"),
    [
        (["--coverage", "1.2"], UsageProblem, "below 1"),
        (["--coverage", "0.9", "--set-score", "aps"], UsageProblem, "no set score 'aps'"),
        (["--class-weight", "0.5"], UsageProblem, "add --coverage"),
        (["--at-least", "0.9"], UsageProblem, "add --taxonomy"),
        (["--taxonomy", "nowhere.csv"], DataProblem, "no such file"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_image(finished, arguments, kind, word):
    done = predict(finished.names["plain"], "x.png", *arguments)
    assert isinstance(done.exception, kind)
    assert word in str(done.exception)
    assert done.stdout == ""


def test_a_level_up_to_a_half_is_refused(finished, tree):
    done = predict(finished.names["plain"], "x.png", "--taxonomy", tree, "--at-least", 0.5)
    assert isinstance(done.exception, UsageProblem)


def test_without_validation_scores_there_is_no_promise(finished, tmp_path):
    folder = tmp_path / "hub"
    made = CliRunner().invoke(app, ["export", finished.names["plain"], "--to", "hub-folder", "--out", str(folder)])
    assert made.exit_code == 0, made.output
    done = predict(folder, "x.png", "--coverage", 0.9)
    assert isinstance(done.exception, UsageProblem)
    assert "no validation scores to calibrate on" in str(done.exception)
    file = finished.path("plain") / "scores" / "val.npz"
    moved = file.rename(tmp_path / "val.npz")
    try:
        done = predict(finished.names["plain"], "x.png", "--coverage", 0.9)
    finally:
        moved.rename(file)
    assert isinstance(done.exception, DataProblem)
    assert str(done.exception) == f"{file}: no such file; label sets are calibrated on it"
    assert isinstance(SavedScores.load(file), SavedScores)
