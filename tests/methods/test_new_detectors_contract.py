"""Edge cases of detectors that combine logits, features, the classifier or validation: precision, few data, ties."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from oltr_cli.errors import DataProblem, NotFinite
from tests.helpers.linear_scores import COUNTS, DIM, build, fitted, head, samples, scores_of

K = len(COUNTS)
LOGITS = ["gen", "rp-msp", "rp-energy", "prior-msp", "kl-matching"]
FEATURES = ["relative-mahalanobis", "she", "neco"]
BOTH = ["rp-gradnorm", "react", "scale", "fdbd", "nci", "nnguide", "combined"]
ALL = [*LOGITS, *FEATURES, *BOTH]
READS = {
    **dict.fromkeys(LOGITS, ("logits",)),
    **dict.fromkeys(FEATURES, ("features",)),
    **dict.fromkeys(BOTH, ("features", "logits")),
}


@pytest.fixture(scope="module")
def train():
    return samples()


@pytest.fixture(scope="module")
def test():
    return samples([30] * K, seed=1, spread=2.0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_sample_is_judged_on_its_own_in_any_precision(name, dtype, train, test):
    def cast(s):
        return replace(s, logits=s.logits.astype(dtype), features=s.features.astype(dtype))

    detector = fitted(name, cast(train), cast(samples([8] * K, seed=4)))
    scores = cast(test)
    scored = detector.score(scores)
    assert scored.confidence.dtype == np.float32
    assert scored.confidence.std() > 0
    np.testing.assert_array_equal(scored.prediction, scores.prediction)
    many = scores.take(np.random.default_rng(0).integers(len(scores), size=3000))
    together = detector.score(many).confidence
    for row in (0, 255, 256, 1024, 2999):
        alone = detector.score(many.take(slice(row, row + 1)))
        np.testing.assert_allclose(alone.confidence[0], together[row], rtol=1e-6, atol=1e-6)
    assert len(detector.score(scores.take(slice(0, 0)))) == 0
    assert all(isinstance(value, int | float | str) for value in detector.report().values())


@pytest.mark.parametrize("name", ["relative-mahalanobis", "neco", "combined"])
def test_samples_far_from_every_class_are_less_known(name, train):
    """Noise of the same mean and spread as the features; the classifier's weights here are random, and know nothing."""
    near = samples([40] * K, seed=3)
    noise = np.random.default_rng(5).normal(near.features.mean(), near.features.std(), (200, DIM)).clip(0)
    detector = fitted(name, train, samples([8] * K, seed=4))
    known, unknown = (detector.score(s).confidence for s in (near, scores_of(noise, np.full(200, 5))))
    assert (known[:, None] > unknown[None]).mean() > 0.6


@pytest.mark.parametrize("name", ALL)
def test_what_is_missing_or_broken_is_named(name, train, test):
    detector = fitted(name, train)
    for array in READS[name]:
        for scores, use in ((test, detector.score), (train, lambda s: fitted(name, s))):
            if scores is train and name in ("gen", "rp-msp", "rp-energy", "prior-msp", "rp-gradnorm"):
                continue  # nothing is fitted
            broken = getattr(scores, array).copy()
            broken[3, 0] = -np.inf
            with pytest.raises((DataProblem, NotFinite), match=f"the {array} contain NaN or infinity$"):
                use(replace(scores, **{array: broken}))
        with pytest.raises(DataProblem, match=f" reads the {array}, and these scores have none$"):
            detector.score(replace(test, **{array: None}))


@pytest.mark.parametrize("name", ALL)
def test_huge_values_stay_finite(name, train, test):
    def grown(s):
        return replace(s, logits=s.logits * np.float32(1e30), features=s.features * np.float32(1e30))

    assert np.isfinite(fitted(name, train).score(grown(test)).confidence).all()
    detector = build(name)
    detector.head = head()
    for part in (p for p in (detector,) if name != "combined"):
        part.fit(grown(train))
        part.calibrate(grown(train))
        assert np.isfinite(part.score(grown(test)).confidence).all()


@pytest.mark.parametrize("name", ALL)
def test_little_to_learn_from(name, train, test):
    """One sample, one class, one image per class, samples that are all the same; no warning of a division."""
    one_each = np.array([np.flatnonzero(train.labels == c)[0] for c in range(K)])
    for rows in (np.array([0]), np.flatnonzero(train.labels == 0)[:5], one_each, np.zeros(9, int)):
        few = train.take(rows)
        with np.errstate(divide="raise", invalid="raise", over="raise"):
            detector = fitted(name, few)
            assert np.isfinite(detector.score(test).confidence).all()
            assert len(set(detector.score(few.take(np.zeros(3, int))).confidence)) == 1


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("classes", [1, 2, 300])
def test_any_number_of_classes(name, classes):
    """One, two, and many more than there are dimensions."""
    counts = [12] * classes if classes < 3 else [2] * classes
    rng = np.random.default_rng(3)
    weights = head(classes, 4)

    def drawn(size, seed):
        rng = np.random.default_rng(seed)
        features = rng.gamma(2.0, size=(size, 4)).astype(np.float32)
        logits = weights.logits(features).astype(np.float32)
        confidence = softmax(logits, axis=1).max(1)
        labels = np.arange(size) % classes
        return type(samples())(logits.argmax(1), confidence, labels, logits, features)

    detector = fitted(name, drawn(sum(counts), 1), drawn(100, 2), counts=counts)
    asked = drawn(50, 3)
    shuffled = rng.permutation(50)
    scored = detector.score(asked).confidence
    assert np.isfinite(scored).all()
    np.testing.assert_allclose(detector.score(asked.take(shuffled)).confidence, scored[shuffled], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_tied_logits_and_features_of_zeros_are_no_trouble(name, train):
    tied = scores_of(np.zeros((4, DIM)), [0, 1, 2, 3])
    tied = replace(tied, logits=np.zeros_like(tied.logits))
    detector = fitted(name, train)
    with np.errstate(divide="raise", invalid="raise"):
        scored = detector.score(tied).confidence
    assert np.isfinite(scored).all()


@pytest.mark.parametrize("name", [n for n in ALL if "logits" in READS[n]])
def test_probabilities_are_not_taken_for_logits(name, train, test):
    with pytest.raises(DataProblem, match="reads logits, and these are probabilities"):
        fitted(name, train).score(replace(test, logits=softmax(test.logits, axis=1)))
