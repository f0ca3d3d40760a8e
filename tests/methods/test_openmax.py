"""OpenMax against a naive loop over samples and classes with libmr, and the classes that a long tail brings."""

import math

import numpy as np
import pytest
from scipy.spatial import distance

from oltr_cli.detector import DetectorSetup
from oltr_cli.methods.openmax import OpenMax
from oltr_cli.runs.scores import SavedScores, max_softmax

libmr = pytest.importorskip("libmr")

OWN = np.array([15.0, 20, 25, 30, 40])  # below and above what training samples have


def scores_of(logits, labels):
    prediction, confidence = max_softmax(logits)
    return SavedScores(prediction, confidence, np.asarray(labels, np.int64), logits)


def samples(num_classes, n, seed, offset=4.0, own=5.0):
    """Logits (N, K) that are mostly right, with ``n`` samples a class (or one number of samples for each).

    ``offset`` is about the mean of all logits, ``own`` what the sample's class has above it.
    """
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_classes), n)
    means = np.random.default_rng(42).normal(size=(num_classes, num_classes)) * 2 + offset
    logits = means[labels] + rng.normal(size=(len(labels), num_classes)) * rng.gamma(2, size=(len(labels), 1))
    logits[np.arange(len(labels)), labels] += own
    return scores_of(logits.astype(np.float32), labels)


def build(num_classes, **params):
    return OpenMax(DetectorSetup((5,) * num_classes, (0.25,) * 3, OpenMax.Params(**params)))


def fitted(train, **params):
    detector = build(train.logits.shape[1], **params)
    detector.fit(train)
    return detector


def one_distance(v, mean, kind):
    euclidean, cosine = distance.euclidean(v, mean) / 200, distance.cosine(v, mean)
    return {"eucos": euclidean + cosine, "euclidean": euclidean, "cosine": cosine}[kind]


def naive(train, test, tail=20, alpha=10, kind="eucos"):
    """Algorithms 1 and 2 as they are written, for classes with enough samples and logits ≥ 0: P (N, K + 1)."""
    num_classes = train.logits.shape[1]
    means, models = [], []
    for c in range(num_classes):
        right = [v.astype(np.float64) for v, y in zip(train.logits, train.labels, strict=True) if y == c == v.argmax()]
        means.append(np.mean(right, axis=0))
        largest = sorted(one_distance(v, means[c], kind) for v in right)[-tail:]
        models.append(libmr.MR())
        models[c].fit_high(np.array(largest), len(largest))
    out = []
    for v in test.logits.astype(np.float64):
        ranked = np.argsort(v)[::-1]
        w = np.zeros(num_classes)
        for i, c in enumerate(ranked[:alpha], start=1):
            w[c] = (min(alpha, num_classes) + 1 - i) / min(alpha, num_classes)
            w[c] *= models[c].w_score(one_distance(v, means[c], kind))
        revised = [v[c] * (1 - w[c]) for c in range(num_classes)]
        revised.append(sum(v[c] * w[c] for c in range(num_classes)))
        e = [math.exp(r - max(revised)) for r in revised]
        out.append([x / sum(e) for x in e])
    return np.array(out)


def positive(num_classes, n, seed, own=30.0):
    """Samples with logits ≥ 0 of which OpenMax accepts some: the naive form knows no negative ones."""
    drawn = samples(num_classes, n, seed, own=own)
    return scores_of(np.abs(drawn.logits), drawn.labels)


def agree(scored, probabilities, tolerance):
    """The documented reading of P (N, K + 1) as prediction and confidence; the share in which a known class wins."""
    known, unknown = probabilities[:, :-1], probabilities[:, -1]
    np.testing.assert_array_equal(scored.prediction, known.argmax(1))
    wins = known.max(1) >= unknown
    u = -np.log(known.sum(1))
    np.testing.assert_allclose(scored.confidence, np.where(wins, known.max(1), -u / (1 + u)), rtol=tolerance)
    return wins.mean()


@pytest.mark.parametrize("fit", ["libmr", "vectorised"])
@pytest.mark.parametrize(
    "options",
    [{}, {"tail": 5}, {"alpha": 3}, {"alpha": 100}, {"kind": "euclidean"}, {"kind": "cosine"}],
    ids=str,
)
def test_openmax_is_the_papers_algorithm(fit, options):
    train, test = positive(12, 60, 0), positive(12, 15, 1, own=np.tile(OWN, 36))
    expected = naive(train, test, **options)
    params = {("distance" if name == "kind" else name): value for name, value in options.items()}
    detector = fitted(train, fit=fit, **params)
    share = agree(detector.score(test), expected, 1e-4)
    assert 0.02 < share < 0.98, "both outcomes should occur"
    assert detector.report()["fit"] == fit
    assert detector.report()["classes with their own fit"] == 12


