"""Label sets: against formulas written out sample by sample in float64, crepes, mapie, and what is promised."""

import math
from fractions import Fraction

import numpy as np
import pytest

from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.protocol.label_sets import LabelSets, SetRule, calibrate
from oltr_cli.runs.scores import SavedScores, max_softmax

COUNTS = [400, 150, 60, 30, 8, 3]


def scores(rng, per_class, skill=1.5, dtype=np.float32):
    labels = rng.permutation(np.repeat(np.arange(len(per_class)), per_class))
    logits = rng.normal(size=(len(labels), len(per_class))).astype(dtype)
    logits[np.arange(len(labels)), labels] += skill
    return SavedScores(*max_softmax(logits), labels, logits)


def softmax(row):
    """Of one image, in plain Python."""
    exponentials = [math.exp(float(value) - max(map(float, row))) for value in row]
    return [value / math.fsum(exponentials) for value in exponentials]


def expected_thresholds(rule, val, counts):
    """As the paper writes them, on s = −p/π: a sorted list for each class, and the ⌈(n + 1)(1 − α)⌉-th of it."""
    prior = [count / sum(counts) if rule.score == "pas" else 1.0 for count in counts]
    true = [(-softmax(row)[y] / prior[y], y) for row, y in zip(val.logits, val.labels, strict=True)]

    def quantile(values):
        rank = math.ceil(Fraction(str(rule.coverage)) * (len(values) + 1))
        return sorted(values)[rank - 1] if rank <= len(values) else 0.0

    marginal = quantile([s for s, _ in true])
    own = [quantile([s for s, y in true if y == k]) for k in range(len(counts))]
    return [-((1 - rule.class_weight) * marginal + rule.class_weight * q) for q in own], prior


@pytest.mark.parametrize("score", ["softmax", "pas"])
@pytest.mark.parametrize("weight", [0, 0.3, 0.5, 1])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_thresholds_and_members_are_the_formulas(score, weight, coverage):
    rng = np.random.default_rng(3)
    val, test = scores(rng, [40, 30, 20, 10, 9, 0]), scores(rng, [20] * 6)
    rule = SetRule(coverage, score, weight)
    sets = calibrate(rule, val, COUNTS)
    thresholds, prior = expected_thresholds(rule, val, COUNTS)
    np.testing.assert_allclose(sets.thresholds, thresholds, rtol=1e-12)
    members = sets.members(test.logits)
    for row, found in zip(test.logits, members, strict=True):
        values = [p / share for p, share in zip(softmax(row), prior, strict=True)]
        assert found.tolist() == [value >= t for value, t in zip(values, thresholds, strict=True)]
    covered, size = sets.covered_and_size(test.logits, test.labels)
    np.testing.assert_array_equal(covered, members[np.arange(len(test)), test.labels])
    np.testing.assert_array_equal(size, members.sum(axis=1))


def test_crepes_has_the_same_sets_at_both_ends():
    """Its p-values are those of split and of Mondrian conformal prediction; no (n + 1)·c is whole, where it has ≥."""
    crepes = pytest.importorskip("crepes", reason="a second implementation")
    rng = np.random.default_rng(4)
    val, test = scores(rng, [60, 50, 40, 30, 20, 9], dtype=np.float64), scores(rng, [50] * 6, dtype=np.float64)
    for score in ("softmax", "pas"):
        marginal, own = (calibrate(SetRule(0.85, score, weight), val, COUNTS) for weight in (0, 1))
        true = -marginal.scores(val.logits)[np.arange(len(val)), val.labels]
        scored = -marginal.scores(test.logits)
        theirs = crepes.ConformalClassifier().fit(true)
        members = theirs.predict_set(scored, confidence=0.85, smoothing=False)
        np.testing.assert_array_equal(marginal.members(test.logits), members.astype(bool))
        for k in range(6):
            theirs = crepes.ConformalClassifier().fit(true[val.labels == k])
            members = theirs.predict_set(scored[:, [k]], confidence=0.85, smoothing=False)
            np.testing.assert_array_equal(own.members(test.logits)[:, k], members[:, 0].astype(bool))


