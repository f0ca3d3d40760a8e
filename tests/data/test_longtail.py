"""Long-tail counts against a loop over the formula and against the published shape of ImageNet-LT."""

import numpy as np
import pytest

from oltr_cli.data.longtail import assign_counts, pareto_counts
from oltr_cli.errors import UsageProblem


@pytest.mark.parametrize(
    ("num_classes", "floor", "alpha", "scale", "maximum"),
    [
        (1000, 5, 6.0, 550.0, 1280),
        (365, 4, 1.34, 90.0, 4980),
        (80, 5, 6.0, 550.0, 250),
        (1, 3, 2.0, 10.0, 50),
        (7, 1, 1.0, 0.0, 9),
    ],
)
def test_counts_follow_the_formula(num_classes, floor, alpha, scale, maximum):
    expected = []
    for i in range(1, num_classes + 1):
        u = (i - 0.5) / num_classes
        expected.append(round(min(maximum, floor + scale * (u ** (-1 / alpha) - 1))))
    counts = pareto_counts(num_classes, floor=floor, alpha=alpha, scale=scale, maximum=maximum)
    assert counts.dtype == np.int64
    assert counts.tolist() == expected
    assert counts.tolist() == sorted(expected, reverse=True)


def test_defaults_have_the_shape_of_imagenet_lt():
    counts = pareto_counts(1000)
    assert counts.sum() == pytest.approx(115_846, rel=0.03)
    assert (counts.min(), counts.max()) == (5, 1280)
    assert np.sum(counts > 100) == pytest.approx(385, abs=15)
    assert np.sum((counts >= 20) & (counts <= 100)) == pytest.approx(479, abs=15)
    assert np.sum(counts < 20) == pytest.approx(136, abs=15)


def test_a_smaller_alpha_is_a_heavier_tail():
    heads = [pareto_counts(365, alpha=alpha, maximum=10_000)[0] for alpha in (1.34, 2.0, 6.0)]
    assert heads == sorted(heads, reverse=True)
    assert heads[0] > 5 * heads[2]


def test_a_tiny_alpha_reaches_the_maximum_without_overflow():
    with np.errstate(all="raise"):
        counts = pareto_counts(10, alpha=1e-3, maximum=70)
    assert counts[0] == 70
    assert counts.min() >= 5


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"num_classes": 0}, "num_classes"),
        ({"floor": 0}, "floor"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"scale": -1.0}, "scale"),
        ({"scale": float("inf")}, "scale"),
        ({"maximum": 4}, "maximum"),
    ],
)
def test_impossible_values_are_named(values, word):
    with pytest.raises(UsageProblem, match=word):
        pareto_counts(**{"num_classes": 10, **values})


def test_several_impossible_values_are_named_at_once():
    with pytest.raises(UsageProblem, match=r"(?s)floor.*alpha"):
        pareto_counts(10, floor=0, alpha=-1.0)


GROUPS = ["a"] * 38 + ["b"] * 17 + ["c"] * 18 + ["d"] * 7


@pytest.mark.parametrize("seed", range(20))
def test_every_group_has_its_share_of_head_and_tail(seed):
    counts = pareto_counts(80)
    dealt = assign_counts(counts, GROUPS, seed)
    assert sorted(dealt) == sorted(counts)
    rank = np.argsort(np.argsort(-dealt, kind="stable"))
    for group in "abcd":
        of_group = np.sort(rank[[g == group for g in GROUPS]])
        size = len(of_group)
        for third in range(3):
            inside = np.sum((of_group >= third * 80 / 3) & (of_group < (third + 1) * 80 / 3))
            assert abs(inside - size / 3) <= 2


def test_the_deal_depends_on_the_seed_alone():
    counts = pareto_counts(80)
    first = assign_counts(counts, GROUPS, 0)
    assert np.array_equal(first, assign_counts(counts[::-1], GROUPS, 0))
    assert not np.array_equal(first, assign_counts(counts, GROUPS, 1))


def test_a_group_for_each_count():
    with pytest.raises(UsageProblem, match="3 counts for 2 classes"):
        assign_counts(np.array([3, 2, 1]), ["a", "b"], 0)