def test_both_fits_give_the_same_numbers():
    train, test = positive(30, 50, 2), positive(30, 20, 3)
    a, b = fitted(train, fit="libmr"), fitted(train, fit="vectorised")
    np.testing.assert_allclose(a.weibulls.shape, b.weibulls.shape, rtol=1e-5)
    np.testing.assert_allclose(a.score(test).confidence, b.score(test).confidence, rtol=2e-4)
    assert fitted(train).report()["fit"] == "libmr"


def test_acceptance_is_that_of_openmax():
    """Accepted at τ exactly where a known class wins with P ≥ τ; what is rejected ranks by P(unknown)."""
    train, test = positive(12, 60, 0), positive(12, 30, 1, own=np.tile(OWN, 72))
    p = naive(train, test)
    scored = fitted(train).score(test)
    for tau in (1e-6, 0.1, 0.5, 0.9):
        expected = (p.argmax(1) < 12) & (p[:, :12].max(1) >= tau)
        assert 0 < expected.sum() < len(test)
        np.testing.assert_array_equal(scored.confidence >= np.float32(tau), expected)
    rejected = scored.confidence < 0
    known = p[rejected, :12].sum(1)[np.argsort(scored.confidence[rejected])]
    assert (known[1:] >= known[:-1] * (1 - 1e-3)).all()
    assert (known < 1e-8).sum() > 10, "which float32 could not tell from P(unknown) = 1"
    assert len(np.unique(scored.confidence[rejected])) == rejected.sum()


def test_negative_logits_are_never_raised():
    """Shifted so that the least is 0: revision takes from the known logits, and the unknown one is ≥ 0."""
    train, test = samples(8, 40, 0, offset=-20), samples(8, 20, 1, offset=-20)
    assert (test.logits.max(1) < 0).any()
    detector = fitted(train)
    logits = test.logits.astype(np.float64)
    known, unknown = detector.revise(logits)
    shifted = logits - logits.min(1, keepdims=True)
    assert (known >= 0).all()
    assert (known <= shifted + 1e-12).all()
    np.testing.assert_allclose(unknown, (shifted - known).sum(1), rtol=1e-9, atol=1e-9)
    assert unknown.max() > 1
    raised = shifted + 1
    known, _ = fitted(train, alpha=1).revise(raised)
    changed = (known != raised).sum(1)
    assert (changed <= 1).all(), "no shift without need"
    assert changed.any()


def test_negative_logits_may_be_kept():
    """Nothing is shifted: negative logits stay as they are, and positive ones are revised as ever."""
    train, test = samples(8, 40, 0, offset=0), samples(8, 20, 1, offset=0)
    logits = test.logits.astype(np.float64)
    known, unknown = fitted(train, negative="keep").revise(logits)
    negative = logits < 0
    assert negative.any()
    np.testing.assert_array_equal(known[negative], logits[negative])
    assert (known[~negative] <= logits[~negative]).all()
    np.testing.assert_allclose(unknown, (logits - known).sum(1), rtol=1e-9, atol=1e-9)
    whole = positive(8, 40, 1)
    a, b = (fitted(train, negative=n).score(whole).confidence for n in ("keep", "shift"))
    np.testing.assert_array_equal(a, b)


def test_a_sample_does_not_depend_on_the_others():
    train, test = samples(40, 30, 0), samples(40, 25, 1)
    assert len(test) == 1000
    detector = fitted(train)
    together = detector.score(test)
    for i in range(0, len(test), 7):
        alone = detector.score(scores_of(test.logits[i : i + 1], test.labels[i : i + 1]))
        assert alone.confidence[0] == together.confidence[i]
        assert alone.prediction[0] == together.prediction[i]


@pytest.fixture(params=["libmr", "vectorised"])
def long_tail(request):
    """Class 4 has two samples, 5 one, 6 five wrong ones, 7 none at all, 8 four copies of one, 9 one that is wrong."""
    usual = samples(10, [40, 40, 12, 6, 2, 1, 5, 0, 4, 1], 0, offset=10)
    logits, labels = usual.logits.copy(), usual.labels
    # Everything is made right but for classes 6 and 9, which class 0 wins.
    logits[np.arange(len(labels)), labels] = logits.max(1) + 1
    wrong = np.isin(labels, (6, 9))
    logits[wrong, 0] = logits[wrong].max(1) + 1
    logits[labels == 8] = logits[labels == 8][0]
    train = scores_of(logits, labels)
    assert ((train.prediction == labels) == ~wrong).all()
    return train, fitted(train, fit=request.param), request.param


