"""Groups among features: found where they are, and none where there are none."""

import numpy as np
import pytest

from oltr_cli.errors import UsageProblem
from oltr_cli.inference.groups import cluster as clustering
from oltr_cli.inference.groups.cluster import ALONE, cluster


def blobs(sizes, dim=40, spread=0.3, seed=0):
    rng = np.random.default_rng(seed)
    centres = 4 * rng.normal(size=(len(sizes), dim)) / np.sqrt(dim) + 1
    return np.concatenate(
        [centre + spread * rng.normal(size=(n, dim)) / np.sqrt(dim) for centre, n in zip(centres, sizes, strict=True)]
    ).astype(np.float32)


@pytest.mark.parametrize("dim", [8, 40, 200])
def test_groups_are_found_and_the_largest_is_first(dim):
    found = cluster(blobs((6, 20, 10), dim), 5)
    assert [set(found[part]) - {ALONE} for part in (slice(0, 6), slice(6, 26), slice(26, 36))] == [{2}, {0}, {1}]
    assert (found == ALONE).sum() <= 3


def test_the_length_of_a_feature_does_not_count():
    features = blobs((12, 12))
    scaled = features * np.geomspace(0.01, 100, len(features), dtype=np.float32)[:, None]
    np.testing.assert_array_equal(cluster(scaled, 5), cluster(features, 5))


def test_one_kind_of_image_is_one_group():
    assert (cluster(blobs((15,)), 5) == 0).all()


def test_copies_are_one_group():
    assert set(cluster(np.ones((8, 30), np.float32), 5)) == {0}


@pytest.mark.parametrize("images", [0, 1, 4])
def test_too_few_images_are_no_group(images):
    assert (cluster(np.ones((images, 16), np.float32), 5) == ALONE).all()


def test_features_of_length_0():
    found = cluster(np.concatenate([np.zeros((6, 40), np.float32), blobs((10,))]), 5)
    assert len(set(found) - {ALONE}) >= 1


def test_too_many_images_are_refused(monkeypatch):
    monkeypatch.setattr(clustering, "MOST", 9)
    with pytest.raises(UsageProblem, match="more than 9 images are rejected, which cannot be grouped"):
        cluster(blobs((10,)), 5)
