"""Crops on the device: the batches that worker processes cut, up to the rounding of grey levels."""

import numpy as np
import pytest
import torch

from oltr_cli.base.display import Display
from oltr_cli.data.feed.device_crops import Placed, crop_batch
from oltr_cli.data.feed.loading import TrainingLoader
from oltr_cli.data.feed.opening import open_dataset
from oltr_cli.data.feed.transforms import box_crop
from oltr_cli.data.store.on_device import DeviceLoader
from oltr_cli.data.store.split import from_store
from oltr_cli.errors import DataProblem
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.train import TrainSpec
from tests.helpers.open_lists import add_open_list
from tests.helpers.tiny import make_tiny_dataset

CPU = torch.device("cpu")


def smooth(rng, height, width):
    """A picture with edges and gradients, as photographs have."""
    y, x = np.mgrid[:height, :width]
    layers = [np.sin(y / rng.uniform(3, 30)) + np.cos(x / rng.uniform(3, 30)) > rng.uniform(-1, 1) for _ in range(3)]
    picture = np.stack(layers, -1) * 120 + (x + y)[..., None] % 100 + rng.normal(0, 8, (height, width, 3))
    return picture.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [32, 224])
def test_crops_differ_by_less_than_half_a_grey_level_from_torchvision(size, interpolation):
    rng = np.random.default_rng(0)
    pictures = [smooth(rng, *rng.integers(40, 300, 2)) for _ in range(12)]
    spec = DataSpec(name="x", image_size=size, eval_resize=size, interpolation=interpolation)
    boxes = []
    for picture in pictures:
        h, w = (int(rng.integers(8, side + 1)) for side in picture.shape[:2])
        boxes.append([int(rng.integers(picture.shape[0] - h + 1)), int(rng.integers(picture.shape[1] - w + 1)), h, w])
    boxes[0] = [0, 0, *pictures[0].shape[:2]]
    starts = np.cumsum([0] + [picture.size for picture in pictures])[:-1]
    widths = np.array([picture.shape[1] for picture in pictures])
    flat = torch.from_numpy(np.concatenate([picture.reshape(-1) for picture in pictures]))
    crops = crop_batch(flat, Placed(starts, widths, np.array(boxes)), size, interpolation == "bicubic")
    wanted = torch.stack(
        [
            box_crop(torch.from_numpy(picture).permute(2, 0, 1), box, spec)
            for picture, box in zip(pictures, boxes, strict=True)
        ]
    )
    difference = (crops.int() - wanted.int()).abs()
    assert difference.float().mean() < 0.3
    assert difference.max() <= 2


