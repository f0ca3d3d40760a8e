"""How many training images each class gets: a Pareto tail of ImageNet-LT's shape, and which class gets which count."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.seeding import generator
from oltr_cli.base.text import counted
from oltr_cli.errors import UsageProblem, several


def pareto_counts(
    num_classes: int, *, floor: int = 5, alpha: float = 6.0, scale: float = 550.0, maximum: int = 1280
) -> NDArray[np.int64]:
    """Training counts n (K,) of a long-tailed set, largest first; no randomness.

    n_i = min(maximum, floor + scale · (u_i^(−1/α) − 1)) at the quantiles u_i = (i − ½)/K, rounded to whole images: the
    quantiles of floor + Lomax(α, scale). The defaults with K = 1000 give the shape of ImageNet-LT (Liu et al. 2019,
    section 3: Pareto with α = 6, 5 to 1280 images per class). A smaller ``alpha`` makes a heavier tail.

    Raises:
        UsageProblem: a value out of range.
    """
    problems = [
        f"{name} must be {wanted}, not {value}"
        for name, value, wanted, fits in (
            ("num_classes", num_classes, "at least 1", num_classes >= 1),
            ("floor", floor, "at least 1", floor >= 1),
            ("alpha", alpha, "finite and above 0", 0 < alpha < float("inf")),
            ("scale", scale, "finite and not negative", 0 <= scale < float("inf")),
            ("maximum", maximum, f"at least floor = {floor}", maximum >= floor),
        )
        if not fits  # also false for NaN
    ]
    if problems:
        raise UsageProblem(several("long tail", problems))
    u = (np.arange(num_classes) + 0.5) / num_classes
    with np.errstate(over="ignore"):  # a very small alpha: the power is infinite, the maximum holds
        excess = scale * np.expm1(-np.log(u) / alpha) if scale else np.zeros(num_classes)
    return np.rint(np.minimum(maximum, floor + excess)).astype(np.int64)


def assign_counts(counts: NDArray[np.int64], groups: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Deal ``counts`` (K,) out to K classes so that every group is spread evenly from head to tail.

    A plain permutation may put most of one alphabet into the tail, and "few-shot" would then mean that alphabet. Here
    the members of a group of size m, shuffled, take the places (j + r)/m, r in [0, 1), of the ranking.

    Args:
        counts: one number per class, in any order.
        groups: what each class belongs to, such as its script.
        seed: of the shuffling.
    Returns:
        The count of each class (K,); a permutation of ``counts``.
    Raises:
        UsageProblem: there are not as many groups as counts.
    """
    if len(groups) != len(counts):
        raise UsageProblem(f"long tail: {counted(len(counts), 'count')} for {counted(len(groups), 'class')}")
    member_of = np.asarray(groups)
    place = np.empty(len(counts))
    for group in np.unique(member_of):
        rng = generator(seed, "long tail", str(group))
        members = np.flatnonzero(member_of == group)
        place[rng.permutation(members)] = (np.arange(len(members)) + rng.random(len(members))) / len(members)
    dealt = np.empty(len(counts), dtype=np.int64)
    dealt[np.argsort(place, kind="stable")] = np.sort(counts)[::-1]
    return dealt
