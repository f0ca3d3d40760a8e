"""Detectors on saved scores against scipy, scikit-learn and literal float64 transcriptions, and their edge cases."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.special
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors

from oltr_cli.detector import Detector, DetectorSetup
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.methods.energy import Energy
from oltr_cli.methods.knn import KNN
from oltr_cli.methods.mahalanobis import Mahalanobis
from oltr_cli.methods.maxlogit import MaxLogit
from oltr_cli.methods.msp import MSP
from oltr_cli.methods.openmax import OpenMax
from oltr_cli.methods.vim import ViM, principal_dimension
from oltr_cli.runs.scores import SavedScores

K, D = 6, 12
COUNTS = (120, 60, 20, 9, 2, 1)
ALL = [MSP, MaxLogit, Energy, KNN, Mahalanobis, ViM, OpenMax]
NEEDS = dict.fromkeys(ALL, ("logits",)) | {KNN: ("features",), Mahalanobis: ("features",), ViM: ("features", "logits")}


def linear_classifier():
    rng = np.random.default_rng(7)
    return rng.normal(size=(K, D)) / D**0.5, rng.normal(size=K)


def samples(n_by_class, seed, spread=1.0, dtype=np.float32):
    """Scores of a linear classifier on Gaussian classes around means that are the same for every seed."""
    means = np.random.default_rng(99).normal(size=(K, D)) * 2
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(K), n_by_class)
    rng.shuffle(labels)
    scale = np.linspace(0.2, 2, D)
    features = (means[labels] + spread * scale * rng.normal(size=(len(labels), D))).astype(dtype)
    weight, bias = linear_classifier()
    logits = (features.astype(np.float64) @ weight.T + bias).astype(dtype)
    full = scipy.special.softmax(logits.astype(np.float64), axis=1)
    return SavedScores(
        logits.argmax(1), full.max(1).astype(np.float32), labels, logits, features, labels.astype(np.str_)
    )


def build(cls, counts=COUNTS, **params):
    return cls(DetectorSetup(counts, (0.25, 0.25, 0.25), cls.Params(**params)))


def fitted(cls, train, **params):
    detector = build(cls, **params)
    detector.fit(train)
    return detector


@pytest.fixture(scope="module")
def train():
    return samples(COUNTS, 0)


@pytest.fixture(scope="module")
def test():
    return samples([30] * K, 1, spread=2.0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1000.0])
def test_msp_is_the_largest_softmax(test, temperature):
    expected = scipy.special.softmax(test.logits.astype(np.float64) / temperature, axis=1).max(1)
    scored = build(MSP, temperature=temperature).score(test)
    np.testing.assert_allclose(scored.confidence, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_maxlogit(test, dtype):
    logits = test.logits.astype(dtype)
    judged = build(MaxLogit).score(replace(test, logits=logits))
    np.testing.assert_array_equal(judged.confidence, logits.max(1).astype(np.float32))


@pytest.mark.parametrize("temperature", [0.01, 1.0, 50.0])
def test_energy_is_logsumexp(test, temperature):
    expected = temperature * scipy.special.logsumexp(test.logits.astype(np.float64) / temperature, axis=1)
    scored = build(Energy, temperature=temperature).score(test)
    np.testing.assert_allclose(scored.confidence, expected, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 5, 50, 10_000])
def test_knn_is_that_of_scikit_learn(train, test, k):
    def unit(x):
        return x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)

    capped = min(k, len(train))
    neighbours = NearestNeighbors(n_neighbors=capped, algorithm="brute").fit(unit(train.features))
    expected = -neighbours.kneighbors(unit(test.features))[0][:, -1]
    detector = fitted(KNN, train, k=k)
    np.testing.assert_allclose(detector.score(test).confidence, expected, rtol=1e-5)
    assert detector.report()["k"] == capped


@pytest.mark.parametrize(("size", "k"), [(7, 1), (23, 2), (1000, 9), (997, 50)])
def test_knn_counts_only_training_samples_where_all_are_far_away(size, k):
    """All similarities are negative, below that of an empty place of a table that the samples do not fill."""
    rng = np.random.default_rng(size)
    near, far = rng.normal(size=(size, D)) * 0.1 + 1, rng.normal(size=(5, D)) * 0.1 - 1
    train, test = (
        SavedScores(np.zeros(len(x), np.int64), np.ones(len(x)), np.zeros(len(x), np.int64), features=x)
        for x in (near.astype(np.float32), far.astype(np.float32))
    )
    unit = [x.features.astype(np.float64) / np.linalg.norm(x.features, axis=1, keepdims=True) for x in (train, test)]
    distances = np.linalg.norm(unit[1][:, None] - unit[0][None], axis=2)
    expected = -np.sort(distances, axis=1)[:, k - 1]
    np.testing.assert_allclose(fitted(KNN, train, k=k).score(test).confidence, expected, rtol=1e-6)


def test_knn_of_a_training_sample_is_zero_and_a_zero_feature_is_no_trouble(train):
    detector = fitted(KNN, train, k=1)
    assert np.abs(detector.score(train).confidence).max() < 1e-6
    features = np.zeros((1, D), np.float32)
    assert detector.score(replace(train.take(slice(1)), features=features)).confidence[0] == pytest.approx(-1)


def naive_mahalanobis(train, test):
    """Tied covariance by scikit-learn, from features centred class by class; a loop over classes."""
    f = train.features.astype(np.float64)
    present = np.unique(train.labels)
    means = {c: f[train.labels == c].mean(0) for c in present}
    centred = np.stack([x - means[c] for x, c in zip(f, train.labels, strict=True)])
    precision = EmpiricalCovariance(assume_centered=True).fit(centred).precision_
    out = []
    for x in test.features.astype(np.float64):
        out.append(-min((x - m) @ precision @ (x - m) for m in means.values()))
    return np.array(out)


def test_mahalanobis_is_that_of_scikit_learn(train, test):
    scored = fitted(Mahalanobis, train).score(test)
    np.testing.assert_allclose(scored.confidence, naive_mahalanobis(train, test), rtol=1e-5)


def test_mahalanobis_leaves_out_a_class_without_samples(test):
    """Its mean would otherwise be 0, and what lies near the origin would be known."""
    counts = (120, 60, 20, 9, 2, 0)
    without = samples(counts, 0)
    detector = build(Mahalanobis, counts=counts)
    detector.fit(without)
    np.testing.assert_allclose(detector.score(test).confidence, naive_mahalanobis(without, test), rtol=1e-5)
    assert detector.report() == {"classes": 5, "rank of the covariance": D}


def test_mahalanobis_with_a_singular_covariance(train, test):
    """Fewer samples than dimensions: the pseudo-inverse. All weight on the identity, or no variance: Euclid."""
    few = train.take(np.arange(8))
    detector = fitted(Mahalanobis, few)
    assert 0 < detector.report()["rank of the covariance"] < D
    np.testing.assert_allclose(detector.score(test).confidence, naive_mahalanobis(few, test), rtol=1e-5)

    means = np.stack([train.features[train.labels == c].mean(0, dtype=np.float64) for c in range(K)])
    squared = np.square(test.features[:, None] - means).sum(2).min(1)
    euclid = fitted(Mahalanobis, train, shrinkage=1.0).score(test).confidence
    np.testing.assert_allclose(euclid / euclid[0], squared / squared[0], rtol=1e-5)

    one_each = train.take(np.array([np.flatnonzero(train.labels == c)[0] for c in range(K)]))
    single = fitted(Mahalanobis, one_each)
    expected = -np.square(test.features[:, None] - one_each.features.astype(np.float64)).sum(2).min(1)
    np.testing.assert_allclose(single.score(test).confidence, expected, rtol=1e-5)


def naive_vim(train, test, dimension):
    """The paper's Algorithm 1 with the classifier's true W and b."""
    weight, bias = linear_classifier()
    o = -np.linalg.pinv(weight) @ bias
    centred = train.features.astype(np.float64) - o
    covariance = EmpiricalCovariance(assume_centered=True).fit(centred).covariance_
    values, vectors = np.linalg.eigh(covariance)
    residual_space = vectors[:, np.argsort(-values)[dimension:]]
    alpha = train.logits.max(1).mean(dtype=np.float64) / np.linalg.norm(centred @ residual_space, axis=1).mean()
    virtual = alpha * np.linalg.norm((test.features - o) @ residual_space, axis=1)
    probability = scipy.special.softmax(np.column_stack([test.logits.astype(np.float64), virtual]), axis=1)[:, -1]
    return scipy.special.logsumexp(test.logits.astype(np.float64), axis=1) - virtual, probability


@pytest.mark.parametrize(("dimension", "taken"), [(None, D // 2), (1, 1), (9, 9), (500, D - 1)])
def test_vim_is_the_papers_algorithm(train, test, dimension, taken):
    detector = fitted(ViM, train, dimension=dimension)
    expected, probability = naive_vim(train, test, taken)
    scored = detector.score(test)
    np.testing.assert_allclose(scored.confidence, expected, rtol=1e-4, atol=1e-4)
    assert detector.report()["dimension"] == taken
    assert detector.report()["linear share"] == pytest.approx(1, abs=1e-6)
    # The virtual logit's probability of the paper, exactly: p = 1 / (1 + e^confidence).
    np.testing.assert_allclose(1 / (1 + np.exp(scored.confidence)), probability, rtol=1e-3, atol=1e-6)


def test_vim_dimension_rule(train):
    assert [principal_dimension(d) for d in (2, 512, 767, 768, 2047, 2048)] == [1, 256, 383, 512, 512, 1000]
    narrow = replace(train, features=train.features[:, :1])  # no principal space, all is residual
    detector = fitted(ViM, narrow)
    assert detector.report()["dimension"] == 0
    assert np.isfinite(detector.score(narrow).confidence).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vim_refuses_features_without_a_part_outside_the_principal_space(train, test, dtype):
    """Fewer samples than dimensions: α would be the largest logit over a rounding error, some 1e13."""
    few = replace(train.take(slice(0, 5)), features=train.features[:5].astype(dtype))
    with pytest.raises(
        UsageProblem, match=r"^vim: the features of 5 training samples span 5 of 12 dimensions, .* below 5"
    ):
        fitted(ViM, few)
    assert fitted(ViM, few, dimension=4).alpha < 1e3
    dead = replace(train, features=train.features * (np.arange(D) < 3))
    with pytest.raises(UsageProblem, match=r"span 3 of 12 dimensions"):
        fitted(ViM, dead)
    with pytest.raises(UsageProblem, match=r"span 1 of 12 dimensions, .* of 6; use another detector$"):
        fitted(ViM, train.take(slice(1)))
    with pytest.raises(UsageProblem, match=r"span 0 of 12"):
        fitted(ViM, replace(train, features=np.zeros_like(train.features)))


def test_vim_says_how_far_from_linear_the_classifier_is(train):
    assert fitted(ViM, replace(train, logits=np.tanh(train.logits))).report()["linear share"] < 0.99


def test_far_away_samples_are_less_known(train):
    """What each detector is for: samples far from every class have lower confidence than those of the classes."""
    near = samples([40] * K, 3)
    rng = np.random.default_rng(5)
    features = rng.normal(size=(200, D)).astype(np.float32) * 8
    weight, bias = linear_classifier()
    logits = (features @ weight.T + bias).astype(np.float32)
    far = SavedScores(logits.argmax(1), np.ones(200, np.float32), np.full(200, -1), logits, features)
    for cls in (KNN, Mahalanobis, ViM, OpenMax):
        detector = fitted(cls, train)
        a, b = detector.score(near).confidence, detector.score(far).confidence
        auroc = (a[:, None] > b[None]).mean()
        assert auroc > 0.75, f"{cls.__name__}: {auroc}"


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_contract(cls, dtype, train, test):
    """float32 finite confidences, one sample alone as among many, the same half-way through a block; the rest stays."""

    def cast(s):
        return replace(s, logits=s.logits.astype(dtype), features=s.features.astype(dtype))

    known = cast(train)
    detector = fitted(cls, known)
    scores = cast(test)
    scored = detector.score(scores)
    assert scored.confidence.dtype == np.float32
    assert scored.prediction.dtype == np.int64
    assert np.isfinite(scored.confidence).all()
    assert scored.confidence.std() > 0
    for name in ("labels", "logits", "features", "paths"):
        assert getattr(scored, name) is getattr(scores, name)
    if cls is not OpenMax:
        np.testing.assert_array_equal(scored.prediction, scores.prediction)
    many = scores.take(np.random.default_rng(0).integers(len(scores), size=9000))
    many_scored = detector.score(many)
    for row in (0, 1, 4095, 4096, 8999):
        alone = detector.score(many.take(slice(row, row + 1)))
        assert alone.prediction[0] == many_scored.prediction[row]
        np.testing.assert_allclose(alone.confidence[0], many_scored.confidence[row], rtol=1e-6, atol=1e-6)
    assert len(detector.score(scores.take(slice(0, 0)))) == 0
    assert all(isinstance(value, int | float | str) for value in detector.report().values())


@pytest.mark.parametrize("cls", ALL)
def test_what_is_missing_or_broken_is_named(cls, train, test):
    detector, name = fitted(cls, train), cls.__name__.lower()
    learns = [build(cls).fit] if cls.fit is not Detector.fit else []
    for array in NEEDS[cls]:
        for step, scores in ((detector.score, test), *((fit, train) for fit in learns)):
            with pytest.raises(DataProblem, match=f"^{name} reads the {array}, and these scores have none$"):
                step(replace(scores, **{array: None}))
            broken = getattr(scores, array).copy()
            broken[3, 0] = -np.inf
            with pytest.raises(DataProblem, match=f"^{name}: the {array} contain NaN or infinity$"):
                step(replace(scores, **{array: broken}))
    for fit in learns:
        with pytest.raises(DataProblem, match="have no sample"):
            fit(train.take(slice(0)))


@pytest.mark.parametrize("cls", ALL)
def test_huge_values_stay_finite(cls, train, test):
    def grown(s):
        return replace(s, logits=s.logits * np.float32(1e30), features=s.features * np.float32(1e30))

    for known in (train, grown(train)):
        assert np.isfinite(fitted(cls, known).score(grown(test)).confidence).all()


@pytest.mark.parametrize("cls", ALL)
def test_one_training_sample_and_one_class(cls, train, test):
    for rows in (np.array([0]), np.flatnonzero(train.labels == 0)[:5]):
        if cls is not ViM:  # has nothing to learn from fewer samples than dimensions, and says so
            assert np.isfinite(fitted(cls, train.take(rows)).score(test).confidence).all()
    one_class = replace(train, labels=np.zeros_like(train.labels))
    assert np.isfinite(fitted(cls, one_class).score(test).confidence).all()


@pytest.mark.parametrize("cls", [cls for cls in ALL if "logits" in NEEDS[cls]])
def test_probabilities_are_not_taken_for_logits(cls, train, test):
    detector = fitted(cls, train)
    probabilities = scipy.special.softmax(test.logits, axis=1)
    with pytest.raises(DataProblem, match=f"^{cls.__name__.lower()} reads logits, and these are probabilities"):
        detector.score(replace(test, logits=probabilities))
    assert np.isfinite(detector.score(replace(test, logits=np.log(probabilities))).confidence).all()
