"""Detectors of features and of the linear classifier against literal float64 transcriptions with loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from oltr_cli.detector import LinearHead
from oltr_cli.errors import UsageProblem
from tests.helpers.linear_scores import COUNTS, DIM, build, fitted, head, samples, scores_of

K = len(COUNTS)
W, B = head().weight, head().bias


@pytest.fixture(scope="module")
def train():
    return samples()


@pytest.fixture(scope="module")
def test():
    return samples([30] * K, seed=1, spread=2.0)


def double(scores):
    return scores.features.astype(np.float64)


def class_means(h, labels):
    return {c: h[labels == c].mean(0) for c in np.unique(labels)}


def within(h, labels):
    """Covariance within classes, by a loop over samples."""
    means = class_means(h, labels)
    return EmpiricalCovariance(assume_centered=True).fit([x - means[c] for x, c in zip(h, labels, strict=True)])


@pytest.mark.parametrize(("normalise", "ridge", "shrinkage"), [(True, 0.01, 0), (True, None, 0.3), (None, 0.5, 0.2)])
def test_mahalanobis_on_the_unit_sphere_with_a_ridge(train, test, normalise, ridge, shrinkage):
    def placed(scores):
        return np.array([x / np.linalg.norm(x) for x in double(scores)]) if normalise else double(scores)

    h = placed(train)
    sigma = (1 - shrinkage) * within(h, train.labels).covariance_
    sigma += shrinkage * np.trace(within(h, train.labels).covariance_) / DIM * np.eye(DIM) + (ridge or 0) * np.eye(DIM)
    means = class_means(h, train.labels).values()
    expected = [-min((x - m) @ np.linalg.solve(sigma, x - m) for m in means) for x in placed(test)]
    detector = fitted("mahalanobis", train, normalise=normalise, ridge=ridge, shrinkage=shrinkage)
    np.testing.assert_allclose(detector.score(test).confidence, expected, rtol=1e-5)


def test_on_the_unit_sphere_the_length_of_a_feature_does_not_matter(train, test):
    detector = fitted("mahalanobis", train, normalise=True, ridge=0.1)
    longer = replace(test, features=test.features * np.linspace(0.5, 1e20, len(test), dtype=np.float32)[:, None])
    np.testing.assert_allclose(detector.score(longer).confidence, detector.score(test).confidence, rtol=1e-5)
    nothing = replace(test, features=np.zeros_like(test.features))
    assert np.isfinite(detector.score(nothing).confidence).all()


def naive_relative(train, test):
    """d_c and d_0 by pseudo-inverses, d_0 only in directions in which classes vary."""
    h = double(train)
    sigma = within(h, train.labels).covariance_
    values, vectors = np.linalg.eigh(sigma)
    inside = vectors[:, values > 1e-10 * values.max()]
    project = inside @ inside.T
    all_of_them = EmpiricalCovariance().fit(h).covariance_
    inner, outer = np.linalg.pinv(sigma, rcond=1e-10), np.linalg.pinv(project @ all_of_them @ project, rcond=1e-10)
    out = []
    for x in double(test):
        own = min((x - m) @ inner @ (x - m) for m in class_means(h, train.labels).values())
        away = project @ (x - h.mean(0))
        out.append(-(own - away @ outer @ away))
    return out


def test_relative_mahalanobis(train, test):
    scored = fitted("relative-mahalanobis", train).score(test)
    np.testing.assert_allclose(scored.confidence, naive_relative(train, test), rtol=1e-5, atol=1e-5)


def test_relative_mahalanobis_of_one_class_does_not_rank_by_rounding(train, test):
    """d_c and d_0 are then the same distance."""
    one = train.take(np.flatnonzero(train.labels == 0))
    assert set(fitted("relative-mahalanobis", one).score(test).confidence) == {0}


def test_relative_mahalanobis_where_features_span_fewer_dimensions(train, test):
    """Fewer samples than dimensions, and dimensions in which only one class is: d_0 alone knows nothing there."""
    few = train.take(np.argsort(train.labels)[:9])
    few = few if len(np.unique(few.labels)) > 1 else train.take(np.arange(9))
    detector = fitted("relative-mahalanobis", few)
    assert 0 < detector.report()["rank of the covariance"] < DIM
    np.testing.assert_allclose(detector.score(test).confidence, naive_relative(few, test), rtol=1e-4, atol=1e-4)

    features = train.features.copy()
    features[:, 0] = train.labels == 0  # varies between classes, within none
    marked = replace(train, features=features)
    far = double(test)
    far[:, 0] = 1e6
    near = np.where(np.arange(DIM) == 0, 0, far)
    detector = fitted("relative-mahalanobis", marked)
    a, b = (detector.score(replace(test, features=x)).confidence for x in (far, near))
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("percentile", [0, 50, 90, 100])
def test_react(train, test, percentile):
    cut = np.percentile([value for row in double(train) for value in row], percentile)
    expected = [
        logsumexp([sum(min(v, cut) * w for v, w in zip(h, W[c], strict=True)) + B[c] for c in range(K)])
        for h in double(test)
    ]
    detector = fitted("react", train, percentile=percentile)
    np.testing.assert_allclose(detector.score(test).confidence, expected, rtol=1e-5, atol=1e-6)
    assert detector.report() == {"cut-off": pytest.approx(cut, rel=1e-6)}


@pytest.mark.parametrize("percentile", [0, 50, 85, 99])
def test_scale(train, test, percentile):
    largest = max(1, DIM - round(DIM * percentile / 100))
    expected = []
    for h in double(test):
        r = sum(h) / sum(sorted(h)[-largest:])
        expected.append(logsumexp(W @ (h * math.exp(r)) + B))
    scored = fitted("scale", train, percentile=percentile).score(test)
    np.testing.assert_allclose(scored.confidence, expected, rtol=1e-5)


def test_scale_refuses_negative_features_and_takes_zeros(train, test):
    with pytest.raises(UsageProblem, match=r"^scale .* needs them ≥ 0, .* use react or energy instead$"):
        fitted("scale", scores_of(train.features - 1, train.labels))
    nothing = replace(test, features=np.zeros_like(test.features))
    np.testing.assert_allclose(fitted("scale", train).score(nothing).confidence, logsumexp(B), rtol=1e-6)


def test_fdbd(train, test):
    mean = double(train).mean(0)
    expected = []
    for h, f in zip(double(test), test.logits.astype(np.float64), strict=True):
        own = f.argmax()
        to_boundaries = [abs(f[own] - f[c]) / math.dist(W[own], W[c]) for c in range(K) if c != own]
        expected.append(sum(to_boundaries) / (K - 1) / math.dist(h, mean))
    np.testing.assert_allclose(fitted("fdbd", train).score(test).confidence, expected, rtol=1e-5)


def test_fdbd_with_two_classes_of_the_same_weights(train, test):
    """They have no boundary: it counts as distance 0, and nothing is divided by rounding."""
    twice = LinearHead(np.vstack([W[0], W[0], W[2:]]), B)
    logits = twice.logits(double(test))
    asked = replace(test, logits=logits, prediction=logits.argmax(1))
    detector = build("fdbd")
    detector.head = twice
    detector.fit(asked)
    assert detector.inverse[0, 1] == detector.inverse[1, 0] == detector.inverse[0, 0] == 0
    assert detector.inverse[0, 2] == pytest.approx(1 / math.dist(W[0], W[2]))
    assert detector.score(asked).confidence.max() < 1e3


@pytest.mark.parametrize("alpha", [0, 1e-4, 0.1])
def test_nci(train, test, alpha):
    mean = double(train).mean(0)
    expected = []
    for h, c in zip(double(test), test.prediction, strict=True):
        expected.append(W[c] @ (h - mean) / math.dist(h, mean) + alpha * sum(abs(h)))
    scored = fitted("nci", train, alpha=alpha).score(test)
    np.testing.assert_allclose(scored.confidence, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("k", "share", "size"), [(5, 0.1, 21), (100, 0.01, 100), (3, 1.0, 212), (900, 1.0, 212)])
def test_nnguide(train, test, k, share, size):
    rows = [i * len(train) // size for i in range(size)]
    bank = [
        logsumexp(train.logits[i].astype(np.float64)) * double(train)[i] / np.linalg.norm(double(train)[i])
        for i in rows
    ]
    expected = []
    for h, f in zip(double(test), test.logits.astype(np.float64), strict=True):
        guides = sorted((h / np.linalg.norm(h) @ b for b in bank), reverse=True)[: min(k, size)]
        expected.append(logsumexp(f) * np.mean(guides))
    detector = fitted("nnguide", train, k=k, share=share)
    np.testing.assert_allclose(detector.score(test).confidence, expected, rtol=1e-5, atol=1e-6)
    assert detector.report() == {"k": min(k, size), "bank": size}


def test_she(train, test):
    right = train.prediction == train.labels
    patterns = []
    for c in range(K):
        own = train.labels == c
        used = own & right if (own & right).any() else own
        patterns.append(double(train)[used].mean(0))
    expected = [h @ patterns[c] for h, c in zip(double(test), test.prediction, strict=True)]
    detector = fitted("she", train)
    np.testing.assert_allclose(detector.score(test).confidence, expected, rtol=1e-6)
    without = sum(not (right & (train.labels == c)).any() for c in range(K))
    assert detector.report() == {"classes without correct samples": without, "classes without training samples": 0}


def test_she_knows_nothing_of_a_class_without_images(train, test):
    five = train.take(train.labels < 5)
    detector = fitted("she", five)
    assert detector.report()["classes without training samples"] == 1
    asked = replace(test, prediction=np.full(len(test), 5))
    assert (detector.score(asked).confidence == 0).all()


@pytest.mark.parametrize(("dimension", "taken"), [(1, 1), (4, 4), (500, DIM - 1), (None, None)])
def test_neco(train, test, dimension, taken):
    scaler = StandardScaler().fit(double(train))
    components = PCA().fit(scaler.transform(double(train)))
    taken = taken or next(d for d in range(1, DIM + 1) if components.explained_variance_ratio_[:d].sum() >= 0.9)
    expected = []
    for x in scaler.transform(double(test)):
        inside = [x @ direction for direction in components.components_[:taken]]
        expected.append(math.hypot(*inside) / math.hypot(*x))
    detector = fitted("neco", train, dimension=dimension)
    np.testing.assert_allclose(detector.score(test).confidence, expected, rtol=1e-5)
    assert detector.report()["dimension"] == taken


def test_neco_does_not_divide_a_constant_dimension(train, test):
    constant = np.where(np.arange(DIM) == 3, np.float32(0.7), train.features)
    with_it = np.where(np.arange(DIM) == 3, np.float32(0.7), test.features)
    without = [np.delete(x, 3, axis=1) for x in (constant, with_it)]
    scored = fitted("neco", replace(train, features=constant), dimension=4).score(replace(test, features=with_it))
    fewer = fitted("neco", replace(train, features=without[0], logits=train.logits), dimension=4)
    np.testing.assert_allclose(scored.confidence, fewer.score(replace(test, features=without[1])).confidence, rtol=1e-4)
