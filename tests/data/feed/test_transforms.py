"""Augmentation: what it may do to an image, that it follows from its key alone, and that shares of a batch agree."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from oltr_cli.base.seeding import derive, generator
from oltr_cli.data.feed.boxes import erased_boxes, padded_windows
from oltr_cli.data.feed.loading import _TrainingImages
from oltr_cli.data.feed.transforms import DeviceTransform, evaluation_crop, padded_crop, rand_augmented, training_crop
from oltr_cli.recipe.data import DataSpec

CPU = torch.device("cpu")


def spec(**changes):
    plain = {"name": "x", "image_size": 16, "eval_resize": 20, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    return DataSpec(**{**plain, **changes})


def images(n=6, size=16, channels=3):
    return torch.randint(
        0, 256, (n, channels, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_evaluation_is_normalisation_alone():
    x = images()
    out = DeviceTransform(spec(), CPU).evaluate(x)
    mean, std = np.array([0.5, 0.4, 0.3])[:, None, None], np.array([0.2, 0.3, 0.4])[:, None, None]
    np.testing.assert_allclose(out.numpy(), (x.numpy() / 255 - mean) / std, atol=1e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_grey_images_become_three_channels():
    out = DeviceTransform(spec(mean=(0.5,) * 3, std=(0.5,) * 3), CPU).evaluate(images(channels=1))
    assert out.shape == (6, 3, 16, 16)
    assert torch.equal(out[:, 0], out[:, 1])


def test_flips_some_images_and_leaves_the_others():
    x = images(64)
    transform = DeviceTransform(spec(), CPU)
    out, plain = transform.train(x, ("k",), slice(0, 64)), transform.evaluate(x)
    same = [torch.equal(a, b) for a, b in zip(out, plain, strict=True)]
    flipped = [torch.equal(a, b.flip(-1)) for a, b in zip(out, plain, strict=True)]
    assert all(s != f for s, f in zip(same, flipped, strict=True))
    assert 15 < sum(flipped) < 49
    assert torch.equal(DeviceTransform(spec(flip=False), CPU).train(x, ("k",), slice(0, 64)), plain)


@pytest.mark.parametrize("strengths", [(0.4, 0, 0), (0, 0.4, 0), (0, 0, 0.4), (0.4, 0.4, 0.4)])
def test_jitter_by_formula(strengths):
    data = spec(flip=False, color_jitter=strengths)
    x = images()
    out = DeviceTransform(data, CPU).train(x, ("key", 3), slice(0, 6)).numpy()
    draws = generator("key", 3).random((6, 4), dtype=np.float32)
    luma = np.array([0.299, 0.587, 0.114])[:, None, None]
    for n in range(6):
        p = x[n].numpy() / 255.0
        brightness, contrast, saturation = (1 + s * (2 * d - 1) for s, d in zip(strengths, draws[n, 1:], strict=True))
        p = np.clip(p * brightness, 0, 1)
        mean = (p * luma).sum(0).mean()
        p = np.clip((p - mean) * contrast + mean, 0, 1)
        grey = (p * luma).sum(0, keepdims=True)
        p = np.clip((p - grey) * saturation + grey, 0, 1)
        expected = (p - np.array(data.mean)[:, None, None]) / np.array(data.std)[:, None, None]
        np.testing.assert_allclose(out[n], expected, atol=2e-5)


def test_two_halves_of_a_batch_make_the_whole():
    x = images(10)
    transform = DeviceTransform(spec(color_jitter=(0.4, 0.4, 0.4)), CPU)
    whole = transform.train(x, ("k", 1), slice(0, 10))
    halves = [transform.train(x[s], ("k", 1), s) for s in (slice(0, 5), slice(5, 10))]
    assert torch.equal(torch.cat(halves), whole)
    assert not torch.equal(transform.train(x, ("k", 2), slice(0, 10)), whole)


def test_training_crop_has_the_size_and_follows_from_its_key():
    image = images(1, 40)[0]
    data = spec(crop_scale=(0.2, 0.6))
    crops = [training_crop(image, data, generator(0, "crop", 1, place)) for place in range(20)]
    assert all(c.shape == (3, 16, 16) and c.dtype == torch.uint8 for c in crops)
    assert len({c.numpy().tobytes() for c in crops}) > 15
    assert torch.equal(crops[3], training_crop(image, data, generator(0, "crop", 1, 3)))


def test_training_crop_covers_the_areas_it_is_asked_for():
    """On a ramp along x, the width of a crop can be read from its values; ratio 1 makes it the root of the area."""
    ramp = torch.arange(200, dtype=torch.uint8).expand(3, 200, 200)
    data = spec(crop_scale=(0.25, 0.64), crop_ratio=(1.0, 1.0))
    spans = []
    for place in range(200):
        crop = training_crop(ramp, data, generator(0, place)).float()
        spans.append((crop[0, :, -1] - crop[0, :, 0]).mean().item() * 16 / 15)
    assert 96 < min(spans) < 108
    assert 152 < max(spans) < 164


def test_an_extreme_shape_falls_back_to_its_middle():
    strip = torch.zeros(3, 4, 400, dtype=torch.uint8)
    strip[:, :, 198:202] = 255
    crop = training_crop(strip, spec(crop_scale=(0.9, 1.0), crop_ratio=(1.0, 1.0)), generator(1))
    assert crop.shape == (3, 16, 16)
    assert crop.min() == 255


def test_evaluation_crop_is_the_middle_square():
    image = torch.zeros(3, 20, 60, dtype=torch.uint8)
    image[:, :, 22:38] = 200
    crop = evaluation_crop(image, spec())
    assert crop.shape == (3, 16, 16)
    assert crop.min() == 200
    assert evaluation_crop(images(1, 40)[0], spec()).shape == (3, 16, 16)


@pytest.mark.parametrize("turned", [False, True])
def test_evaluation_crop_of_a_line_takes_the_memory_of_its_middle(monkeypatch, turned):
    """Else a file of 8 kB with 1 × 2,000,000 pixels became gigabytes."""
    sizes, resize = [], F.resize

    def watched(image, *arguments, **options):
        sizes.append(max(image.shape))
        return resize(image, *arguments, **options)

    monkeypatch.setattr(F, "resize", watched)
    line = torch.zeros(3, 1, 100_000, dtype=torch.uint8)
    line[:, :, 50_000 - 10 : 50_000 + 10] = 200
    line = line.transpose(1, 2) if turned else line
    crop = evaluation_crop(line, spec())
    assert sizes == [16]
    assert crop.shape == (3, 16, 16)
    assert crop.min() == 200
    assert torch.equal(evaluation_crop(torch.stack([line, line]), spec()), torch.stack([crop, crop]))


def test_evaluation_crop_of_a_panorama_is_cut_from_the_whole():
    image = torch.randint(0, 256, (3, 10, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    whole = F.resize(image, [20], antialias=True)
    assert torch.equal(evaluation_crop(image, spec()), F.center_crop(whole, [16, 16]))


def test_keys_do_not_collide_and_stay_the_same_for_ever():
    assert derive(0, "crop", 1, 2) != derive(0, "crop", 12)
    assert derive(0, "crop", 1) != derive(0, "crop", "1")
    assert derive(0, "init", "plain") == 1217153429408534170  # another value would change every run there is
    assert 0 <= derive("anything") < 2**63


def padded(n, shapes, **changes):
    return padded_windows(np.array(shapes), spec(**changes), ("key",), n, slice(0, n))


def test_padded_crops_are_shifted_images_with_a_black_border():
    data = spec(eval_resize=16, crop_padding=4)
    windows = padded(2000, [(16, 16)] * 2000, eval_resize=16, crop_padding=4)
    corners = windows.corners
    assert set(map(tuple, windows.sizes)) == {(16, 16)}
    assert {(r, c) for r, c in corners.tolist()} == {(r, c) for r in range(-4, 5) for c in range(-4, 5)}
    image = images(1)[0].clamp_min(1)
    for corner in [(-4, 3), (0, 0), (2, -1)]:
        crop = padded_crop(image, corner, data)
        around = torch.nn.functional.pad(image, (4, 4, 4, 4))
        row, column = (4 + place for place in corner)
        assert torch.equal(crop, around[:, row : row + 16, column : column + 16])


def test_padded_crops_of_other_sizes_are_cut_from_the_image_that_evaluation_sees():
    data = spec(crop_padding=0)
    image = torch.randint(0, 256, (3, 50, 31), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    windows = padded(2000, [(50, 31)] * 2000, crop_padding=0)
    assert set(map(tuple, windows.sizes)) == {(32, 20)}
    assert {(r, c) for r, c in windows.corners.tolist()} == {(r, c) for r in range(17) for c in range(5)}
    assert torch.equal(padded_crop(image, (8, 2), data), evaluation_crop(image, data))


def test_windows_of_a_share_are_those_of_the_batch():
    data, shapes = spec(crop_padding=3), np.array([(20 + n, 40 - n) for n in range(8)])
    whole = padded_windows(shapes, data, ("key", 1), 8, slice(0, 8))
    part = padded_windows(shapes[3:6], data, ("key", 1), 8, slice(3, 6))
    np.testing.assert_array_equal(part.corners, whole.corners[3:6])
    assert not np.array_equal(padded_windows(shapes, data, ("key", 2), 8, slice(0, 8)).corners, whole.corners)


def test_rand_augment_is_torchvisions_and_follows_from_its_key():
    (image,) = images(1, size=24)
    augmented, key = spec(rand_augment=(2, 9)), (1, "rand_augment", 2, 3)
    state = torch.get_rng_state()
    out = rand_augmented(image, augmented, key)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(derive(*key))
    assert torch.equal(out, v2.RandAugment(2, 9)(image))
    torch.set_rng_state(state)
    assert torch.equal(out, rand_augmented(image, augmented, key))
    seen = {rand_augmented(image, augmented, (1, "rand_augment", 2, place)).numpy().tobytes() for place in range(20)}
    assert len(seen) > 10
    assert rand_augmented(image, spec(), key) is image
    assert rand_augmented(image[:1], augmented, key).shape == (1, 24, 24)  # a grey image


@pytest.mark.parametrize("changes", [{}, {"crop_padding": 2}, {"store_side": 20}])
def test_every_kind_of_crop_is_augmented_image_by_image(changes):
    class Split:
        labels = np.zeros(4, np.int64)

        def image(self, index):
            return images(4, size=24)[index]

    keys = [(1, place, place % 4) for place in range(8, 12)]
    plain = _TrainingImages(Split(), spec(**changes), 3, 4).__getitems__(keys).images
    out = _TrainingImages(Split(), spec(**changes, rand_augment=(2, 15)), 3, 4).__getitems__(keys).images
    for (epoch, place, _), before, after in zip(keys, plain, out, strict=True):
        wanted = rand_augmented(before, spec(rand_augment=(2, 15)), (3, "rand_augment", epoch, place))
        assert torch.equal(after, wanted)


def test_erasing_sets_boxes_to_the_mean_and_leaves_the_rest():
    x, key, share = images(40), (0, "augment", 1, 2), slice(0, 40)
    whole = DeviceTransform(spec(), CPU).train(x, key, share)
    out = DeviceTransform(spec(random_erasing=0.5), CPU).train(x, key, share)
    boxes = erased_boxes(16, 0.5, (*key, "erasing"), share).tolist()
    for image, before, box in zip(out, whole, boxes, strict=True):
        wanted = F.erase(before, *box, torch.zeros(()))
        assert torch.equal(image, wanted)
    assert 8 < sum(box[2] > 0 for box in boxes) < 32
    assert out.is_contiguous(memory_format=torch.channels_last)
    part = DeviceTransform(spec(random_erasing=0.5), CPU).train(x[10:25], key, slice(10, 25))
    assert torch.equal(part, out[10:25])
    assert spec(random_erasing=0) == spec()


def test_erased_boxes_have_the_areas_of_torchvision():
    side, number = 64, 4000
    boxes = erased_boxes(side, 1.0, (5, "erasing"), slice(0, number))
    areas = boxes[:, 2] * boxes[:, 3] / side**2
    theirs = v2.RandomErasing(p=1.0)
    torch.manual_seed(0)
    drawn = [theirs.make_params([torch.zeros(3, side, side)]) for _ in range(number)]
    wanted = np.array([one["h"] * one["w"] / side**2 for one in drawn])
    assert areas.mean() == pytest.approx(wanted.mean(), abs=0.005)
    assert areas.std() == pytest.approx(wanted.std(), abs=0.005)
    assert (areas.min(), areas.max()) == pytest.approx((0.02, 0.33), abs=0.01)
    ratios = [np.log(h / w).mean() for h, w in (boxes[:, 2:].T, np.array([(d["h"], d["w"]) for d in drawn]).T)]
    assert ratios[0] == pytest.approx(ratios[1], abs=0.05)
    assert (boxes[:, :2] + boxes[:, 2:] <= side).all()
    places = boxes[:, :2] / (side - boxes[:, 2:])
    assert places.mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.03)
