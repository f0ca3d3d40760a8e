"""What confidences are judged by on validation, which tune detector and data active share."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from oltr_cli.errors import DataProblem
from oltr_cli.protocol.separation import Samples, separation
from oltr_cli.protocol.shots import shot_groups
from oltr_cli.runs.scores import SavedScores

MASKS = shot_groups([200, 50, 5, 4])


def scores(labels, confidence, prediction=None):
    labels = np.asarray(labels)
    return SavedScores(labels if prediction is None else np.asarray(prediction), np.float32(confidence), labels)


@pytest.mark.parametrize("by", ["groups", "worst", "all"])
def test_known_against_open_images_by_shot_group(by):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 2, 3], [60, 20, 20])  # no class with a medium number of images has samples
    val = scores(labels, rng.normal(labels == 0, 1))
    open_val = scores([-1] * 50, rng.normal(-0.5, 1, 50))
    samples = Samples.of("mine/plain", val, open_val, MASKS)
    told = separation([samples.pair(val, open_val)], samples.groups, by, draws=50)
    expected = {
        name: roc_auc_score(np.repeat([1, 0], [mask.sum(), 50]), np.r_[val.confidence[mask], open_val.confidence])
        for name, mask in (("many", labels == 0), ("few", labels > 0), ("all", labels >= 0))
    }
    assert samples.names == ["many", "few"]
    assert told.groups[0].tolist() == pytest.approx([expected["many"], expected["few"]])
    assert told.overall[0] == pytest.approx(expected["all"])
    few_and_many = (expected["many"], expected["few"])
    assert told.value[0] == pytest.approx(
        {"groups": np.mean(few_and_many), "worst": min(few_and_many), "all": expected["all"]}[by]
    )
    assert told.interval[0][0] < told.value[0] < told.interval[1][0]


def test_without_open_images_right_against_wrong_predictions():
    val = scores([0, 1, 2, 3], [0.9, 0.2, 0.8, 0.5], [0, 1, 1, 0])
    samples = Samples.of("mine/plain", val, None, MASKS)
    assert samples.names == ["all"]
    told = separation([samples.pair(val, None)], samples.groups, draws=5)
    assert told.value.tolist() == [0.5]


def test_intervals_of_gains_hold_together():
    """With more confidences each interval is wider; the first one gains nothing over itself."""
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(0.5, 1, 80), rng.normal(0, 1, 60)) for _ in range(12)]
    groups = np.zeros(80, np.int64)
    gain, low, high = separation(pairs, groups).gain
    few_gain, few_low, few_high = separation(pairs[:2], groups).gain
    assert (gain[0], low[0], high[0]) == (0, 0, 0)
    assert gain[1] == few_gain[1]
    assert low[1] < few_low[1] < gain[1] < few_high[1] < high[1]


@pytest.mark.parametrize(("prediction", "kind"), [([0, 1], "right"), ([1, 0], "wrong")])
def test_nothing_to_tell_apart_is_said(prediction, kind):
    with pytest.raises(DataProblem, match=f"mine/plain: all predictions on val are {kind}"):
        Samples.of("mine/plain", scores([0, 1], [0.5, 0.6], prediction), None, MASKS)
    with pytest.raises(DataProblem, match="no validation samples"):
        Samples.of("mine/plain", scores([], []), None, MASKS)
