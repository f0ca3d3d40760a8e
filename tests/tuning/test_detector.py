"""``oltr tune detector``: what is chosen, from which scores, and who uses the choice."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import typer
from scipy.special import logsumexp, softmax
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from oltr_cli.api.examination import examine_run
from oltr_cli.base.added_files import add_file
from oltr_cli.commands.evaluate import evaluate
from oltr_cli.commands.tune import tune_app
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.protocol.evaluate import evaluate_run
from oltr_cli.runs.choices import read_chosen_detector, read_tuned
from oltr_cli.runs.folder import run_from_path
from oltr_cli.runs.scores import SavedScores
from oltr_cli.tuning.detector import tune_detector
from oltr_cli.tuning.threshold import tune_threshold, tune_threshold_of_choice, tuning_rule
from tests.helpers.finished_runs import environment, make_finished_runs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("tune-detector")
    patch = environment(home)
    yield make_finished_runs(home, {"plain": [], "plain+knn": []})
    patch.undo()


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """A copy of plain's run whose energy separates open samples, as its maximum softmax does not."""
    root = shutil.copytree(made.runs, tmp_path / "runs")
    monkeypatch.setenv("OLTR_RUNS", str(root))
    one = run_from_path(root / made.names["plain"])
    rng = np.random.default_rng(0)
    for split, size in (("val", 300), ("open_val", 200), ("test", 250), ("open", 150)):
        is_open = split.startswith("open")
        labels = np.full(size, -1) if is_open else np.arange(size) % 5
        logits = rng.normal(size=(size, 5)) + (0 if is_open else 4)
        if not is_open:
            logits[np.arange(size), labels] += 1
        save(one, split, logits, labels, rng)
    return one


def save(run, split, logits, labels, rng) -> None:
    confidence = softmax(logits, axis=1).max(axis=1).astype(np.float32)
    features = rng.normal(size=(len(labels), feature_size(run))).astype(np.float32)
    names = np.arange(len(labels)).astype(np.str_)
    logits = logits.astype(np.float32)
    SavedScores(logits.argmax(1), confidence, labels.astype(np.int64), logits, features, names).save(run.scores(split))


def feature_size(run) -> int:
    return SavedScores.load(run.scores("train")).features.shape[1]


def energies(run, split):
    return logsumexp(SavedScores.load(run.scores(split)).logits.astype(np.float64), axis=1)


def command(*arguments: str):
    app = typer.Typer()
    app.add_typer(tune_app, name="tune")
    app.command()(evaluate)
    return CliRunner().invoke(app, list(arguments))


def test_the_detector_with_the_best_mean_over_groups_is_chosen(run):
    choice = tune_detector(run, draws=200)
    by_name = {one.name: one for one in choice.judged}
    labels = SavedScores.load(run.scores("val")).labels
    known, open_ = energies(run, "val"), energies(run, "open_val")
    # 24 training images are medium, 12 and fewer are few; no class is many.
    expected = {
        name: roc_auc_score(np.r_[np.ones(mask.sum()), np.zeros(200)], np.r_[known[mask], open_])
        for name, mask in (("medium", labels == 0), ("few", labels > 0), ("all", labels >= 0))
    }
    assert by_name["energy"].groups == pytest.approx(expected)
    assert by_name["energy"].value == pytest.approx((expected["medium"] + expected["few"]) / 2)
    assert by_name["energy"].low > 0
    assert choice.chosen is not None
    best = next(one for one in choice.judged if not one.saw_val)
    assert choice.chosen.name == best.name
    assert read_chosen_detector(run.path) == choice.chosen
    assert "needs the images and the network" in choice.left_out["odin"]
    assert [by_name[name].saw_val for name in ("kl-matching", "combined", "energy")] == [True, True, False]


@pytest.mark.parametrize(("by", "pick"), [("worst", min), ("all", None)])
def test_another_criterion(run, by, pick):
    judged = {one.name: one for one in tune_detector(run, by, draws=20).judged}["energy"]
    groups = [value for name, value in judged.groups.items() if name != "all"]
    assert judged.value == pytest.approx(pick(groups) if pick else judged.groups["all"])


def test_the_own_confidence_stays_where_nothing_is_better_beyond_chance(run):
    """Noise only: some detector has a higher AUROC, but its interval holds 0; the choice of before goes."""
    tune_detector(run, draws=50)
    rng = np.random.default_rng(2)
    for split, size in (("val", 60), ("open_val", 40)):
        labels = np.full(size, -1) if split == "open_val" else np.arange(size) % 5
        save(run, split, rng.normal(size=(size, 5)), labels, rng)
    choice = tune_detector(run)
    assert choice.judged[0].value > next(one.value for one in choice.judged if one.name == "own")
    assert choice.chosen is None
    assert not (run.path / "detector.json").exists()


