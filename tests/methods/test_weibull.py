"""Weibull fits of tails: vectorised against libmr and against a root found one tail at a time; ties and extremes."""

import builtins

import numpy as np
import pytest
from scipy.optimize import brentq

from oltr_cli.errors import UsageProblem
from oltr_cli.methods._weibull import fit_tails

libmr = pytest.importorskip("libmr")


def padded(*tails):
    out = np.full((len(tails), max(map(len, tails))), np.nan)
    for row, tail in zip(out, tails, strict=True):
        row[: len(tail)] = tail
    return out


def random_tails(rng, rows=300):
    """Tails of 2 … 30 values of many shapes and scales, some with ties."""
    tails = []
    for row in range(rows):
        values = rng.gamma(rng.uniform(0.3, 5), size=rng.integers(2, 31)) * 10 ** rng.uniform(-4, 3)
        if row % 3 == 0:
            values = np.round(values / values.max() * 4)
            values[0], values[-1] = 0, 4
        tails.append(values)
    return padded(*tails)


def naive_fit(tail):
    """Scale and shape of one tail by bracketing the likelihood equation."""
    y = tail - tail.min() + 1
    z = np.log(y) - np.log(y).max()

    def equation(k):
        return np.exp(k * z) @ z / np.exp(k * z).sum() - 1 / k - z.mean()

    k = brentq(equation, 1e-6, 1e9, xtol=1e-300, rtol=1e-14)
    return y.max() * np.mean(np.exp(k * z)) ** (1 / k), k


def test_vectorised_solves_the_likelihood_equation():
    tails = random_tails(np.random.default_rng(0))
    fits, way = fit_tails(tails, "vectorised")
    assert way == "vectorised"
    assert fits.fitted.all()
    for row, tail in enumerate(tails):
        scale, shape = naive_fit(tail[np.isfinite(tail)])
        assert fits.scale[row] == pytest.approx(scale, rel=1e-9)
        assert fits.shape[row] == pytest.approx(shape, rel=1e-9)


def test_vectorised_agrees_with_libmr():
    tails = random_tails(np.random.default_rng(1))
    ours, _ = fit_tails(tails, "vectorised")
    theirs, way = fit_tails(tails, "libmr")
    assert way == "libmr"
    np.testing.assert_allclose(ours.scale, theirs.scale, rtol=1e-5)
    np.testing.assert_allclose(ours.shape, theirs.shape, rtol=1e-5)
    assert (ours.shape != theirs.shape).any()  # two fits, not one under two names


def test_scores_are_those_of_libmr():
    rng = np.random.default_rng(2)
    tails = random_tails(rng, 60)
    x = np.nanmax(tails, axis=1, keepdims=True) * rng.uniform(0, 1.5, (60, 12))
    which = np.broadcast_to(np.arange(60)[:, None], x.shape)
    expected = np.empty_like(x)
    for row, tail in enumerate(tails):
        model = libmr.MR()
        tail = tail[np.isfinite(tail)]
        model.fit_high(tail, len(tail))
        expected[row] = [model.w_score(value) for value in x[row]]
    for way in ("libmr", "vectorised"):
        fits, _ = fit_tails(tails, way)
        np.testing.assert_allclose(fits.score(which, x), expected, rtol=1e-5, atol=1e-6)
    assert ((expected > 0.01) & (expected < 0.99)).mean() > 0.2


def test_score_far_below_and_far_above():
    fits, _ = fit_tails(padded([5.0, 6.0, 7.0]), "vectorised")
    which = np.zeros(5, np.int64)
    scores = fits.score(which, np.array([-1e300, 3.9, 4.0, 1e9, 1e300]))
    assert scores[:3].tolist() == [0, 0, 0]
    assert scores[3:].tolist() == [1, 1]


@pytest.mark.parametrize("fit", ["libmr", "vectorised"])
def test_tails_without_two_distinct_values_are_not_fitted(fit):
    rounding = 0.1 + 0.2
    tails = padded([], [0.4], [0.3, 0.3], [0.3, rounding], [0.0] * 20, [3e8, np.nextafter(3e8, 4e8)], [0.3, 0.3001])
    fits, _ = fit_tails(tails, fit)
    assert fits.fitted.tolist() == [False] * 6 + [True]
    assert np.isfinite(fits.lowest).all()
    scores = fits.score(np.arange(7), np.full(7, 1e6))
    assert scores.tolist() == [0] * 6 + [1]


@pytest.mark.parametrize("fit", ["libmr", "vectorised"])
def test_huge_and_lopsided_tails_stay_finite(fit):
    """libmr finds nothing for the first two, whose 1 is lost beside them."""
    tails = padded([1e30, 2e30, 1e31], [1e300, 2e300], [0.0] * 19 + [50.0], [0.0] + [50.0] * 19, [1, 1 + 1e-7])
    fits, _ = fit_tails(tails, fit)
    assert fits.fitted.all()
    assert np.isfinite(fits.shape).all()
    assert (fits.shape > 0).all()
    middle = np.nanmean(tails, axis=1)
    scores = fits.score(np.arange(len(tails)), middle)
    assert ((scores > 0) & (scores < 1)).all()


def test_no_tails_at_all():
    fits, _ = fit_tails(np.empty((0, 20)))
    assert fits.fitted.shape == (0,)
    empty, _ = fit_tails(np.full((3, 20), np.nan))
    assert not empty.fitted.any()


def test_a_row_does_not_depend_on_the_others():
    tails = random_tails(np.random.default_rng(3), 40)
    together, _ = fit_tails(tails, "vectorised")
    for row in range(40):
        alone, _ = fit_tails(tails[row : row + 1], "vectorised")
        assert alone.shape[0] == pytest.approx(together.shape[row], rel=1e-10)


def test_without_libmr(monkeypatch):
    """auto goes on with the vectorised fit; asking for libmr by name says how to install it."""
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "libmr":
            raise ImportError("No module named 'libmr'")
        return real(name, *args, **kwargs)

    tails = padded([1.0, 2.0, 4.0])
    assert fit_tails(tails)[1] == "libmr"
    monkeypatch.setattr(builtins, "__import__", refuse)
    assert fit_tails(tails)[1] == "vectorised"
    with pytest.raises(UsageProblem, match="--no-build-isolation libmr"):
        fit_tails(tails, "libmr")


def test_another_copy_of_libmr_is_refused(monkeypatch):
    class Other(libmr.MR):
        def get_params(self):
            scale, shape, sign, _, lowest = super().get_params()
            return scale, shape, sign, 10000, lowest

    monkeypatch.setattr(libmr, "MR", Other)
    with pytest.raises(UsageProblem, match="10000"):
        fit_tails(padded([1.0, 2.0, 4.0]))
