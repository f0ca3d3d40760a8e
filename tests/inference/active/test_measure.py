"""By which score images are ordered, and what is said of how good it is: judged as tune detector judges detectors."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.inference.active.measure import Measure, best_measure, choose_measure
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.runs.folder import run_from_path
from oltr_cli.runs.scores import SavedScores
from oltr_cli.tuning.detector import tune_detector
from tests.helpers.finished_runs import environment, make_finished_runs
from tests.helpers.tiny import TINY_COUNTS

GROUPS = "mean over the shot groups of AUROC against open_val"
CLOSED = "AUROC of right against wrong predictions on val"


def pair(known, open_, labels=None, prediction=None):
    """Samples of val and of open_val with those confidences; of five classes in turn."""
    labels = np.arange(len(known)) % 5 if labels is None else labels
    val = SavedScores(labels if prediction is None else prediction, np.float32(known), labels)
    if open_ is None:
        return val, None
    return val, SavedScores(np.zeros(len(open_), np.int64), np.float32(open_), np.full(len(open_), -1))


def drawn(shift, seed, count=400):
    rng = np.random.default_rng(seed)
    return pair(rng.normal(shift, 1, count), rng.normal(0, 1, count))


def auroc(known, open_):
    return roc_auc_score(np.repeat([1, 0], [len(known), len(open_)]), np.concatenate([known, open_]))


def test_each_shot_group_counts_alike():
    """Frequent classes are known well, the few-shot one is not told from open images."""
    rng = np.random.default_rng(0)
    labels = np.array([0] * 90 + [1] * 10)
    known = np.where(labels == 0, rng.normal(3, 1, 100), rng.normal(0, 1, 100))
    open_ = rng.normal(0, 1, 80)
    measure = best_measure({"confidence": pair(known, open_, labels)}, [500, 5], "paper", "confidence")
    expected = np.mean([auroc(known[labels == label], open_) for label in (0, 1)])
    assert measure.area.value == pytest.approx(expected)
    assert measure.area.criterion == GROUPS
    assert auroc(known, open_) > expected + 0.1


@pytest.mark.parametrize("seed", [0, 1])
def test_the_interval_is_that_of_draws_within_groups(seed):
    """Against scikit-learn, draw by draw with another generator; ties included."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [40, 20])
    known, open_ = rng.integers(0, 9, 60) + 1.0, rng.integers(0, 9, 40).astype(float)

    def value():
        again = rng.choice(open_, 40)
        return np.mean([auroc(rng.choice(part, len(part)), again) for part in (known[:40], known[40:])])

    area = best_measure({"confidence": pair(known, open_, labels)}, [500, 5], "paper", "confidence").area
    np.testing.assert_allclose(
        (area.low, area.high), np.percentile([value() for _ in range(1500)], [2.5, 97.5]), atol=0.02
    )


@pytest.mark.parametrize(
    ("shift", "verdict", "says"),
    [
        (0.0, "chance", "This is chance: for finding unknown images, these picks are no better than random ones"),
        (-1.0, "worse than chance", "For finding unknown images, these picks are worse than random ones"),
        (1.0, "better than chance", ""),
    ],
)
def test_chance_is_called_chance(shift, verdict, says):
    measure = best_measure({"confidence": drawn(shift, 0)}, TINY_COUNTS, "paper", "confidence")
    assert measure.area.low < measure.area.value < measure.area.high
    assert (measure.area.low <= 0.5 <= measure.area.high) == (verdict == "chance")
    assert measure.verdict == verdict
    assert measure.doubt.endswith(says)
    assert bool(measure.doubt) == bool(says)
    if says:
        assert f"AUROC {measure.area.value:.3f}, 95 % interval {measure.area.low:.3f} to" in measure.doubt
        assert "\n" not in measure.doubt
    assert measure.as_json()["verdict"] == verdict
    assert measure.as_json()["auroc"].keys() == {"value", "low", "high"}


@pytest.mark.parametrize(
    ("confidence", "reachability", "chosen"),
    [(0.3, 2.0, "reachability"), (2.0, 0.3, "confidence"), (1.0, 1.0, "confidence")],
)
def test_the_confidence_stays_unless_reachability_is_better(confidence, reachability, chosen):
    pairs = {"confidence": drawn(confidence, 0), "reachability": drawn(reachability, 1)}
    measure = best_measure(pairs, TINY_COUNTS, "paper")
    assert measure.by == chosen
    other = {"confidence": "reachability", "reachability": "confidence"}[chosen]
    assert measure.why.startswith(f"{other} has 0.")