def test_classes_of_the_long_tail_are_counted(long_tail):
    _, detector, fit = long_tail
    assert detector.report() == {
        "fit": fit,
        "classes with their own fit": 6,  # 0–4 and 6
        "classes with the pooled fit": 3,  # 5, 8, 9
        "classes never revised": 1,  # 7
        "classes without training samples": 1,
        "classes without correct samples": 2,
    }


def test_means_and_fits_of_the_long_tail(long_tail):
    train, detector, _ = long_tail
    logits, labels = train.logits.astype(np.float64), train.labels
    rows = {c: labels == c for c in range(10)}
    for c in range(10):
        expected = logits[rows[c]].mean(0) if rows[c].any() else np.zeros(10)
        np.testing.assert_allclose(detector.means[detector.place[c]], expected, rtol=1e-12)
    pool = []
    for c in (2, 3, 4, 6):  # own fit, fewer than 20 distances
        n = rows[c].sum()
        pool += [one_distance(v, logits[rows[c]].mean(0), "eucos") * math.sqrt(n / (n - 1)) for v in logits[rows[c]]]
    model = libmr.MR()
    model.fit_high(np.array(pool), len(pool))
    scale, shape, _, _, lowest = model.get_params()
    for c in (5, 8, 9):
        assert detector.weibulls.scale[c] == pytest.approx(scale, rel=1e-5)
        assert detector.weibulls.shape[c] == pytest.approx(shape, rel=1e-5)
        assert detector.weibulls.lowest[c] == pytest.approx(lowest, rel=1e-5)
    assert len({detector.weibulls.shape[c] for c in (0, 1, 2, 3, 4, 5, 6)}) == 7


def test_a_class_without_samples_is_never_revised(long_tail):
    _, detector, _ = long_tail
    v = np.full((1, 10), 5.0)
    v[0, 7] = 100.0
    known, unknown = detector.revise(v)
    assert known[0, 7] == 100
    assert unknown[0] > 0  # from the others


def test_scores_on_the_long_tail_are_sound(long_tail):
    train, detector, _ = long_tail
    rng = np.random.default_rng(0)
    for logits in (train.logits, rng.normal(size=(50, 10)) * 100, np.zeros((3, 10)), np.full((2, 10), -7.0)):
        scored = detector.score(scores_of(logits.astype(np.float32), np.zeros(len(logits))))
        assert np.isfinite(scored.confidence).all()
        assert (np.abs(scored.confidence) <= 1).all()
        won = scored.confidence[scored.confidence >= 0]
        assert (won >= np.float32(1 / 11)).all()  # the winner of eleven
        assert (scored.confidence != 0).all()


@pytest.mark.parametrize("fit", ["libmr", "vectorised"])
@pytest.mark.parametrize("n", [1, 2])
def test_with_nothing_to_pool_it_is_the_softmax(fit, n):
    """Where no class has two distinct distances, nothing is ever revised; only the unknown's e^0 joins the sum."""
    train = samples(6, 1, 0, offset=10)
    logits = np.repeat(train.logits, n, axis=0)
    detector = fitted(scores_of(logits, np.repeat(train.labels, n)), fit=fit)
    assert detector.report()["classes never revised"] == 6
    scored = detector.score(train)
    e = np.exp(train.logits.astype(np.float64))
    np.testing.assert_allclose(scored.confidence, e.max(1) / (e.sum(1) + 1), rtol=1e-5)


def test_mirrored_pairs_tie_but_for_rounding():
    """Two samples lie equally far from their mean: rounding must not pass for two distinct distances."""
    rng = np.random.default_rng(0)
    middle = np.eye(5)[np.repeat(np.arange(5), 2)] * 20 + 3
    step = rng.normal(size=(5, 5)).repeat(2, axis=0) * np.tile([1, -1], 5)[:, None]
    detector = fitted(scores_of(middle + step, np.repeat(np.arange(5), 2)), distance="euclidean")
    assert detector.report()["classes with their own fit"] == 0


def test_a_thousand_classes_with_huge_logits():
    train = samples(300, 3, 0)
    grown = scores_of(train.logits * np.float32(1e6), train.labels)
    assert np.isfinite(fitted(grown).score(grown).confidence).all()


def test_classes_without_samples_take_no_memory():
    """A mean for each of 20,000 classes takes 3 GB; most have no training image in a small set."""
    rng = np.random.default_rng(0)
    train = scores_of(rng.normal(size=(40, 3000)).astype(np.float32), np.repeat(np.arange(10) * 250, 4))
    detector = fitted(train)
    assert detector.means.shape == (11, 3000)
    assert np.isfinite(detector.score(train).confidence).all()
