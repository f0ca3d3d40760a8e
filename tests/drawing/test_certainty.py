"""Reliability and confidences: what is drawn equals a count in float64."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import softmax

from oltr_cli.drawing.certainty import confidence_histograms, reliability
from oltr_cli.drawing.run_plots import save_run_plots
from oltr_cli.protocol.by_group import Probabilities, calibration_metrics
from oltr_cli.protocol.shots import shot_groups
from oltr_cli.runs.folder import Run
from oltr_cli.runs.scores import SavedScores, max_softmax
from tests.helpers.fake_runs import a_result

COUNTS = [300, 50, 5]
GROUPS = {"many": 0, "medium": 1, "few": 2}


def known(size: int = 300) -> SavedScores:
    """No two probabilities are equal, so that any order of a stable sort is that of the bins."""
    rng = np.random.default_rng(0)
    labels = np.arange(size) % 3
    logits = rng.normal(size=(size, 3)).astype(np.float32)
    logits[np.arange(size), labels] += 1
    return SavedScores(*max_softmax(logits), labels, logits)


def opens(size: int = 80) -> SavedScores:
    rng = np.random.default_rng(1)
    return SavedScores(np.zeros(size, int), rng.uniform(0.4, 0.9, size).astype(np.float32), np.full(size, -1))


def drawn(axes, name: str):
    (line,) = (line for line in axes.lines if str(line.get_label()).startswith(f"{name} "))
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), str(line.get_label())


@pytest.mark.parametrize("name", ["overall", *GROUPS])
def test_reliability_is_that_of_fifteen_bins_of_equal_mass(name):
    test = known()
    axes = reliability(test, Probabilities.of(test), COUNTS, "t", "paper").axes[0]
    members = np.flatnonzero(test.labels >= 0 if name == "overall" else test.labels == GROUPS[name])
    p = softmax(test.logits[members].astype(np.float64), axis=1)
    bins = np.array_split(np.argsort(p.max(axis=1)), 15)
    confidence, accuracy, label = drawn(axes, name)
    right = p.argmax(axis=1) == test.labels[members]
    sizes = {len(one) for one in bins}
    assert max(sizes) - min(sizes) <= 1
    if len(sizes) == 1:  # otherwise which bins are the larger ones is free
        np.testing.assert_allclose(confidence, [p.max(axis=1)[one].mean() for one in bins])
        np.testing.assert_allclose(accuracy, [right[one].mean() for one in bins])
    metric = "closed/ece" if name == "overall" else f"closed/ece_{name}"
    assert label.endswith(f"ECE {calibration_metrics(test, shot_groups(COUNTS))[metric]:.3f}")
    assert f"(n = {len(members)})" in label


def shares(axes, name: str):
    (patch,) = (patch for patch in axes.patches if str(patch.get_label()).startswith(f"{name} "))
    return patch.get_data().values, patch.get_data().edges


def test_histograms_are_shares_of_each_group_and_of_open_samples():
    test, open_ = known(), opens()
    axes = confidence_histograms(test, open_, COUNTS, "t", "paper", 0.5).axes[0]
    for name in (*GROUPS, "open"):
        confidence = open_.confidence if name == "open" else test.confidence[test.labels == GROUPS[name]]
        values, edges = shares(axes, name)
        assert values.sum() == pytest.approx(1)
        middle = [np.mean((confidence >= low) & (confidence < high)) for low, high in pairwise(edges)]
        np.testing.assert_allclose(values[:-1], middle[:-1])
    assert [line.get_label() for line in axes.lines] == ["τ = 0.5"]


def test_one_confidence_for_all_and_groups_without_samples():
    test = SavedScores(np.zeros(5, int), np.full(5, 1.0, np.float32), np.zeros(5, int))
    axes = confidence_histograms(test, None, COUNTS, "t", "paper", None).axes[0]
    assert [patch.get_label() for patch in axes.patches] == ["many (n = 5)"]
    assert shares(axes, "many")[0].sum() == 1
    assert not axes.lines


def test_a_run_with_logits_gets_both(tmp_path):
    known().save(tmp_path / "scores" / "test.npz")
    opens().save(tmp_path / "scores" / "open.npz")
    a_result(Run(tmp_path, "glyphs-lt", "dme", "0123456789", 0), class_counts=COUNTS).write(tmp_path)
    assert {"confidence", "reliability"} <= {path.stem for path in save_run_plots(tmp_path)}