def test_a_gain_within_chance_is_none():
    """On 60 samples reachability has the higher AUROC, but its interval holds 0."""
    for seed in range(40):
        pairs = {"confidence": drawn(0.5, 2 * seed, 60), "reachability": drawn(0.5, 2 * seed + 1, 60)}
        areas = {by: best_measure(pairs, TINY_COUNTS, "paper", by).area.value for by in pairs}
        if 0.02 < areas["reachability"] - areas["confidence"] < 0.08:
            break
    measure = best_measure(pairs, TINY_COUNTS, "paper")
    assert areas["reachability"] > areas["confidence"]
    assert measure.by == "confidence"
    assert measure.why == f"reachability has {areas['reachability']:.3f}, not better beyond chance"


@pytest.mark.parametrize(
    ("shift", "says"),
    [(2.0, "It finds wrong predictions on val better than chance does"), (0.0, "It does not find wrong predictions")],
)
def test_without_open_images_it_says_what_is_known(shift, says):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 5
    prediction = np.where(np.arange(300) < 200, labels, (labels + 1) % 5)
    confidence = rng.normal(0, 1, 300) + shift * (prediction == labels)
    pairs = {"confidence": pair(confidence, None, labels, prediction)}
    measure = best_measure(pairs, TINY_COUNTS, "paper", "confidence")
    assert measure.area.value == pytest.approx(roc_auc_score(prediction == labels, confidence), abs=1e-6)
    assert (measure.area.criterion, measure.verdict) == (CLOSED, "unknown")
    assert measure.doubt.startswith("how well confidence finds unknown images is not known, because the run has no ")
    assert says in measure.doubt


@pytest.mark.parametrize("pairs", [{}, {"confidence": pair(np.ones(10), None)}])
def test_without_anything_to_tell_apart_nothing_is_known(pairs):
    """No scores, or only right predictions."""
    measure = best_measure(pairs, TINY_COUNTS, "paper")
    assert (measure.by, measure.area, measure.verdict) == ("confidence", None, "unknown")
    assert measure.as_json()["auroc"] is None
    assert measure.doubt.endswith("these picks may be no better than random ones")


# On real runs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("measure")
    patch = environment(home)
    yield make_finished_runs(home, {"plain": ["train.epochs=1"], "dme": [], "dme+energy": [], "plain+kl-matching": []})
    patch.undo()


@pytest.fixture
def runs(made, tmp_path, monkeypatch):
    """A copy of the runs, in which a test may change files."""
    root = shutil.copytree(made.runs, tmp_path / "runs")
    monkeypatch.setenv("OLTR_RUNS", str(root))
    return {method: run_from_path(root / name) for method, name in made.names.items()}


def centroids(run):
    return torch.load(run.path / "best.pt", weights_only=True)["model"]["centroid_loss.centroids"].double().numpy()


def gamma(run, split):
    features = SavedScores.load(run.scores(split)).features.astype(np.float64)
    return np.linalg.norm(features[:, None] - centroids(run), axis=2).min(axis=1)


def group_mean(known, open_, labels):
    """Of the tiny dataset: the class with 24 images is medium, the others are few-shot."""
    return np.mean([auroc(known[mask], open_) for mask in (labels == 0, labels > 0)])


@pytest.mark.parametrize("method", ["dme", "dme+energy"])
@pytest.mark.parametrize("by", ["confidence", "reachability"])
def test_a_run_is_judged_by_its_saved_scores(runs, method, by):
    val, open_val = (SavedScores.load(runs[method].scores(split)) for split in ("val", "open_val"))
    if by == "confidence":
        known, open_ = val.confidence, open_val.confidence
    else:
        known, open_ = (-gamma(runs["dme"], split) for split in ("val", "open_val"))
    measure = choose_measure(Recogniser.load(runs[method].name), by)
    assert measure.area.value == pytest.approx(group_mean(known, open_, val.labels))
    name = "confidence of energy" if (method, by) == ("dme+energy", "confidence") else by
    assert (measure.name, measure.why) == (name, "as requested")


