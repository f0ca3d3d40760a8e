"""Nearly identical images in two splits."""

import numpy as np
import pytest
from PIL import Image

from oltr_cli.data.images import decode_pixels
from oltr_cli.data.inspect.near import NEAR, near_in_two_splits, near_pairs, perceptual_hash


def picture(seed, shift=0, noise=0.0):
    """Blurred tiles, 64×64, moved by some pixels of 256."""
    rng = np.random.default_rng(seed)
    tiles = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize((270, 270), Image.Resampling.BICUBIC)
    pixels = np.asarray(tiles.crop((shift, shift, shift + 256, shift + 256)).resize((64, 64)))
    return np.clip(pixels + np.random.default_rng([seed, shift]).normal(0, noise, pixels.shape), 0, 255).astype(
        np.uint8
    )


def test_all_near_pairs_are_found_and_no_others():
    """Against every pair, with hashes made to differ in 1 to 12 bits, anywhere."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**63, 400, dtype=np.uint64)
    masks = [sum(1 << int(bit) for bit in rng.choice(64, i % 12 + 1, replace=False)) for i in range(400)]
    hashes = np.unique(np.concatenate([base, base ^ np.array(masks, np.uint64)]))
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    expected = np.argwhere(np.triu(distance <= NEAR, 1))
    assert len(expected) > 150
    np.testing.assert_array_equal(near_pairs(hashes), expected)


def test_bursts_are_near_and_other_pictures_are_not():
    files = {"train": [f"t{i}" for i in range(30)], "test": [f"e{i}" for i in range(30)], "open": ["o", "t3"]}
    hashes = {f"t{i}": perceptual_hash(picture(i)) for i in range(30)}
    hashes |= {f"e{i}": perceptual_hash(picture(i if i < 7 else 100 + i, 2, 3.0)) for i in range(30)}
    hashes["o"] = perceptual_hash(picture(1000))
    ((one, other, count, shown),) = near_in_two_splits({k: files[k] for k in ("train", "test")}, hashes)
    assert (one, other, count) == ("train", "test", 7)
    assert shown == [f"e{i} = t{i}" for i in range(5)]
    assert [found[:3] for found in near_in_two_splits(files, hashes)] == [("train", "test", 7), ("test", "open", 1)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_images_of_16_bits_are_told_apart(tmp_path, dtype):
    hashes = []
    for seed in range(3):
        grey = picture(seed)[..., 0].astype(dtype) * (257 if dtype == np.uint16 else 1)
        Image.fromarray(grey).save(tmp_path / f"{seed}.png")
        hashes.append(perceptual_hash(decode_pixels(tmp_path / f"{seed}.png")))
    assert len(near_pairs(np.array(hashes, np.uint64))) == 0