def test_mapie_has_the_same_marginal_sets():
    classification = pytest.importorskip("mapie.classification", reason="a second implementation")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        """Its images are their probabilities."""

        classes_ = np.arange(6)

        def fit(self, x, y):
            return self

        def predict_proba(self, x):
            return x

        def predict(self, x):
            return x.argmax(axis=1)

        def __sklearn_is_fitted__(self):
            return True

    rng = np.random.default_rng(4)
    val, test = scores(rng, [60, 50, 40, 30, 20, 9], dtype=np.float64), scores(rng, [50] * 6, dtype=np.float64)
    ours = calibrate(SetRule(0.85, "softmax", 0), val, COUNTS)
    theirs = classification.SplitConformalClassifier(
        Given(), confidence_level=0.85, conformity_score="lac", prefit=True
    )
    theirs.conformalize(ours.scores(val.logits), val.labels)
    _, members = theirs.predict_set(ours.scores(test.logits))
    np.testing.assert_array_equal(ours.members(test.logits), members[:, :, 0])


def test_validation_images_themselves_reach_the_coverage_exactly():
    """⌈(n + 1)·c⌉ of n: a sample on its threshold is in."""
    rng = np.random.default_rng(5)
    val = scores(rng, [99, 49, 19, 9, 9, 9])
    for score in ("softmax", "pas"):
        covered, _ = calibrate(SetRule(0.9, score, 0), val, COUNTS).covered_and_size(val.logits, val.labels)
        assert covered.sum() == math.ceil(195 * 0.9)
        covered, _ = calibrate(SetRule(0.9, score, 1), val, COUNTS).covered_and_size(val.logits, val.labels)
        hits = np.bincount(val.labels[covered], minlength=6)
        assert hits.tolist() == [90, 45, 18, 9, 9, 9]


def test_ranks_are_those_of_the_decimals():
    """In binary 0.28 · 25 is above 7 and 0.7 · 10 is 7: the rank must be 7 both times."""
    assert math.ceil(0.28 * 25) == 8
    values = np.linspace(0.05, 0.95, 24)
    logits = np.log(np.stack([values, 1 - values], axis=1))
    val = SavedScores(*max_softmax(logits), np.zeros(24, np.int64), logits)
    sets = calibrate(SetRule(0.28, "softmax", 0), val, [1, 1])
    assert sets.thresholds[0] == pytest.approx(np.sort(values)[-7], rel=1e-12)
    assert SetRule(0.9).least == 9
    assert SetRule(0.95).least == 19
    assert SetRule(0.5).least == 1
    assert SetRule(0.8999999999999999).least == 9


def test_coverage_over_many_draws_is_what_is_promised():
    """The mean over calibrations lies in [c, c + 1/(n + 1)], and each class has its own share with weight 1."""
    rng = np.random.default_rng(6)
    counts, per_class = [100, 50, 20, 10], [19, 19, 9, 9]
    marginal, by_class = [], []
    for _ in range(600):
        val, test = scores(rng, per_class, skill=1.0), scores(rng, [2 * n for n in per_class], skill=1.0)
        covered, _ = calibrate(SetRule(0.8, "pas", 0), val, counts).covered_and_size(test.logits, test.labels)
        marginal.append(covered.mean())
        covered, _ = calibrate(SetRule(0.8, "softmax", 1), val, counts).covered_and_size(test.logits, test.labels)
        by_class.append([covered[test.labels == k].mean() for k in range(4)])
    # Three standard errors of these means are 0.008 and 0.018.
    assert 0.8 - 0.008 < np.mean(marginal) < 0.8 + 1 / 57 + 0.008
    means = np.mean(by_class, axis=0)
    assert (means > 0.8 - 0.018).all()
    assert (means < 0.8 + np.array([1 / 20, 1 / 20, 1 / 10, 1 / 10]) + 0.018).all()


def test_a_class_without_enough_images_is_kept():
    rng = np.random.default_rng(7)
    val = scores(rng, [50, 50, 50, 20, 3, 0])
    rare = np.full((1, 6), 0.0, np.float32)
    rare[0, 0] = 9.0
    sets = calibrate(SetRule(0.9, "softmax", 1), val, COUNTS)
    assert sets.few.tolist() == [4, 5]
    assert sets.members(rare)[0, 4:].all()
    assert not sets.members(rare)[0, 1:4].any()
    assert "2 of 6 classes have fewer than 9 validation images" in sets.few_text
    between = calibrate(SetRule(0.9, "softmax", 0.5), val, COUNTS)
    marginal = calibrate(SetRule(0.9, "softmax", 0), val, COUNTS)
    np.testing.assert_allclose(between.thresholds[4:], marginal.thresholds[4:] / 2)
    assert not marginal.few_text


