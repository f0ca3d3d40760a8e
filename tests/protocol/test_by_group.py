"""Rare or unknown, and calibration: against scikit-learn and formulas written out."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from oltr_cli.protocol.by_group import BINS, Probabilities, calibration_metrics, group_metrics
from oltr_cli.protocol.evaluate import evaluate_scores
from oltr_cli.protocol.shots import shot_groups
from oltr_cli.protocol.thresholds import ThresholdRule
from oltr_cli.runs.scores import SavedScores, max_softmax

COUNTS = [300, 150, 60, 30, 8, 3]


def scores(rng, size, classes=6, open_=False, ties=False, labels=None):
    logits = rng.normal(size=(size, classes)).astype(np.float32)
    labels = np.full(size, -1) if open_ else rng.integers(0, classes, size) if labels is None else labels
    if not open_:
        logits[np.arange(size), labels] += 1.5
    prediction, confidence = max_softmax(logits)
    confidence = confidence.round(1) if ties else confidence
    return SavedScores(prediction, confidence, labels.astype(np.int64), logits)


@pytest.mark.parametrize("ties", [False, True])
def test_each_group_against_open_as_scikit_learn_has_it(ties):
    rng = np.random.default_rng(0)
    known, open_ = scores(rng, 900, ties=ties), scores(rng, 300, open_=True, ties=ties)
    groups = shot_groups(COUNTS)
    found = group_metrics(known, open_, groups, 0.5)
    for name, mask in groups.items():
        members = mask[known.labels]
        truth = np.r_[np.ones(members.sum()), np.zeros(len(open_))]
        confidence = np.r_[known.confidence[members], open_.confidence]
        assert found[f"open/auroc_{name}"] == pytest.approx(roc_auc_score(truth, confidence), abs=1e-12)
        false, true, _ = roc_curve(truth, confidence, drop_intermediate=False)
        assert found[f"open/fpr95_{name}"] == pytest.approx(false[np.argmax(true >= 0.95 - 1e-12)])
        rejected = np.mean(known.confidence[members] < np.float32(0.5))
        assert found[f"open/rejected_{name}"] == pytest.approx(rejected)


def brier_by_loop(known, rows):
    total = 0.0
    for row in rows:
        p = np.exp(known.logits[row].astype(np.float64))
        p /= p.sum()
        total += sum((p[k] - (k == known.labels[row])) ** 2 for k in range(len(p)))
    return total / len(rows)


def ece_by_loop(known, rows):
    p = np.exp(known.logits[rows].astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    pairs = sorted(zip(p.max(1), (p.argmax(1) == known.labels[rows]).tolist(), strict=True))
    edges = [round(i * len(pairs) / BINS) for i in range(BINS + 1)]
    bins = [pairs[a:b] for a, b in itertools.pairwise(edges) if b > a]
    return sum(abs(sum(r for _, r in one) - sum(c for c, _ in one)) for one in bins) / len(pairs)


@pytest.mark.parametrize("size", [900, 17, 3])
def test_calibration_as_written_out(size):
    known = scores(np.random.default_rng(size), size)
    groups = shot_groups(COUNTS)
    found = calibration_metrics(known, groups)
    for suffix, mask in (("", np.ones(6, bool)), *((f"_{name}", mask) for name, mask in groups.items())):
        rows = np.flatnonzero(mask[known.labels])
        if not len(rows):
            assert f"closed/ece{suffix}" not in found
            continue
        assert found[f"closed/brier{suffix}"] == pytest.approx(brier_by_loop(known, rows), rel=1e-9)
        assert found[f"closed/ece{suffix}"] == pytest.approx(ece_by_loop(known, rows), rel=1e-9)


def test_the_order_of_samples_does_not_matter():
    rng = np.random.default_rng(3)
    known = scores(rng, 200)
    repeated = known.take(np.repeat(np.arange(50), 4))  # ties in every bin
    repeated.labels[::3] = 0
    shuffled = repeated.take(rng.permutation(200))
    one, other = Probabilities.of(repeated), Probabilities.of(shuffled)
    assert one is not None
    assert other is not None
    assert one.ece() == pytest.approx(other.ece(), abs=1e-12)


@pytest.mark.parametrize("open_", [None, scores(np.random.default_rng(1), 0, open_=True)])
def test_without_open_samples_or_logits_there_is_nothing(open_):
    known = scores(np.random.default_rng(0), 40)
    assert group_metrics(known, open_, shot_groups(COUNTS), 0.1) == {}
    plain = SavedScores(known.prediction, known.confidence, known.labels)
    assert calibration_metrics(plain, shot_groups(COUNTS)) == {}


def test_one_class_and_an_empty_group_in_an_evaluation():
    rng = np.random.default_rng(0)
    known = scores(rng, 30, classes=1)
    shown = evaluate_scores(known, scores(rng, 10, classes=1, open_=True), [500], ThresholdRule.parse("fixed:0.1"))
    assert shown.metrics["open/auroc_many"] == shown.metrics["open/auroc"] == 0.5
    assert shown.metrics["closed/ece"] == shown.metrics["closed/brier"] == 0
    assert shown.metrics["open/auroc_few"] is None
    assert shown.metrics["closed/ece_few"] is None
