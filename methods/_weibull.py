"""Weibull fits to the tails of many classes at once, by libmr or by an equivalent vectorised maximum-likelihood fit.

A tail t_1 … t_n is moved to y = t + 1 − min(t) as in libmr 0.1.9, and the two-parameter Weibull distribution with the
largest likelihood is found: its shape k solves Σ y^k ln y / Σ y^k − 1/k − mean(ln y) = 0, its scale is mean(y^k)^(1/k).
Both agree to 1e-5 relative, which is the precision of libmr's iteration.

Source: Scheirer et al., "Meta-Recognition: The Theory and Practice of Recognition Score Analysis", PAMI 2011.
Deviation: a tail without two distinct values has no maximum-likelihood distribution. libmr then scores −9999; here it
counts as not fitted, and its score is 0 everywhere.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from oltr_cli.errors import UsageProblem

Floats = NDArray[np.float64]
Fit = Literal["auto", "libmr", "vectorised"]

_SAME = 1e-9  # values closer than this, absolutely or relatively, differ only by rounding
_TRANSLATE = 1.0


@dataclass(frozen=True)
class Weibulls:
    """One distribution for each of C tails, all (C,); a tail that was not fitted has scale ∞ and thus score 0."""

    shape: Floats
    scale: Floats
    lowest: Floats

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Which tails have a distribution (C,)."""
        return np.isfinite(self.scale)

    def score(self, which: NDArray[np.integer], x: Floats) -> Floats:
        """w = 1 − exp(−(y / scale)^shape), y = x + 1 − lowest, in 0 … 1; 0 if y ≤ 0.

        Args:
            which: the tail that each value belongs to, of the shape of ``x``.
            x: values on the tails' scale, any shape.
        """
        y = (x - self.lowest[which]) + _TRANSLATE
        with np.errstate(divide="ignore", over="ignore"):
            power = self.shape[which] * (np.log(np.maximum(y, 0)) - np.log(self.scale[which]))
            return -np.expm1(-np.exp(power))


def fit_tails(tails: Floats, fit: Fit = "auto") -> tuple[Weibulls, str]:
    """Fit every row of ``tails`` (C, T), finite numbers with NaN as padding; returns the fits and which way was used.

    Args:
        fit: ``auto`` uses libmr if it can be imported. A row on which libmr fails is fitted by the vectorised way.

    Raises:
        UsageProblem: ``libmr`` is requested and not installed, or is a copy that translates by an amount other than 1.
    """
    count = np.isfinite(tails).sum(axis=1)
    padded = np.where(np.isfinite(tails), tails, np.inf)
    lowest = np.where(count > 0, padded.min(axis=1, initial=np.inf), 0.0)
    highest = np.where(count > 0, np.nanmax(tails, axis=1, initial=-np.inf), 0.0)
    fitted = highest - lowest > _SAME * np.maximum(1.0, np.abs(highest))
    shape, scale = np.ones(len(tails)), np.full(len(tails), np.inf)
    if fitted.any():
        shape[fitted], scale[fitted] = _likeliest(tails[fitted] - lowest[fitted, None])
    use_libmr = fit != "vectorised" and _libmr_is_there(required=fit == "libmr")
    if use_libmr:
        for row in np.flatnonzero(fitted):
            parameters = _libmr(tails[row][np.isfinite(tails[row])])
            if parameters is not None:
                scale[row], shape[row] = parameters
    return Weibulls(shape, scale, lowest), "libmr" if use_libmr else "vectorised"


def _likeliest(above: Floats, iterations: int = 100) -> tuple[Floats, Floats]:
    """Shape and scale (C,) of tails given as y − 1 ≥ 0 (C, T), NaN = padding, each with two distinct values.

    The left side of the equation for k rises with k: Newton's method inside a bracket that each step tightens, on
    ln y in units of its standard deviation, for which the start k = π/√6 is close for every tail.
    """
    there = np.isfinite(above)
    log_y = np.log1p(np.where(there, above, 0.0))
    count = there.sum(axis=1)
    mean = log_y.sum(axis=1) / count
    deviation = np.sqrt(((log_y - mean[:, None]) ** 2 * there).sum(axis=1) / count)
    highest = log_y.max(axis=1)
    z = (log_y - highest[:, None]) / deviation[:, None]  # ≤ 0, so that no power overflows
    mean_z = (mean - highest) / deviation
    k = np.full(len(above), np.pi / np.sqrt(6))
    low, high = np.zeros_like(k), np.full_like(k, np.inf)
    for _ in range(iterations):
        weight = np.exp(k[:, None] * z) * there
        weight /= weight.sum(axis=1, keepdims=True)
        first = (weight * z).sum(axis=1)
        slope = (weight * (z - first[:, None]) ** 2).sum(axis=1) + 1 / k**2
        value = first - 1 / k - mean_z
        low, high = np.where(value < 0, k, low), np.where(value < 0, high, k)
        newton = k - value / slope
        middle = np.where(np.isfinite(high), (low + high) / 2, 2 * k)
        following = np.where((newton > low) & (newton < high), newton, middle)
        done = np.abs(following - k) <= 1e-13 * k
        k = following
        if done.all():
            break
    log_scale = highest + np.log((np.exp(k[:, None] * z) * there).sum(axis=1) / count) / k * deviation
    return k / deviation, np.exp(log_scale)


def _libmr_is_there(required: bool) -> bool:
    try:
        import libmr  # noqa: F401
    except (ImportError, ValueError) as error:  # ValueError: built against another numpy
        if required:
            raise UsageProblem(
                f"detector.fit=libmr needs libmr, which cannot be imported ({error}): with numpy, cython and "
                "setuptools installed, `pip install --no-build-isolation libmr==0.1.9`; or use detector.fit=vectorised"
            ) from error
        return False
    return True


def _libmr(tail: Floats) -> tuple[float, float] | None:
    """Scale and shape by libmr of a tail (T,), or None if it finds no valid ones (values beyond 1e15)."""
    import libmr

    meta_recognition = libmr.MR()
    meta_recognition.fit_high(np.ascontiguousarray(tail), len(tail))
    scale, shape, _, translate, _ = meta_recognition.get_params()
    if translate != _TRANSLATE:
        raise UsageProblem(
            f"this copy of libmr moves tails by {translate}, PyPI's libmr 0.1.9 by 1, and their scores differ: install "
            "that one, or use detector.fit=vectorised"
        )
    if not meta_recognition.is_valid or not (0 < scale < np.inf and 0 < shape < np.inf):
        return None
    return float(scale), float(shape)
