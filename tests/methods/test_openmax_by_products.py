"""OpenMax's revision from products and partial selection against the direct formulas in float64, row by row."""

import tracemalloc

import numpy as np
import pytest

from oltr_cli.detector import DetectorSetup
from oltr_cli.methods.openmax import OpenMax
from oltr_cli.runs.scores import SavedScores, max_softmax

K = 40
LONG_TAIL = np.maximum(60 // np.arange(1, K + 1), 1)  # 60 samples of the first class, one of the last ten


def scores_of(logits, labels):
    return SavedScores(*max_softmax(logits), labels, logits)


def samples(counts, seed, offset=3.0, scale=1.0):
    """Logits (N, K) float32 of classes around means that are the same for every seed."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(K), counts)
    means = np.random.default_rng(42).normal(size=(K, K)) * 2 + offset + 6 * np.eye(K)
    logits = means[labels] + rng.normal(size=(len(labels), K)) * rng.gamma(2, size=(len(labels), 1))
    return scores_of((scale * logits).astype(np.float32), labels)


def fitted(train, **params):
    detector = OpenMax(DetectorSetup((1,) * K, (0.25,) * 3, OpenMax.Params(fit="vectorised", **params)))
    detector.fit(train)
    return detector


def direct_distance(v, mean, kind):
    """The formula of the module's docstring for two vectors, and cosine 0 for one of length 0."""
    euclidean = np.sqrt(np.sum((v - mean) ** 2)) / 200
    lengths = np.sqrt(np.sum(v**2) * np.sum(mean**2))
    cosine = 1 - (np.sum(v * mean) / lengths if lengths > 0 else 0)
    return {"eucos": euclidean + cosine, "euclidean": euclidean, "cosine": cosine}[kind]


def direct(detector, logits):
    """v̂ (N, K) and v̂_0 (N,) by a loop over rows and ranks; equal logits in the order of argpartition."""
    p = detector.setup.params
    alpha = min(p.alpha, K)
    known, unknown = logits.copy(), np.zeros(len(logits))
    for n, v in enumerate(logits):
        if p.negative == "shift":
            known[n] -= min(v.min(), 0)
        top = np.argpartition(-v, alpha - 1)[:alpha]
        for i, c in enumerate(top[np.argsort(-v[top])]):
            w = detector.weibulls.score(
                np.array(c), np.array(direct_distance(v, detector.means[detector.place[c]], p.distance))
            )
            moved = max(known[n, c], 0) * w * (alpha - i) / alpha
            known[n, c] -= moved
            unknown[n] += moved
    return known, unknown


def assert_direct(detector, logits, rtol=1e-10):
    """Both are the direct formula's, to ``rtol`` of the largest number."""
    logits = logits.astype(np.float64)
    found, expected = detector.revise(logits), direct(detector, logits)
    largest = np.abs(expected[0]).max()
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * largest)
    assert expected[1].max() > 0.01 * largest, "something should be revised"


@pytest.mark.parametrize(
    "params",
    [{}, {"distance": "euclidean"}, {"distance": "cosine"}, {"negative": "keep"}, {"alpha": 1}, {"alpha": 1000}],
    ids=str,
)
@pytest.mark.parametrize("offset", [3.0, -20.0])
def test_revision_on_a_long_tail(params, offset):
    if params.get("negative") == "keep":
        offset = 3.0  # negative logits alone would not be revised
    detector = fitted(samples(LONG_TAIL, 0, offset), **params)
    assert detector.report()["classes with the pooled fit"] >= 10
    assert_direct(detector, samples(5, 1, offset).logits)


@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_revision_of_small_and_huge_logits(scale):
    detector = fitted(samples(LONG_TAIL, 0, scale=scale))
    assert_direct(detector, samples(5, 1, scale=scale).logits)


@pytest.mark.parametrize("alpha", [1, 4, 10, K])
def test_equal_logits_are_ranked_as_by_argpartition(alpha):
    """Whole numbers: nearly every row has equal logits among the largest, many across the last rank."""
    detector = fitted(samples(LONG_TAIL, 0), alpha=alpha)
    logits = np.concatenate([np.round(samples(5, 1).logits), np.zeros((2, K)), np.full((2, K), 7.0)])
    ordered = -np.sort(-logits, axis=1)
    tied = (ordered[:, :alpha] == ordered[:, 1 : alpha + 1]).any(axis=1) if alpha < K else np.ones(len(logits), bool)
    assert tied.sum() > 20
    assert_direct(detector, logits)


@pytest.mark.parametrize("distance", ["eucos", "euclidean"])
def test_a_sample_much_closer_to_a_mean_than_to_the_origin(distance):
    """‖v‖² + ‖μ‖² − 2 v · μ has lost all digits of ‖v − μ‖ here, and tails this narrow see the difference."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(K), 30)
    middles = 1e4 * (3 + np.eye(K) + rng.random((K, K)))
    spread = 1e-3 * rng.normal(size=(len(labels), K)) * rng.gamma(1, size=(len(labels), 1))
    detector = fitted(scores_of(middles[labels] + spread, labels), distance=distance, alpha=2)
    v = middles[labels[::7]] + 1.5e-3 * rng.normal(size=(len(labels[::7]), K)) * rng.gamma(1, size=(172, 1))
    first = detector.weibulls.score(
        labels[::7],
        np.array(
            [
                direct_distance(x, detector.means[detector.place[c]], distance)
                for x, c in zip(v, labels[::7], strict=True)
            ]
        ),
    )
    assert ((first > 0.05) & (first < 0.95)).sum() > 20
    assert_direct(detector, v, rtol=1e-8)


def test_a_mean_itself_has_no_distance():
    """A class with one sample: scoring that sample again gives a distance of exactly 0, not the root of rounding."""
    train = samples(LONG_TAIL, 0)
    detector = fitted(train, distance="euclidean")
    single = train.take(np.flatnonzero(LONG_TAIL[train.labels] == 1))
    distances = detector._distances(single.logits.astype(np.float64), single.labels[:, None])
    np.testing.assert_array_equal(distances, 0)


def test_memory_is_that_of_a_few_blocks():
    """Neither all float64 logits at once nor a block beside the means of its α classes, (512, 10, 400) = 16 MB."""
    rng = np.random.default_rng(0)
    labels = np.arange(6000) % 400
    logits = rng.standard_normal((6000, 400), dtype=np.float32)
    logits[np.arange(6000), labels] += 8
    scores = scores_of(logits, labels)
    detector = OpenMax(DetectorSetup((1,) * 400, (0.25,) * 3, OpenMax.Params(fit="vectorised")))
    block = detector.block * 400 * 8
    means = 400 * 400 * 8
    for step, allowed in ((detector.fit, 3 * means + 4 * block), (detector.score, 5 * block)):
        tracemalloc.start()
        step(scores)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < allowed, step