@pytest.mark.parametrize(
    ("rows", "by", "few"),
    [
        ({"val": [0, *np.flatnonzero(np.arange(300) % 5)]}, "groups", "1 medium-shot"),
        ({"val": [0, *np.flatnonzero(np.arange(300) % 5)]}, "worst", "1 medium-shot"),
        ({"val": [0, *np.flatnonzero(np.arange(300) % 5)]}, "all", None),
        ({"open_val": range(6)}, "groups", "6 open"),
        ({"val": range(14), "open_val": range(14)}, "all", "14 known, 14 open"),
        ({"val": range(75), "open_val": range(15)}, "groups", None),
    ],
)
def test_too_few_images_choose_nothing(run, rows, by, few):
    """Their bootstrap takes chance for a difference; a choice of before goes, and the reason is said."""
    tune_detector(run, draws=20)
    for split, kept in rows.items():
        SavedScores.load(run.scores(split)).take(np.array(kept)).save(run.scores(split))
    choice = tune_detector(run, by, draws=100)
    assert max(one.low for one in choice.judged if not one.saw_val and one.name != "own") > 0
    assert (choice.chosen is None) == (few is not None) == (not (run.path / "detector.json").exists())
    if few:
        assert choice.too_few.partition("; ")[0].endswith(f"15 validation images of each kind, and there are {few}")
        shown = command("tune", "detector", run.name, "--by", by, "--json")
        assert json.loads(shown.stdout)["runs"][0]["too_few"] == choice.too_few
        assert f"{run.name} keeps its own confidence: {choice.too_few}" in shown.stderr


def test_few_wrong_predictions_choose_nothing(run):
    run.scores("open_val").unlink()
    val = SavedScores.load(run.scores("val"))
    wrong = np.flatnonzero(val.prediction != val.labels)
    kept = np.r_[np.flatnonzero(val.prediction == val.labels), wrong[:3]]
    val.take(kept).save(run.scores("val"))
    choice = tune_detector(run, draws=50)
    assert choice.chosen is None
    assert choice.too_few.endswith("and there are 3 wrongly classified")


def test_test_and_open_scores_are_never_read(run):
    for split in ("test", "open"):
        run.scores(split).write_bytes(b"not scores")
    assert tune_detector(run, draws=20).chosen is not None


def test_without_open_images_right_predictions_are_ranked_against_wrong_ones(run):
    run.scores("open_val").unlink()
    choice = tune_detector(run, draws=20)
    val = SavedScores.load(run.scores("val"))
    expected = roc_auc_score(val.prediction == val.labels, energies(run, "val"))
    assert choice.criterion == "AUROC of right against wrong predictions on val"
    assert {one.name: one for one in choice.judged}["energy"].groups == {"all": pytest.approx(expected)}


def test_without_wrong_predictions_nothing_can_be_compared(run):
    run.scores("open_val").unlink()
    rng = np.random.default_rng(0)
    save(run, "val", 9 * np.eye(5)[np.arange(20) % 5], np.arange(20) % 5, rng)
    with pytest.raises(DataProblem, match="all predictions on val are right and there are no open validation images"):
        tune_detector(run, draws=20)


def test_equal_confidences_are_no_gain(run):
    for split, label in (("val", 0), ("open_val", -1)):
        save(run, split, np.zeros((30, 5)), np.full(30, label), np.random.default_rng(0))
    judged = {one.name: one for one in tune_detector(run, draws=20).judged}
    assert judged["own"].value == judged["energy"].value == 0.5
    assert (judged["energy"].low, judged["energy"].high) == (0, 0)


def test_detectors_that_cannot_tell_anything_apart_are_not_chosen(run):
    """All training features are equal: no covariance, no distance; some detectors refuse, none fails."""
    for split in ("train", "val", "open_val"):
        scores = SavedScores.load(run.scores(split))
        replace(scores, features=np.ones_like(scores.features)).save(run.scores(split))
    choice = tune_detector(run, draws=20)
    judged = {one.name: one for one in choice.judged}
    assert judged["knn"].value == judged["mahalanobis"].value == 0.5
    assert judged["energy"].low > 0
    assert choice.chosen is not None
    assert "use another detector" in choice.left_out["vim"]


def test_equal_reasons_are_one_line(run):
    run.scores("train").unlink()
    shown = command("tune", "detector", run.name, "--json")
    facts = json.loads(shown.stdout)["runs"][0]
    assert {"knn", "vim", "odin"} <= set(facts["left_out"])
    lines = [line for line in shown.stderr.splitlines() if line.startswith("not judged: ")]
    (line,) = (line for line in lines if "fitted to the training set, which cannot be scored" in line)
    assert {"knn,", "mahalanobis,"} <= set(line.split())
    assert len(lines) < len(facts["left_out"]) / 2


