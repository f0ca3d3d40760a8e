"""Nearly identical images: bursts, copies and crops are found, plain images and other pictures are not."""

import io

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw

from oltr_cli.data.images import grey_thumbnail
from oltr_cli.data.inspect import near
from oltr_cli.data.inspect.near import SIDE, look, near_copies, near_groups, near_in_two_splits


def picture(seed, side=256):
    """Blurred tiles, RGB."""
    tiles = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(tiles).resize((side, side), Image.Resampling.BICUBIC)


def thumbnail(image):
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def encoded(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return Image.open(file)


def cut(image, left, top, right, bottom):
    """Without these shares of its sides."""
    width, height = image.size
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    return image.crop(tuple(map(round, box)))


CHANGES = {
    "JPEG of low quality": lambda image: encoded(image, format="JPEG", quality=25),
    "WebP": lambda image: encoded(image, format="WEBP", quality=40),
    "a quarter of the size": lambda image: image.resize((64, 64)),
    "darker": lambda image: image.point(lambda value: int(value * 0.6)),
    "grey": lambda image: image.convert("L"),
    "cropped all around": lambda image: cut(image, 0.04, 0.04, 0.04, 0.04),
    "cropped at a corner": lambda image: cut(image, 0.09, 0.09, 0, 0),
    "a strip cut off below": lambda image: cut(image, 0, 0, 0, 0.08),
    "moved a little": lambda image: cut(image, 0.01, 0.01, 0, 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_and_nothing_else(change):
    originals = [picture(seed) for seed in range(100)]
    groups = near_groups(
        np.stack([thumbnail(i) for i in originals] + [thumbnail(CHANGES[change](i)) for i in originals])
    )
    assert len(set(groups[:100].tolist())) == 100
    assert np.mean(groups[:100] == groups[100:]) >= 0.97


def test_mirrored_and_other_pictures_are_not_near():
    originals = [picture(seed) for seed in range(50)]
    mirrored = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in originals]
    assert len(set(near_groups(np.stack(list(map(thumbnail, originals + mirrored)))).tolist())) == 100


def test_plain_images_are_near_to_none():
    rng = np.random.default_rng(0)
    black = rng.integers(0, 6, (20, SIDE, SIDE)).astype(np.uint8)
    white = np.full((5, SIDE, SIDE), 255, np.uint8)
    one = np.full((1, SIDE, SIDE), 90, np.uint8)
    assert len(set(near_groups(np.concatenate([black, white, one])).tolist())) == 26
    assert near_groups(np.empty((0, SIDE, SIDE), np.uint8)).tolist() == []


def drawn(points):
    """A line of ink on white paper."""
    image = Image.new("L", (105, 105), 255)
    ImageDraw.Draw(image).line(points, fill=0, width=4)
    return image


def test_drawings_of_one_sign_are_not_near_but_copies_of_a_drawing_are():
    rng = np.random.default_rng(0)
    sign = np.array([[20, 25], [80, 30], [55, 52], [50, 90]])
    images = [drawn([tuple(p) for p in (sign + rng.integers(-5, 6, sign.shape)).tolist()]) for _ in range(40)]
    assert len(set(near_groups(np.stack(list(map(thumbnail, images)))).tolist())) >= 36
    copies = [encoded(image, format="JPEG", quality=60) for image in images]
    groups = near_groups(np.stack(list(map(thumbnail, images + copies))))
    assert (groups[:40] == groups[40:]).all()


def test_the_hash_is_that_of_imagehash():
    thumbnails = np.stack([thumbnail(picture(seed)) for seed in range(20)])
    expected = [np.packbits(imagehash.phash(Image.fromarray(t)).hash).tobytes() for t in thumbnails]
    assert [int(value).to_bytes(8, "big") for value in near._hashes(thumbnails, 0)] == expected


def test_all_hashes_that_differ_in_few_bits_are_candidates(monkeypatch):
    """Against every pair, with hashes made to differ in 1 to 12 bits, anywhere."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**63, 400, dtype=np.uint64)
    masks = [sum(1 << int(bit) for bit in rng.choice(64, i % 12 + 1, replace=False)) for i in range(400)]
    hashes = np.concatenate([base, base ^ np.array(masks, np.uint64)])
    expected = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= near.NEAR
    np.fill_diagonal(expected, False)
    assert expected.sum() > 300
    for at_once in (near._AT_ONCE, 50):
        monkeypatch.setattr(near, "_AT_ONCE", at_once)
        found = np.zeros_like(expected)
        for a, b in near._candidates(hashes[:, None]):
            found[a, b] = True
        np.testing.assert_array_equal(found, expected)


def test_a_thousand_frames_of_one_camera_are_one_group(monkeypatch):
    """With far fewer comparisons than pairs."""
    rng = np.random.default_rng(0)
    scene = thumbnail(picture(0)).astype(float)
    frames = np.clip(scene + rng.normal(0, 6, (1000, SIDE, SIDE)), 0, 255).astype(np.uint8)
    others = np.stack([thumbnail(picture(seed)) for seed in range(1, 200)])
    compared = []
    correlation = near._correlation
    monkeypatch.setattr(
        near, "_correlation", lambda t, a, b, crop: compared.append(len(a)) or correlation(t, a, b, crop)
    )
    groups = near_groups(np.concatenate([frames, others]))
    assert len(set(groups[:1000].tolist())) == 1
    assert len(set(groups[1000:].tolist())) == 199
    monkeypatch.undo()
    monkeypatch.setattr(near, "_MOST", 8)  # not even all of a band
    assert len(set(near_groups(frames).tolist())) == 1


def test_near_copies_by_name_and_across_splits():
    images = {f"t{i}": picture(i) for i in range(30)}
    images |= {f"e{i}": CHANGES["darker"](picture(i if i < 7 else 100 + i)) for i in range(30)}
    images["o"] = picture(1000)
    groups = near_copies({name: thumbnail(image) for name, image in images.items()})
    assert sorted(map(sorted, groups)) == sorted(["e" + str(i), "t" + str(i)] for i in range(7))
    files = {"train": [f"t{i}" for i in range(30)], "test": [f"e{i}" for i in range(30)], "open": ["o", "t3"]}
    found = list(near_in_two_splits({split: files[split] for split in ("train", "test")}, groups))
    assert found == [("train", "test", [(f"e{i}", f"t{i}") for i in range(7)])]
    # t3 is in train and in open: it is no copy of itself, but one of e3.
    assert [(one, other, len(pairs)) for one, other, pairs in near_in_two_splits(files, groups)] == [
        ("train", "test", 7),
        ("test", "open", 1),
    ]
    assert near_copies({}) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_images_of_16_bits_are_told_apart(tmp_path, dtype):
    for seed in range(3):
        grey = np.asarray(picture(seed).convert("L")).astype(dtype) * (257 if dtype == np.uint16 else 1)
        Image.fromarray(grey).save(tmp_path / f"{seed}.png")
    assert near_copies({seed: look(tmp_path / f"{seed}.png")[1] for seed in range(3)}) == []


def test_a_jpeg_is_decoded_small_and_turned_upright(tmp_path):
    image = picture(3, 2048).crop((0, 0, 2048, 1024))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "upright.jpg", quality=95)
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    (size, upright), (turned_size, turned) = (grey_thumbnail(tmp_path / n, SIDE) for n in ("upright.jpg", "turned.jpg"))
    assert (size, turned_size) == ((2048, 1024), (1024, 2048))
    assert np.abs(upright.astype(int) - turned).max() <= 3
    full = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(upright - full).max() <= 8


def test_what_cannot_be_decoded_says_why(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"no image")
    assert look(tmp_path / "x.jpg") == "cannot be decoded (not an image)"
