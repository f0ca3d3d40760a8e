"""Detectors of logits, the class prior and validation confidences against literal float64 transcriptions with loops."""

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from oltr_cli.methods import _logits
from tests.helpers.linear_scores import COUNTS, build, fitted, samples

K = len(COUNTS)
PRIOR = [n / sum(COUNTS) for n in COUNTS]


@pytest.fixture(scope="module")
def train():
    return samples()


@pytest.fixture(scope="module")
def test():
    return samples([30] * K, seed=1, spread=2.0)


def with_logits(test, logits):
    logits = np.asarray(logits)
    few = test.take(slice(0, len(logits)))
    return replace(few, logits=logits, prediction=logits.argmax(1))


@pytest.mark.parametrize(("gamma", "classes"), [(0.1, 100), (0.1, 2), (0.5, 3), (1.0, 1)])
def test_gen(test, gamma, classes):
    expected = []
    for row in test.logits.astype(np.float64):
        largest = sorted(softmax(row), reverse=True)[:classes]
        expected.append(-sum((p * (1 - p)) ** gamma for p in largest))
    scored = build("gen", gamma=gamma, classes=classes).score(test).confidence
    np.testing.assert_allclose(scored, expected, rtol=1e-6)


def test_gen_keeps_the_digits_of_probabilities_near_one_and_zero(test):
    """p = 1 − 2e-50 is 1 in float64, and (p (1 − p))^0.1 is 1e-5 and not 0; in float32 it is the same."""
    logits = np.array([[115.0, 0, 0], [230.0, 0, 0], [-1.0, -1.0, 900.0]])
    # p = (1 − 2q, q, q) with q = exp(−gap), which is far below 1 ulp.
    expected = [-math.exp(-0.1 * gap) * (2**0.1 + 2) for gap in (115, 230, 901)]
    detector = build("gen", counts=(3, 2, 1))
    np.testing.assert_allclose(detector.score(with_logits(test, logits)).confidence, expected, rtol=1e-5)
    in_single = detector.from_logits(torch.tensor(logits, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(in_single, expected, rtol=1e-4)


def test_gen_of_equal_logits_and_of_one_class(test):
    tied = np.zeros((2, K))
    expected = -K * (1 / K * (1 - 1 / K)) ** 0.1
    np.testing.assert_allclose(build("gen").score(with_logits(test, tied)).confidence, expected, rtol=1e-6)
    one = build("gen", counts=(3,)).score(with_logits(test, np.array([[2.0], [5.0]])))
    assert one.confidence.tolist() == [0, 0]


def test_rp_msp(test):
    expected = [max(p - q for p, q in zip(softmax(row), PRIOR, strict=True)) for row in test.logits.astype(float)]
    np.testing.assert_allclose(build("rp-msp").score(test).confidence, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_rp_energy(test, temperature):
    expected = []
    for row in test.logits.astype(np.float64):
        p = softmax(row)
        cosine = sum(a * b for a, b in zip(p, PRIOR, strict=True)) / math.hypot(*p) / math.hypot(*PRIOR)
        energy = temperature * math.log(sum(math.exp(f / temperature) for f in row))
        expected.append(energy * (1 - cosine))
    scored = build("rp-energy", temperature=temperature).score(test).confidence
    np.testing.assert_allclose(scored, expected, rtol=1e-5, atol=1e-7)


def test_rp_gradnorm_is_the_gradients_length(test):
    """By torch's gradient of the cross-entropy between π and the softmax, one sample at a time."""
    expected = []
    for h, f in zip(test.features, test.logits, strict=True):
        feature, logits = torch.tensor(h).double(), torch.tensor(f).double()
        weight = torch.zeros(K, len(h), dtype=torch.float64, requires_grad=True)
        (-torch.tensor(PRIOR).double() @ (weight @ feature + logits).log_softmax(0)).backward()
        expected.append(weight.grad.abs().sum().item())
    np.testing.assert_allclose(build("rp-gradnorm").score(test).confidence, expected, rtol=1e-6)


@pytest.mark.parametrize("tau", [0.0, 1.0, 2.0])
def test_prior_msp(test, tau):
    expected = []
    for row in test.logits.astype(np.float64):
        weights = [math.exp(f) / q**tau for f, q in zip(row, PRIOR, strict=True)]
        expected.append(max(weights) / sum(weights))
    scored = build("prior-msp", tau=tau).score(test)
    np.testing.assert_allclose(scored.confidence, expected, rtol=1e-6)
    np.testing.assert_array_equal(scored.prediction, test.prediction)


def test_prior_msp_leaves_out_a_class_without_images(test):
    without = build("prior-msp", counts=(*COUNTS[:-1], 0)).score(test).confidence
    adjusted = test.logits[:, :-1].astype(np.float64) - np.log(np.array(COUNTS[:-1]))
    np.testing.assert_allclose(without, softmax(adjusted, axis=1).max(1), rtol=1e-6)


def test_kl_matching(train, test):
    val = samples([5] * K, seed=4)
    typical = []
    for k in range(K):
        members = [softmax(f.astype(np.float64)) for f in val.logits if f.argmax() == k]
        if members:
            typical.append(np.mean(members, axis=0))
    expected = [-min(entropy(softmax(f), d) for d in typical) for f in test.logits.astype(np.float64)]
    detector = fitted("kl-matching", train, val)
    np.testing.assert_allclose(detector.score(test).confidence, expected, rtol=1e-6, atol=1e-9)
    assert detector.report() == {"classes": len(typical), "classes never predicted on val": K - len(typical)}


def test_kl_matching_of_many_classes_takes_no_array_of_all_pairs():
    """Its memory is that of the classes that are predicted on val."""
    classes, rng = 3000, np.random.default_rng(0)
    logits = rng.normal(size=(40, classes)).astype(np.float32)
    val = with_logits(samples([40]), logits)
    detector = build("kl-matching", [1] * classes)
    tracemalloc.start()
    detector.calibrate(val)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < classes * classes * 8 / 4
    assert detector.report()["classes"] == len(np.unique(val.prediction))


def test_kl_matching_reads_no_label_and_no_training_score(test):
    val = samples([5] * K, seed=4)
    detector = build("kl-matching")
    detector.calibrate(replace(val, labels=np.zeros_like(val.labels)))
    np.testing.assert_array_equal(detector.score(test).confidence, fitted("kl-matching", val).score(test).confidence)
    certain = with_logits(test, np.eye(K) * 1e4)  # every typical distribution has zeros
    detector.calibrate(certain)
    assert np.isfinite(detector.score(test).confidence).all()
    np.testing.assert_allclose(detector.score(certain).confidence, 0, atol=1e-6)


@pytest.mark.parametrize(("first", "second"), [("energy", "relative-mahalanobis"), ("msp", "kl-matching")])
def test_combined_adds_log_p_values(train, test, first, second):
    val = samples([8] * K, seed=4)
    expected = np.zeros(len(test))
    for name in (first, second):
        part = fitted(name, train, val)
        known = part.score(val).confidence
        for i, value in enumerate(part.score(test).confidence):
            expected[i] += math.log((1 + sum(v <= value for v in known)) / (1 + len(known)))
    detector = fitted("combined", train, val, first=first, second=second)
    np.testing.assert_allclose(detector.score(test).confidence, expected, rtol=1e-6)
    assert detector.report()["validation samples"] == len(val)


def test_combined_counts_ties_of_known_samples(train, test):
    """A sample as known as all validation samples, which are tied, has p = 1, and one below them 1 / (1 + V)."""
    val = with_logits(test, np.tile([3.0, 0, 0, 0, 0, 0], (9, 1)))
    detector = fitted("combined", train, val, first="msp", second="maxlogit")
    asked = with_logits(test, [[3.0, 0, 0, 0, 0, 0], [2.0, 0, 0, 0, 0, 0], [4.0, 3.9, 0, 0, 0, 0]])
    np.testing.assert_allclose(detector.score(asked).confidence, [0, 2 * math.log(0.1), math.log(0.1)], rtol=1e-6)


def test_softmax_and_energy(test):
    """Of logits of any size."""
    np.testing.assert_allclose(_logits.softmax(test.logits), softmax(test.logits.astype(np.float64), axis=1), rtol=1e-9)
    np.testing.assert_allclose(_logits.softmax(test.logits * np.float32(1e30)).sum(1), 1)
    lowest = log_softmax(test.logits.astype(np.float64), axis=1)[:, 0]
    np.testing.assert_allclose(_logits.energy(test.logits), test.logits[:, 0] - lowest, rtol=1e-6)