def test_the_same_seed_gives_the_same_intervals(run):
    first, again, other = (tune_detector(run, seed=seed, draws=30).judged for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_choice_is_used_and_taken_back(run):
    own = evaluate_run(run.path)
    shown = command("tune", "detector", run.name, "--json")
    assert shown.exit_code == 0, shown.output
    (facts,) = json.loads(shown.stdout)["runs"]
    name = facts["chosen"]["name"]
    assert f"next  oltr tune threshold --run {run.name}" in shown.stderr
    assert f"undo  oltr tune detector {run.name} --reset" in shown.stderr
    evaluated = json.loads(command("evaluate", run.name, "--json").stdout)
    assert evaluated["detector"] == name
    assert evaluated["threshold"] == facts["chosen"]["threshold"]
    assert evaluated["metrics"]["open/auroc"] != own.metrics["open/auroc"]
    assert evaluated["metrics"]["closed/ece"] == own.metrics["closed/ece"]
    kept = json.loads(command("evaluate", run.name, "--own-confidence", "--json").stdout)
    assert kept == own.as_json()
    recogniser = Recogniser.load(run.name, by_choice=True)
    assert recogniser.detector.name == name
    assert recogniser.threshold == facts["chosen"]["threshold"]["value"]
    assert Recogniser.load(run.name).detector is None
    assert "its own confidence again" in command("tune", "detector", run.name, "--reset").stderr
    assert json.loads(command("evaluate", run.name, "--json").stdout) == own.as_json()
    assert "no detector was chosen" in command("tune", "detector", run.name, "--reset").stderr


def test_a_threshold_of_another_confidence_is_never_used(run):
    tune_threshold(run, tuning_rule("val_open"), trials=1)
    chosen = tune_detector(run, draws=20).chosen
    evaluated = json.loads(command("evaluate", run.name, "--json").stdout)
    assert evaluated["threshold"]["rule"] == chosen.threshold.rule == "id_quantile:0.95"
    refused = command("evaluate", run.name, "--threshold", "tuned").exception
    assert isinstance(refused, UsageProblem)
    assert f"no threshold was tuned for the confidence of {chosen.name}" in str(refused)
    tuned = tune_threshold_of_choice(run, tuning_rule("id_quantile:0.8"))
    assert tuned.detector == chosen.name
    evaluated = json.loads(command("evaluate", run.name, "--json").stdout)
    assert evaluated["threshold"] == {"rule": "tuned", "value": tuned.value, "chosen_by": "id_quantile:0.8"}
    assert Recogniser.load(run.name, by_choice=True).threshold == tuned.value
    assert Recogniser.load(run.name, by_choice=True, threshold="id_quantile:0.8").threshold == tuned.value
    assert read_tuned(run.path).rule == "val_open"  # that of the own confidence stays as it was
    tune_detector(run, draws=20)
    assert read_chosen_detector(run.path).tuned is None


def test_tune_threshold_tunes_both(run):
    tune_detector(run, draws=20)
    shown = command("tune", "threshold", "--run", run.name, "--trials", "1", "--json")
    own, of_choice = json.loads(shown.stdout)["runs"]
    assert "detector" not in own
    assert of_choice["detector"] == read_chosen_detector(run.path).name
    assert of_choice["value"] == read_chosen_detector(run.path).tuned.value
    assert own["value"] == read_tuned(run.path).value


def test_a_damaged_choice_is_named(run):
    tune_detector(run, draws=20)
    file = run.path / "detector.json"
    file.write_text(file.read_text().replace("id_quantile:0.95", "id_quantile:0.50"))
    refused = command("evaluate", run.name).exception
    assert isinstance(refused, DataProblem)
    assert "detector.json: is damaged, or changed by hand; choose again with: oltr tune detector" in str(refused)


def test_a_choice_whose_file_is_not_given_says_what_to_do(run):
    chosen = tune_detector(run, draws=20).chosen
    chosen.model_copy(update={"name": "mine", "params": {}}).write(run.path)
    for use in (
        lambda: examine_run(run.path, None, "paper"),
        lambda: Recogniser.load(run.name, by_choice=True),
        lambda: tune_threshold_of_choice(run, tuning_rule("id_quantile:0.8")),
    ):
        with pytest.raises(UsageProblem, match=f"{run.name}: mine was chosen .* --methods-from, .* --reset"):
            use()
    assert command("tune", "detector", run.name, "--reset").exit_code == 0


def test_an_added_detector_that_raises_is_left_out_with_its_line(run, tmp_path, no_files):
    file = tmp_path / "gives_up.py"
    file.write_text(
        "from oltr_cli.detector import Detector\n\n\n"
        "class GivesUp(Detector):\n"
        '    reads = ("logits",)\n\n'
        "    def confidence(self, block):\n"
        '        raise ValueError("not today")\n'
    )
    add_file(file)
    choice = tune_detector(run, draws=20)
    assert "gives_up.py, line 8" in choice.left_out["gives-up"]
    assert "energy" in [one.name for one in choice.judged]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--by", "mean"), "--by mean: choose one of groups, worst, all"),
        (("tiny/plain+knn",), "is a run of a detector; choose one for the run of plain under it"),
        (("tiny/plain/", "--dataset", "tiny"), "RUN already names one run"),
    ],
)
def test_what_cannot_be_asked(run, arguments, says):
    where = () if arguments[0].startswith("tiny") else ("--dataset", "tiny")
    refused = command("tune", "detector", *arguments, *where).exception
    assert isinstance(refused, UsageProblem)
    assert says in str(refused)