def test_too_few_images_at_all_give_full_sets_and_a_line():
    val = scores(np.random.default_rng(8), [3, 2, 1, 1, 1, 0])
    for weight in (0, 0.5, 1):
        sets = calibrate(SetRule(0.9, "pas", weight), val, COUNTS)
        assert sets.members(val.logits).all()
        assert sets.few_text == "8 validation images are fewer than 9: every set holds all classes"


def test_a_sure_network_leaves_sets_empty():
    """A threshold near 1 that a torn image does not reach: an empty set is an answer."""
    logits = np.eye(2, dtype=np.float32)[np.arange(40) % 2] * 12
    val = SavedScores(*max_softmax(logits), np.arange(40) % 2, logits)
    sets = calibrate(SetRule(0.9, "softmax", 0), val, [20, 20])
    assert sets.members(np.zeros((1, 2), np.float32)).sum() == 0


def test_pas_keeps_what_softmax_drops_of_rare_classes():
    """Same mean size or less, and more of the rarest class: what the score is for."""
    rng = np.random.default_rng(9)
    counts, per_class = [1000, 100, 10], [300, 30, 9]
    bias = np.log(np.array(counts) / sum(counts)).astype(np.float32)

    def long_tailed(per):
        one = scores(rng, per, skill=2.0)
        logits = one.logits + bias
        return SavedScores(*max_softmax(logits), one.labels, logits)

    val, test = long_tailed(per_class), long_tailed([400, 400, 400])
    covered = {}
    for score in ("softmax", "pas"):
        sets = calibrate(SetRule(0.9, score, 0), val, counts)
        hits, _ = sets.covered_and_size(test.logits, test.labels)
        covered[score] = [hits[test.labels == k].mean() for k in range(3)]
    assert covered["pas"][2] > covered["softmax"][2] + 0.3
    assert np.mean(covered["pas"]) > np.mean(covered["softmax"])


def test_a_mixed_threshold_is_never_above_both():
    """Where both are equal, rounding of the mean must not drop the sample that is on them."""
    rng = np.random.default_rng(10)
    for _ in range(200):
        row = rng.normal(size=(1, 3))
        logits = np.repeat(row, 30, axis=0)
        val = SavedScores(*max_softmax(logits), np.zeros(30, np.int64), logits)
        sets = calibrate(SetRule(0.9, "softmax", float(rng.uniform(0.01, 0.99))), val, [1, 1, 1])
        assert sets.members(row)[0, 0]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"coverage": 1.0}, "below 1"),
        ({"coverage": 0.0}, "above 0"),
        ({"coverage": float("nan")}, "coverage nan"),
        ({"coverage": 0.9, "score": "sofmax"}, "did you mean 'softmax'"),
        ({"coverage": 0.9, "class_weight": 1.5}, "class weight 1.5"),
    ],
)
def test_rules_out_of_range_are_refused(values, word):
    with pytest.raises(UsageProblem, match=word):
        SetRule(**values)


def test_scores_that_cannot_be_used_are_named():
    val = scores(np.random.default_rng(11), [10] * 6)
    rule = SetRule(0.9)
    with pytest.raises(DataProblem, match="has no logits"):
        calibrate(rule, SavedScores(val.prediction, val.confidence, val.labels), COUNTS)
    with pytest.raises(DataProblem, match="val has none"):
        calibrate(rule, val.take(slice(0)), COUNTS)
    with pytest.raises(DataProblem, match="6 classes, but there are 5"):
        calibrate(rule, val, COUNTS[:5])
    broken = val.logits.copy()
    broken[3, 2] = np.nan
    with pytest.raises(DataProblem, match="contain NaN or infinity"):
        calibrate(rule, SavedScores(val.prediction, val.confidence, val.labels, broken), COUNTS)
    with pytest.raises(DataProblem, match="a label is not one of the 6"):
        calibrate(rule, SavedScores(val.prediction, val.confidence, val.labels - 1, val.logits), COUNTS)


def test_the_promise_is_said_as_it_is():
    assert SetRule(0.9, "softmax", 0).guaranteed == 0.9
    assert SetRule(0.9, "softmax", 0.5).guaranteed == pytest.approx(0.8, abs=1e-15)
    assert SetRule(0.4, "softmax", 0.5).guaranteed == 0
    assert "guarantees 80 %" in SetRule(0.9).text
    assert "at least 90 % of each class" in SetRule(0.9, "pas", 1).text
    assert isinstance(calibrate(SetRule(0.9), scores(np.random.default_rng(1), [9] * 6), COUNTS), LabelSets)
