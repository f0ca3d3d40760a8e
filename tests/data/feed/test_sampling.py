"""Samplers against what they promise, counted image by image."""

import numpy as np
import pytest

from oltr_cli.data.feed.sampling import ClassAware, Weighted, instance_balanced, steps_per_epoch


def long_tailed_labels(counts, seed=0):
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(seed).permutation(labels)


def draw(labels, epochs, batch_size=16, images_per_class=4, seed=0):
    sampler = ClassAware(labels, batch_size, images_per_class, seed)
    return np.concatenate([sampler.epoch(e) for e in range(epochs)])


def test_instance_balanced_visits_every_image_at_most_once_an_epoch():
    batches = instance_balanced(103, 10, seed=3, epoch=0)
    assert batches.shape == (10, 10)
    assert len(np.unique(batches)) == 100
    assert not np.array_equal(batches, instance_balanced(103, 10, seed=3, epoch=1))
    assert np.array_equal(batches, instance_balanced(103, 10, seed=3, epoch=0))


def test_fewer_images_than_a_batch_make_one_small_batch():
    assert instance_balanced(7, 128, seed=0, epoch=2).shape == (1, 7)
    assert steps_per_epoch(7, 128) == 1


def test_an_epoch_is_as_long_as_the_number_of_images_says():
    labels = long_tailed_labels([100, 20, 5, 1])
    assert draw(labels, 1).shape == (126 // 16, 16)


def test_slots_hold_images_of_one_class():
    labels = long_tailed_labels([40, 13, 7, 2, 1, 30])
    batches = draw(labels, 5)
    slots = labels[batches].reshape(-1, 4)
    assert (slots == slots[:, :1]).all()


@pytest.mark.parametrize("epochs", [1, 3, 10])
def test_every_class_equally_often_and_only_then_again(epochs):
    counts = [90, 40, 11, 5, 4, 3, 1]
    labels = long_tailed_labels(counts)
    classes = labels[draw(labels, epochs)].reshape(-1, 4)[:, 0]
    whole = len(classes) // len(counts)
    for r in range(whole):  # each round holds every class once, also across the border of two epochs
        assert sorted(classes[r * len(counts) : (r + 1) * len(counts)]) == list(range(len(counts)))
    assert np.ptp(np.bincount(classes, minlength=len(counts))) <= 1


def test_images_of_a_class_are_used_up_before_any_comes_again():
    counts = [90, 40, 11, 5, 4, 3, 1]
    labels = long_tailed_labels(counts)
    stream = draw(labels, 12).ravel()
    for k, n in enumerate(counts):
        own = stream[labels[stream] == k]
        for start in range(0, len(own) - n + 1, n):
            assert len(set(own[start : start + n])) == n, f"class {k}"


def test_the_order_of_a_class_changes_when_it_is_used_up():
    labels = long_tailed_labels([12, 12])
    stream = draw(labels, 40, batch_size=8).ravel()
    own = stream[labels[stream] == 0]
    passes = own[: len(own) // 12 * 12].reshape(-1, 12)
    assert len({tuple(p) for p in passes}) == len(passes)


def test_an_epoch_does_not_depend_on_those_before_it():
    labels = long_tailed_labels([50, 9, 3])
    sampler = ClassAware(labels, 8, 4, seed=5)
    fourth = sampler.epoch(3)
    for e in range(3):
        sampler.epoch(e)
    assert np.array_equal(sampler.epoch(3), fourth)
    assert not np.array_equal(ClassAware(labels, 8, 4, seed=6).epoch(3), fourth)


def test_places_in_a_shuffle_are_uniform():
    """Each of 6 images comes first in its pass about equally often over 3,000 passes (χ² with 5 degrees of freedom)."""
    labels = np.zeros(6, dtype=np.int64)
    sampler = ClassAware(labels, 6, 6, seed=1)
    first = np.concatenate([sampler.epoch(e)[:, 0] for e in range(3000)])
    expected = len(first) / 6
    chi2 = ((np.bincount(first, minlength=6) - expected) ** 2 / expected).sum()
    assert chi2 < 20.5  # p = 0.001


def test_imagenet_lt_size_is_no_burden():
    counts = np.minimum(1280, 5 + 550 * ((np.arange(1, 1001) - 0.5) / 1000) ** (-1 / 6) - 550).astype(int)
    labels = np.repeat(np.arange(1000), counts)
    batches = ClassAware(labels, 128, 4, seed=0).epoch(59)
    assert batches.shape == (len(labels) // 128, 128)
    assert np.ptp(np.bincount(labels[batches].ravel(), minlength=1000)) <= 8  # a round may begin and end inside


WEIGHTED = ("sqrt", "progressive")


def frequencies(labels, kind, epoch, seeds=40):
    """How often each class is drawn in ``epoch``, over many seeds."""
    drawn = [labels[Weighted(labels, 16, kind, 10, seed).epoch(epoch)].ravel() for seed in range(seeds)]
    return np.bincount(np.concatenate(drawn), minlength=labels.max() + 1), 16 * (len(labels) // 16) * seeds


@pytest.mark.parametrize(
    ("kind", "epoch", "wanted"),
    [
        ("sqrt", 0, np.array([10, 5, 3, 2]) / 20),
        ("sqrt", 7, np.array([10, 5, 3, 2]) / 20),
        ("progressive", 0, np.array([100, 25, 9, 4]) / 138),
        ("progressive", 4, 0.6 * np.array([100, 25, 9, 4]) / 138 + 0.4 / 4),
        ("progressive", 9, 0.1 * np.array([100, 25, 9, 4]) / 138 + 0.9 / 4),
    ],
)
def test_classes_come_with_the_probabilities_of_the_papers(kind, epoch, wanted):
    """χ² with 3 degrees of freedom, and what is drawn from."""
    labels = long_tailed_labels([100, 25, 9, 4])
    np.testing.assert_allclose(Weighted(labels, 16, kind, 10, 0).probabilities(epoch), wanted)
    found, drawn = frequencies(labels, kind, epoch)
    assert ((found - drawn * wanted) ** 2 / (drawn * wanted)).sum() < 16.3  # p = 0.001


@pytest.mark.parametrize("kind", WEIGHTED)
def test_weighted_batches_are_full_and_use_a_class_up_before_an_image_comes_again(kind):
    counts = [90, 40, 11, 5, 4, 3, 1]
    labels = long_tailed_labels(counts)
    batches = Weighted(labels, 16, kind, 3, seed=2).epoch(2)
    assert batches.shape == (154 // 16, 16)
    stream = batches.ravel()
    for k, n in enumerate(counts):
        own = stream[labels[stream] == k]
        for start in range(0, len(own), n):
            part = own[start : start + n]
            assert len(set(part)) == len(part), f"class {k}"
    assert Weighted(labels[:7], 128, kind, 3, seed=2).epoch(0).shape == (1, 128)


@pytest.mark.parametrize("kind", WEIGHTED)
def test_a_weighted_epoch_follows_from_its_number_and_seed_alone(kind):
    labels = long_tailed_labels([50, 9, 3])
    sampler = Weighted(labels, 8, kind, 6, seed=5)
    fourth = sampler.epoch(3)
    assert not np.array_equal(sampler.epoch(2), fourth)
    assert np.array_equal(Weighted(labels, 8, kind, 6, seed=5).epoch(3), fourth)
    assert not np.array_equal(Weighted(labels, 8, kind, 6, seed=6).epoch(3), fourth)
