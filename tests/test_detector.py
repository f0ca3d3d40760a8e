"""The contract of detectors: blocks, what is required of scores and of confidences, one formula of the logits."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from oltr_cli.detector import Detector, DetectorSetup, LogitDetector, NetworkDetector
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.runs.scores import SavedScores

SETUP = DetectorSetup((5, 3, 1), (0.25, 0.25, 0.25), Detector.Params())


def samples(n=10):
    rng = np.random.default_rng(0)
    logits, features = rng.normal(size=(n, 3)).astype(np.float32), rng.normal(size=(n, 4)).astype(np.float32)
    return SavedScores(logits.argmax(1), np.ones(n, np.float32), np.zeros(n, np.int64), logits, features)


class FirstFeature(Detector):
    reads = ("features",)
    block = 4

    def confidence(self, block):
        self.seen = [*getattr(self, "seen", []), len(block)]
        return block.features[:, 0].astype(np.float64)


def test_samples_come_in_blocks_and_keep_their_order():
    detector, scores = FirstFeature(SETUP), samples()
    judged = detector.score(scores)
    assert detector.seen == [4, 4, 2]
    np.testing.assert_array_equal(judged.confidence, scores.features[:, 0])
    np.testing.assert_array_equal(judged.prediction, scores.prediction)
    assert (judged.confidence.dtype, judged.prediction.dtype) == (np.float32, np.int64)
    assert len(detector.score(samples(0))) == 0


def test_a_prediction_of_its_own_replaces_the_networks():
    class Last(FirstFeature):
        def judge(self, block):
            return np.full(len(block), 2), self.confidence(block)

    assert (Last(SETUP).score(samples()).prediction == 2).all()


def test_only_what_is_read_is_required():
    scores = samples()
    FirstFeature(SETUP).score(SavedScores(scores.prediction, scores.confidence, scores.labels, None, scores.features))
    scores.features[9, 3] = np.nan  # in the last block, and not in the column that is looked at
    with pytest.raises(DataProblem, match=r"^firstfeature: the features contain NaN or infinity$"):
        FirstFeature(SETUP).score(scores)


@pytest.mark.parametrize(
    ("judged", "says", "code"),
    [
        (lambda block: np.where(np.arange(len(block)) == 1, np.inf, 0.0), "a confidence of NaN or infinity", 4),
        (lambda block: block.features, r"confidences of shape \(4, 4\), not \(4,\)", 1),
        (lambda block: np.float64(0.5), "confidences as a float64, not an array", 1),
    ],
)
def test_a_faulty_confidence_is_the_detectors_fault(judged, says, code):
    class Faulty(FirstFeature):
        def confidence(self, block):
            return judged(block)

    with pytest.raises(
        OltrError, match=f"(^detector faulty|test_detector.py, line .*Faulty.confidence:) returns {says}"
    ) as caught:
        Faulty(SETUP).score(samples())
    assert caught.value.exit_code == code


def test_confidences_beyond_float32_stay_finite():
    class Huge(FirstFeature):
        def confidence(self, block):
            return super().confidence(block) * 1e300

    largest = np.finfo(np.float32).max
    assert set(Huge(SETUP).score(samples()).confidence) == {largest, -largest}


def test_a_formula_of_the_logits_gets_doubles_whatever_was_saved():
    class Spread(LogitDetector):
        def from_logits(self, logits):
            assert logits.dtype == torch.float64
            return logits.std(dim=1)

    scores = samples()
    for dtype in (np.float16, np.float32):
        saved = SavedScores(scores.prediction, scores.confidence, scores.labels, scores.logits.astype(dtype))
        saved.logits.setflags(write=False)
        expected = saved.logits.astype(np.float64).std(axis=1, ddof=1)
        np.testing.assert_allclose(Spread(SETUP).score(saved).confidence, expected, rtol=1e-6)


def test_saved_scores_are_not_enough_for_a_network_detector():
    with pytest.raises(UsageProblem, match="needs the images and the network"):
        NetworkDetector(SETUP).score(samples())


def test_detectors_of_the_logits_need_no_torch_to_be_read():
    """``oltr show energy`` imports the file, and torch takes seconds."""
    code = "import sys, oltr_cli.methods.energy, oltr_cli.methods.msp, oltr_cli.methods.maxlogit as m; "
    code += "assert m.MaxLogit; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
