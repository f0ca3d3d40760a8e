"""How far AUROCs of several confidences for the same samples may differ by chance: a paired bootstrap.

The samples are drawn with replacement, within each group of known samples and within the negative ones, so that no
group is ever empty. All confidences are judged on the same draws: what two of them have in common cancels out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_AT_A_TIME = 2**22  # numbers of draws × samples in memory


@dataclass(frozen=True)
class Ranked:
    """One confidence for N_p positive and N_n negative samples: their order (N,) and where a new value begins in it."""

    order: NDArray[np.integer]
    first: NDArray[np.integer]

    @classmethod
    def of(cls, positive: NDArray[np.floating], negative: NDArray[np.floating]) -> "Ranked":
        """From confidences (N_p,) and (N_n,); equal ones are ties."""
        confidence = np.concatenate([positive, negative])
        order = np.argsort(confidence, kind="stable")
        ordered = confidence[order]
        return cls(order, np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]))


def group_aurocs(
    confidences: Sequence[tuple[NDArray[np.floating], NDArray[np.floating]]],
    groups: NDArray[np.integer],
    draws: int,
    seed: int,
) -> tuple[Floats, Floats]:
    """AUROC of the positive samples of each group against all negative ones: as observed, and in each draw.

    Args:
        confidences: of C detectors, for the positive (N_p,) and the negative samples (N_n,); both at least 1.
        groups: of the positive samples (N_p,), 0 … G−1, each with at least one.

    Returns:
        (C, G) and (draws, C, G); a tie counts half.
    """
    ranked = [Ranked.of(*pair) for pair in confidences]
    positives, negatives = len(groups), len(confidences[0][1])
    strata = np.concatenate([groups, np.full(negatives, groups.max() + 1)])
    once = np.ones((1, positives + negatives))
    observed = np.stack([_weighted(one, once, groups)[0] for one in ranked])
    rng = np.random.default_rng(seed)
    drawn = np.empty((draws, *observed.shape))
    step = max(1, _AT_A_TIME // len(strata))
    for start in range(0, draws, step):
        rows = slice(start, min(start + step, draws))
        weights = _drawn(strata, rows.stop - rows.start, rng)
        drawn[rows] = np.stack([_weighted(one, weights, groups) for one in ranked], axis=1)
    return observed, drawn


def _drawn(strata: NDArray[np.integer], draws: int, rng: np.random.Generator) -> Floats:
    """How often each sample (N,) is in each draw (draws, N): as many per stratum as it has."""
    counts = np.zeros((draws, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        size = len(members)
        cells = rng.integers(size, size=(draws, size)) + size * np.arange(draws)[:, None]
        counts[:, members] = np.bincount(cells.ravel(), minlength=draws * size).reshape(draws, size)
    return counts


def _weighted(ranked: Ranked, weights: Floats, groups: NDArray[np.integer]) -> Floats:
    """AUROC (B, G) where sample i counts weights[b, i] times."""
    positives = len(groups)
    ordered = weights[:, ranked.order]
    is_negative = ranked.order >= positives
    group_of = np.concatenate([groups, np.zeros(len(ranked.order) - positives, groups.dtype)])[ranked.order]
    negative = np.add.reduceat(ordered * is_negative, ranked.first, axis=1)
    below = np.cumsum(negative, axis=1) - 0.5 * negative  # negative samples of lower confidence, and half of equal ones
    result = np.empty((len(weights), int(groups.max()) + 1))
    for group in range(result.shape[1]):
        mine = np.add.reduceat(ordered * (~is_negative & (group_of == group)), ranked.first, axis=1)
        result[:, group] = (mine * below).sum(axis=1) / (mine.sum(axis=1) * negative.sum(axis=1))
    return result