def test_a_box_of_the_wanted_size_is_cut_exactly():
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (50, 60, 3), np.uint8)
    flat = torch.from_numpy(picture.reshape(-1))
    crop = crop_batch(flat, Placed(np.array([0]), np.array([60]), np.array([[7, 11, 32, 32]])), 32)
    np.testing.assert_array_equal(crop[0].permute(1, 2, 0).numpy(), picture[7:39, 11:43])


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """The training split of the tiny dataset in a store, one of its images broken, and its recipe's tables."""
    monkeypatch.setenv("OLTR_CACHE", str(tmp_path / "cache"))
    make_tiny_dataset(tmp_path / "tiny")
    (tmp_path / "tiny" / "train" / "c0" / "2.png").write_bytes(b"?")
    spec = DataSpec(
        name="tiny", root=str(tmp_path / "tiny"), image_size=12, eval_resize=12, store_side=16, crop_scale=(0.2, 1)
    )
    return from_store(open_dataset(spec), Display(quiet=True)).splits["train"], spec


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("share", [(0, 1), (1, 2)])
def test_batches_are_those_of_the_workers(stored, resident, share):
    split, spec = stored
    train = TrainSpec(batch_size=8, sampler="class_aware", images_per_class=2)
    usual = TrainingLoader(split, spec, train, 3, 0, *share)
    device = DeviceLoader(split, spec, train, 3, CPU, 2, *share, resident=resident)
    assert device.steps == usual.steps
    failed = set()
    for epoch in range(3):
        first = epoch % 2
        pairs = list(zip(usual.epoch(epoch, first), device.epoch(epoch, first), strict=True))
        assert len(pairs) == usual.steps - first
        for one, other in pairs:
            assert torch.equal(one.labels, other.labels)
            assert torch.equal(one.indices, other.indices)
            assert sorted(one.failed) == sorted(other.failed)
            failed |= set(other.failed)
            assert (one.images.float() - other.images.float()).abs().mean() < 0.4
    assert failed == {2}


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("share", [(0, 1), (1, 2)])
def test_batches_with_outliers_are_those_of_the_workers(tmp_path, monkeypatch, resident, share):
    monkeypatch.setenv("OLTR_CACHE", str(tmp_path / "cache"))
    add_open_list(make_tiny_dataset(tmp_path / "tiny"), "open_train", (30, 31))
    (tmp_path / "tiny" / "open_train" / "c30" / "2.png").write_bytes(b"?")
    side = {"image_size": 12, "eval_resize": 12, "store_side": 16}
    spec = DataSpec(name="tiny", root=str(tmp_path / "tiny"), crop_scale=(0.2, 1), **side)
    splits = from_store(open_dataset(spec), Display(quiet=True)).splits
    split, train = splits["train"].joined(splits["open_train"]), TrainSpec(batch_size=8)
    assert split.names[-8:] == splits["open_train"].names
    assert torch.equal(split.image(len(split) - 1), splits["open_train"].image(7))
    usual = TrainingLoader(split, spec, train, 3, 0, *share)
    device = DeviceLoader(split, spec, train, 3, CPU, 2, *share, resident=resident)
    failed = set()
    for epoch in range(2):
        pairs = list(zip(usual.epoch(epoch, 1), device.epoch(epoch, 1), strict=True))
        assert len(pairs) == usual.steps - 1 == device.steps - 1
        for one, other in pairs:
            assert torch.equal(one.labels, other.labels)
            assert torch.equal(one.indices, other.indices)
            assert (one.labels == -1).sum() == 8 // share[1]
            assert sorted(one.failed) == sorted(other.failed)
            failed |= set(other.failed)
            assert (one.images.float() - other.images.float()).abs().mean() < 0.4
    assert failed == {len(splits["train"]) + 2}


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("share", [(0, 1), (1, 2)])
@pytest.mark.parametrize(("eval_resize", "most"), [(16, 0), (13, 2)])
def test_padded_crops_are_those_of_the_workers(stored, resident, share, eval_resize, most):
    """To the last bit where nothing is resized, otherwise up to the rounding of grey levels."""
    split, spec = stored
    spec = spec.model_copy(update={"crop_padding": 3, "eval_resize": eval_resize})
    train = TrainSpec(batch_size=8, sampler="class_aware", images_per_class=2)
    usual = TrainingLoader(split, spec, train, 3, 0, *share)
    device = DeviceLoader(split, spec, train, 3, CPU, 2, *share, resident=resident)
    black = 0
    for one, other in zip(usual.epoch(1), device.epoch(1), strict=True):
        assert torch.equal(one.indices, other.indices)
        assert one.images.shape[-2:] == (12, 12)
        assert (one.images.int() - other.images.int()).abs().max() <= most
        black += int((one.images.amax(dim=(1, 2)) == 0).any(dim=1).sum())
    assert black > 0


def test_a_damaged_shard_is_not_sent_to_the_device(stored, capsys):
    split, spec = stored
    train = TrainSpec(batch_size=8, sampler="class_aware", images_per_class=2)
    before = [batch.images for batch in DeviceLoader(split, spec, train, 3, CPU, 1, resident=True).epoch(0)]
    shard, row = split.places.shards[split.places.which[5]], split.places.row[5]
    file = shard.path.with_suffix(".pixels")
    content = bytearray(file.read_bytes())
    content[int(shard.table[row, 0]) + 4] ^= 128
    file.write_bytes(bytes(content))
    fresh = from_store(open_dataset(spec), Display(quiet=True)).splits["train"]
    after = [batch.images for batch in DeviceLoader(fresh, spec, train, 3, CPU, 1, resident=True).epoch(0)]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert "is damaged and was removed" in capsys.readouterr().err


def test_a_class_without_a_good_image_is_named(stored, tmp_path):
    _, spec = stored
    (tmp_path / "tiny" / "train" / "c4" / "0.png").write_bytes(b"?")
    split = from_store(open_dataset(spec), Display(quiet=True)).splits["train"]
    with pytest.raises(DataProblem, match=r"c4/0\.png.*no other image of class 4"):
        DeviceLoader(split, spec, TrainSpec(batch_size=8), 0, CPU, 1, resident=True)
