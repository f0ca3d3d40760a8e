"""Batches with outliers: what is added, in which order, and that all else in them stays as it was."""

from dataclasses import dataclass

import numpy as np
import pytest

from oltr_cli.data.feed.loading import EpochBatches, rank_share
from oltr_cli.data.feed.sampling import outlier_batches, spread
from oltr_cli.recipe.train import TrainSpec

KNOWN, OUTLIERS = 40, 13


@dataclass
class Labels:
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)


def batches(train, outliers, epoch=0, first_step=0, rank=0, world=1, seed=4):
    labels = np.r_[np.arange(KNOWN) % 5, np.full(outliers, -1)]
    sampler = EpochBatches(Labels(labels), train, seed, rank, world)
    sampler.epoch, sampler.first_step = epoch, first_step
    return [indices.tolist() for _, indices in sampler.steps()]


SAMPLERS = [
    TrainSpec(batch_size=8),
    TrainSpec(batch_size=8, sampler="class_aware", images_per_class=2),
    TrainSpec(batch_size=8, sampler="sqrt"),
]


@pytest.mark.parametrize("train", SAMPLERS, ids=lambda train: train.sampler)
@pytest.mark.parametrize("size", [None, 3, 20])
def test_outliers_are_added_to_the_batches_there_would_be_without_them(train, size):
    with_size = train.model_copy(update={"outlier_batch_size": size})
    for epoch in range(3):
        found = batches(with_size, OUTLIERS, epoch)
        assert [[i for i in batch if i < KNOWN] for batch in found] == batches(train, 0, epoch)
        assert {len(batch) for batch in found} == {8 + (size or 8)}


def test_every_outlier_is_used_equally_often_and_in_another_order_each_round():
    steps, rows = 7, 4
    drawn = np.concatenate([outlier_batches(OUTLIERS, rows, steps, 3, epoch).ravel() for epoch in range(4)])
    rounds = [drawn[i : i + OUTLIERS].tolist() for i in range(0, len(drawn) - OUTLIERS + 1, OUTLIERS)]
    assert len(rounds) == 8
    assert all(sorted(one) == [*range(OUTLIERS)] for one in rounds)  # rounds go on from one epoch to the next
    assert len(set(map(tuple, rounds))) == len(rounds)
    other_seed = outlier_batches(OUTLIERS, rows, steps, 4, 0).ravel()[:OUTLIERS]
    assert other_seed.tolist() != rounds[0]


def test_fewer_outliers_than_a_batch_takes_repeat():
    drawn = outlier_batches(3, 8, 2, 0, 5)
    assert sorted(np.bincount(drawn.ravel()).tolist()) == [5, 5, 6]
    assert outlier_batches(1, 4, 2, 0, 0).tolist() == [[0] * 4] * 2


def test_any_step_follows_from_its_number_alone():
    train = SAMPLERS[0]
    assert batches(train, OUTLIERS, 2, first_step=3) == batches(train, OUTLIERS, 2)[3:]


@pytest.mark.parametrize(("known", "outliers"), [(8, 8), (128, 256), (7, 3), (5, 0), (16, 1)])
def test_neighbouring_rows_have_a_like_share_of_both(known, outliers):
    order = spread(known, outliers)
    assert sorted(order.tolist()) == [*range(known + outliers)]
    assert [i for i in order.tolist() if i < known] == [*range(known)]
    total = known + outliers
    for world in (2, 3):
        for rank in range(world):
            share = rank_share(total, rank, world)
            here = order[share]
            assert abs((here < known).sum() - known * len(here) / total) <= 1


def test_processes_share_the_batch_of_one():
    train = TrainSpec(batch_size=8)
    whole = batches(train, OUTLIERS)
    halves = [batches(train, OUTLIERS, rank=rank, world=2) for rank in (0, 1)]
    assert [one + other for one, other in zip(*halves, strict=True)] == whole
    for half in halves:
        assert all(sum(i >= KNOWN for i in batch) == 4 for batch in half)