def test_the_detector_that_was_chosen_for_the_run_orders_it(runs, made):
    """Energy separates, the run's maximum softmax does not; data active takes what tune detector chose."""
    run = runs["plain"]
    rng = np.random.default_rng(0)
    for split, size in (("val", 300), ("open_val", 200)):
        is_open = split == "open_val"
        labels = np.full(size, -1) if is_open else np.arange(size) % 5
        logits = rng.normal(size=(size, 5)).astype(np.float32) + np.float32(0 if is_open else 4)
        before = SavedScores.load(run.scores(split))
        features = rng.normal(size=(size, before.features.shape[1])).astype(np.float32)
        confidence = softmax(logits, axis=1).max(axis=1)
        SavedScores(logits.argmax(1), confidence, labels, logits, features).save(run.scores(split))
    own = choose_measure(Recogniser.load(run.name), None)
    assert own.name == "confidence"
    assert own.area.value < 0.7
    chosen = tune_detector(run, draws=200).chosen
    recogniser = Recogniser.load(run.name, by_choice=True)
    measure = choose_measure(recogniser, None)
    assert measure.name == f"confidence of {chosen.name}"
    assert measure.area.value == pytest.approx(chosen.value)
    if chosen.name == "energy":
        scores = [SavedScores.load(run.scores(split)) for split in ("val", "open_val")]
        energies = [logsumexp(one.logits.astype(np.float64), axis=1) for one in scores]
        assert measure.area.value == pytest.approx(group_mean(*energies, scores[0].labels))
    folder = made.images / "test"
    told = call(run.name, folder, "--budget", 3)
    assert (told["score"], told["auroc"]["value"]) == (f"confidence of {chosen.name}", measure.area.value)
    assert call(run.name, folder, "--budget", 3, "--own-confidence")["score"] == "confidence"


def test_a_detector_that_was_fitted_to_val_is_judged_with_a_caveat(runs):
    measure = choose_measure(Recogniser.load(runs["plain+kl-matching"].name), None)
    assert measure.why == "plain has no centroids; kl-matching was fitted to val, so this may be too high"


@pytest.mark.parametrize("method", ["plain", "dme"])
def test_a_run_without_open_validation_images_is_judged_by_its_mistakes(runs, method):
    runs[method].scores("open_val").unlink()
    val = SavedScores.load(runs[method].scores("val"))
    wrong = np.arange(len(val)) % 3 == 0
    val = replace(val, prediction=np.where(wrong, (val.labels + 1) % 5, val.labels))
    val.save(runs[method].scores("val"))
    measure = choose_measure(Recogniser.load(runs[method].name), "confidence")
    assert measure.area.value == pytest.approx(roc_auc_score(~wrong, val.confidence))
    assert (measure.area.criterion, measure.verdict) == (CLOSED, "unknown")
    if method == "dme":
        by_gamma = choose_measure(Recogniser.load(runs[method].name), "reachability")
        assert by_gamma.area.value == pytest.approx(roc_auc_score(~wrong, -gamma(runs["dme"], "val")))


@pytest.mark.parametrize("method", ["plain", "dme"])
def test_of_a_run_without_validation_scores_nothing_is_known(runs, method):
    runs[method].scores("val").unlink()
    measure = choose_measure(Recogniser.load(runs[method].name), None)
    assert (measure.by, measure.area, measure.verdict) == ("confidence", None, "unknown")


def test_it_is_said_on_the_screen_and_in_json(runs, made):
    folder = made.images / "test"
    rng = np.random.default_rng(0)
    for split in ("val", "open_val"):
        scores = SavedScores.load(runs["plain"].scores(split))
        replace(scores, confidence=rng.random(len(scores), np.float32)).save(runs["plain"].scores(split))
    told = call(runs["plain"].name, folder, "--budget", 2)
    assert told["verdict"] == "chance"
    area = told["auroc"]
    assert area["low"] <= 0.5 <= area["high"]
    done = CliRunner().invoke(app, ["data", "active", runs["plain"].name, str(folder), "-n", "2", "--workers", "0"])
    said = " ".join(done.stderr.split())
    numbers = f"AUROC {area['value']:.3f}, 95 % interval {area['low']:.3f} to {area['high']:.3f}, chance 0.5"
    assert f"by confidence: {numbers} ({GROUPS}); plain has no centroids" in said
    assert f"warning: confidence does not tell open from known validation images: {numbers}. This is chance" in said


def call(*arguments):
    done = CliRunner().invoke(app, ["data", "active", *map(str, arguments), "--workers", "0", "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def test_the_doubt_of_a_measure_names_its_score():
    assert Measure("confidence", "confidence of energy", "").doubt.startswith("how well confidence of energy finds")
