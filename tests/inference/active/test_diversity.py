"""What is taken of an ordered list: near-duplicates once, and the groups of what looks alike in turn."""

import numpy as np
import pytest

from oltr_cli.inference.active.diversity import BLOCK, CANDIDATES, MOST_GROUPS, SAME, distinct, spread


def places(count, size, seed=0):
    """``count`` far places in ``size`` dimensions, all at the same distance from each other, far from the origin."""
    return np.eye(max(count, size), size, dtype=np.float32)[:count] * 10 + np.float32(seed)


def around(place, count, deviation, rng):
    return (place + deviation * rng.standard_normal((count, len(place)))).astype(np.float32)


def naive(features, radius, most):
    """The rule of ``distinct`` row by row, in float64."""
    x, kept = features.astype(np.float64), []
    for row in range(len(x)):
        if len(kept) < most and all(np.linalg.norm(x[row] - x[other]) > radius for other in kept):
            kept.append(row)
    return kept


@pytest.mark.parametrize("most", [1, 7, 40, 10_000])
def test_near_duplicates_are_left_out_row_by_row(most, monkeypatch):
    """Over several blocks of rows; chains of near ones, of which the middle is left out, keep both ends."""
    monkeypatch.setattr("oltr_cli.inference.active.diversity.BLOCK", 16)
    rng = np.random.default_rng(3)
    spots = rng.standard_normal((12, 8)) * 3 + 50
    features = (spots[rng.integers(0, 12, 120)] + 0.5 * rng.standard_normal((120, 8))).astype(np.float32)
    kept = distinct(features, 1.3, most).tolist()
    assert kept == naive(features, 1.3, most)
    assert most < 120 or 12 < len(kept) < 120
    chain = np.array([[0.0], [0.8], [1.6]], np.float32)
    assert distinct(chain, 1.0, 3).tolist() == [0, 2]


def test_two_hundred_pictures_of_one_scene_do_not_fill_the_choice():
    """They are the least known ones."""
    rng = np.random.default_rng(0)
    scene = around(places(1, 64)[0] * 3, 200, 0.02, rng)
    others = rng.standard_normal((300, 64)).astype(np.float32)
    found = spread(np.concatenate([scene, others]), 50)
    assert len(found.rows) == 50
    assert (found.rows < 200).sum() == 1
    assert found.similar == 199


def test_a_folder_of_one_scene_is_recognised_by_the_distances_of_validation_images():
    """Of 230 images, 200 of one scene: the median distance in the folder is one between near-duplicates."""
    rng = np.random.default_rng(0)
    scene = around(places(1, 64)[0] * 3, 200, 0.02, rng)
    others = rng.standard_normal((30, 64)).astype(np.float32)
    known = rng.standard_normal((100, 64)).astype(np.float32)
    features = np.concatenate([scene, others])
    found = spread(features, 50, known)
    assert found.rows.tolist() == [0, *range(200, 230)]
    assert len(spread(features, 50).rows) == 50  # nothing says what is far


def test_images_of_one_kind_do_not_fill_the_choice():
    """150 views of one kind, none like another, are the least known; 150 images of 15 other kinds come after."""
    rng = np.random.default_rng(1)
    kinds = places(16, 32)
    one = around(kinds[0], 150, 0.6, rng)
    others = np.concatenate([around(kind, 10, 0.6, rng) for kind in kinds[1:]])
    found = spread(np.concatenate([one, others]), 100)
    of_one = (found.rows < 150).sum()
    assert len(found.rows) == 100
    assert found.similar == 0
    assert of_one < 75, "in order it would be all 100"
    kinds_found = {(row - 150) // 10 for row in found.rows.tolist() if row >= 150}
    assert len(kinds_found) == 15
    assert found.crowded > 0
    assert len(np.unique(found.groups)) > 15


def test_groups_take_turns_and_each_gives_its_least_known_first():
    """Two groups of different sizes; the larger one comes first in the list."""
    rng = np.random.default_rng(2)
    spots = places(2, 8)
    features = np.concatenate([around(spots[0], 8, 0.5, rng), around(spots[1], 2, 0.5, rng)])
    found = spread(features, 4)
    assert found.rows.tolist() == [0, 1, 8, 9]
    assert found.groups.tolist() == [0, 0, 1, 1]
    assert (found.similar, found.crowded) == (0, 6)


def test_what_comes_after_the_last_taken_row_was_not_passed_over():
    features = places(9, 9)
    found = spread(features, 3)
    assert found.similar + found.crowded == found.rows[-1] + 1 - 3


@pytest.mark.parametrize("count", [1, 5, 2 * BLOCK + 1])
@pytest.mark.parametrize("value", [7, 0.1])
def test_equal_rows_are_one(count, value):
    found = spread(np.full((count, 3), value, np.float32), 4)
    assert (found.rows.tolist(), found.groups.tolist(), found.similar) == ([0], [0], count - 1)


def test_no_row_is_taken_of_none():
    found = spread(np.empty((0, 0), np.float32), 4)
    assert (len(found.rows), len(found.groups), found.similar, found.crowded) == (0, 0, 0, 0)


@pytest.mark.parametrize("budget", [1, 2, 7, 30, 400, 5000])
def test_the_budget_is_filled_with_different_rows_in_order(budget):
    rng = np.random.default_rng(budget)
    features = rng.standard_normal((1500, 24)).astype(np.float32)
    found = spread(features, budget)
    assert len(found.rows) == len(found.groups) == min(budget, 1500)
    assert (np.diff(found.rows) > 0).all()
    assert found.rows[-1] < max(CANDIDATES * budget, 1500 if budget > 500 else 0)
    assert len(np.unique(found.groups)) <= min(MOST_GROUPS, budget)
    assert found.groups[0] == 0


def test_features_that_point_one_way_are_one_group_without_a_warning(recwarn):
    features = np.outer(np.arange(1, 31), np.ones(4)).astype(np.float32)
    found = spread(features, 10)
    assert len(found.rows) == 10
    assert not recwarn.list


def test_the_radius_is_a_tenth_of_the_median_distance():
    features = np.array([[0], [0.9], [10], [20], [11.1], [30]], np.float32)  # the median distance is about 11
    assert SAME == 0.1
    assert spread(features, 6).rows.tolist() == [0, 2, 3, 4, 5]
