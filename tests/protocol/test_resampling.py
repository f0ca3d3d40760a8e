"""AUROCs by group and their paired bootstrap, recomputed by scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from oltr_cli.protocol.resampling import group_aurocs


def auroc(positive, negative) -> float:
    return roc_auc_score(np.r_[np.ones(len(positive)), np.zeros(len(negative))], np.r_[positive, negative])


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], [40, 11, 1])
    known = [rng.normal(1, 1, 52).round(1), rng.normal(0, 1, 52).round(1)]  # rounded: many ties
    return groups, [(k, rng.normal(0, 1, 30).round(1)) for k in known]


def test_observed_values_are_those_of_scikit_learn(samples):
    groups, pairs = samples
    observed, _ = group_aurocs(pairs, groups, draws=1, seed=0)
    expected = [[auroc(k[groups == g], o) for g in range(3)] for k, o in pairs]
    np.testing.assert_allclose(observed, expected, rtol=1e-12)


def test_draws_spread_as_those_of_a_loop(samples):
    """Standard deviation of AUROC over draws within strata, against a plain loop over draws."""
    groups, pairs = samples
    _, drawn = group_aurocs(pairs, groups, draws=3000, seed=1)
    rng = np.random.default_rng(2)
    known, open_ = pairs[0]
    first = known[groups == 0]
    looped = [auroc(rng.choice(first, len(first)), rng.choice(open_, len(open_))) for _ in range(1500)]
    assert drawn[:, 0, 0].std() == pytest.approx(np.std(looped), rel=0.08)
    assert drawn[:, 0, 0].mean() == pytest.approx(np.mean(looped), abs=0.01)


def test_draws_are_paired_and_seeded(samples):
    groups, pairs = samples
    _, drawn = group_aurocs([pairs[0], (2 * pairs[0][0] + 1, 2 * pairs[0][1] + 1)], groups, draws=50, seed=3)
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert (group_aurocs(pairs, groups, 50, 3)[1] == group_aurocs(pairs, groups, 50, 3)[1]).all()
    assert (group_aurocs(pairs, groups, 50, 3)[1] != group_aurocs(pairs, groups, 50, 4)[1]).any()


def test_draws_may_be_made_one_at_a_time(samples, monkeypatch):
    groups, pairs = samples
    whole = group_aurocs(pairs, groups, 7, 5)[1]
    monkeypatch.setattr("oltr_cli.protocol.resampling._AT_A_TIME", 1)
    apart = group_aurocs(pairs, groups, 7, 5)[1]
    assert apart.shape == whole.shape
    assert np.isfinite(apart).all()


def test_equal_confidences_are_worth_a_half():
    observed, drawn = group_aurocs([(np.ones(5), np.ones(4))], np.zeros(5, np.int64), 20, 0)
    assert observed.tolist() == [[0.5]]
    assert (drawn == 0.5).all()
