"""Batches and crops of earlier versions: what an earlier run drew is drawn again."""

import hashlib

import numpy as np
import pytest
import torch

from oltr_cli.data.feed.boxes import crop_boxes
from oltr_cli.data.feed.device_crops import Placed, crop_batch
from oltr_cli.data.feed.loading import EpochBatches
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.train import TrainSpec


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:16]


class Labels:
    labels = np.repeat(np.arange(5), [24, 12, 6, 2, 1])

    def __len__(self):
        return len(self.labels)


@pytest.mark.parametrize(("sampler", "drawn"), [("instance", "0eaaf13ddcf3b39a"), ("class_aware", "d82d1dd7bf7e42e0")])
def test_batches(sampler, drawn):
    batches = EpochBatches(Labels(), TrainSpec(batch_size=8, sampler=sampler), 3, 0, 1)
    batches.epoch = 2
    assert digest(np.array([key for step in batches for key in step])) == drawn


def test_boxes():
    shapes = np.array([[20, 30], [40, 16], [33, 33]] * 4)
    boxes = crop_boxes(shapes, DataSpec(name="x", image_size=16, eval_resize=16), (3, "boxes", 1, 2), 12, slice(0, 12))
    assert digest(boxes) == "ab100b232d08b288"


def test_crops_on_the_device():
    pixels = np.random.default_rng(0).integers(0, 256, 3 * 40 * 40 * 3, dtype=np.uint8)
    boxes = np.array([[0, 0, 40, 40], [3, 4, 30, 20], [10, 10, 16, 16]])
    placed = Placed(np.array([0, 4800, 9600]), np.array([40, 40, 40]), boxes)
    assert digest(crop_batch(torch.from_numpy(pixels), placed, 16).numpy()) == "fb03c1d7c608dd11"
