"""The training loader: epochs one after the other, begun ahead of time, are the epochs by themselves."""

from itertools import islice

import numpy as np
import pytest
import torch

from oltr_cli.data.feed.loading import TrainingLoader
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.train import TrainSpec

SPEC = DataSpec(name="x", image_size=8, eval_resize=8)
TRAIN = TrainSpec(batch_size=3, epochs=3, sampler="instance")


class Squares:
    """Ten images of noise, in memory."""

    labels = np.repeat(np.arange(2), 5)
    images = torch.randint(0, 256, (10, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.labels)

    def image(self, index):
        return self.images[index]


def loader(workers=0, train=TRAIN):
    return TrainingLoader(Squares(), SPEC, train, 5, workers)


def told(batches):
    return [(batch.indices.tolist(), batch.images.numpy().tobytes()) for batch in batches]


@pytest.fixture(scope="module")
def alone():
    """The batches of each epoch, each from a loader of its own."""
    return [told(loader().epoch(epoch)) for epoch in range(3)]


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_in_turn_are_the_epochs_by_themselves(alone, workers):
    one = loader(workers)
    assert [told(one.epoch(epoch)) for epoch in range(3)] == alone
    assert len(alone[0]) == one.steps == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_that_is_not_the_next_one_is_begun_anew(alone, workers):
    one = loader(workers)
    assert told(one.epoch(0)) == alone[0]
    assert told(one.epoch(2)) == alone[2]
    assert told(one.epoch(1, 2)) == alone[1][2:]  # as a resumed run
    assert told(islice(one.epoch(0), 1)) == alone[0][:1]  # stopped in the middle
    assert told(one.epoch(1)) == alone[1]


def test_the_next_epoch_is_begun_with_the_last_batch():
    one = loader(train=TRAIN.model_copy(update={"epochs": 2}))
    begun, begin = [], one._begin
    one._begin = lambda *place: (begun.append(place), begin(*place))[1]
    batches = one.epoch(0)
    for _ in range(2):
        next(batches)
    assert begun == [(0, 0)]
    next(batches)
    assert begun == [(0, 0), (1, 0)]
    list(batches)
    list(one.epoch(1))
    assert begun == [(0, 0), (1, 0)]  # there is no third epoch
