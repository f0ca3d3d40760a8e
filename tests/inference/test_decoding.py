"""Sources to crops: images that are resized together have the pixels of each by itself, and each its own problem."""

import numpy as np
import pytest
import torch
from PIL import Image

from oltr_cli.data.feed.transforms import evaluation_crop
from oltr_cli.data.images import decode_file
from oltr_cli.inference import decoding
from oltr_cli.inference.decoding import decoded
from oltr_cli.inference.image_paths import Source
from oltr_cli.recipe.data import DataSpec

SIZES = [(64, 64), (37, 90), (64, 64), (640, 480), (20, 20), (37, 90), (64, 64), (48, 52), (2000, 3), (3, 900)]


def photographs(folder, sizes):
    rng = np.random.default_rng(3)
    for i, (width, height) in enumerate(sizes):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / f"{i}.png")
    return [Source(str(folder / f"{i}.png")) for i in range(len(sizes))]


@pytest.mark.parametrize("filter_", [None, "bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "side"), [(48, 48), (64, 64), (52, 40)])
def test_images_of_many_sizes_have_the_pixels_that_each_has_by_itself(tmp_path, monkeypatch, filter_, resize, side):
    monkeypatch.setattr(decoding, "SMALL", 640 * 480 - 1)  # one is cropped as it comes
    spec = DataSpec(name="any", image_size=side, eval_resize=resize, interpolation=filter_)
    sources = photographs(tmp_path, SIZES)
    problems, crops, small = decoded(sources, spec)
    alone = [evaluation_crop(decode_file(tmp_path / f"{i}.png"), spec) for i in range(len(SIZES))]
    assert problems == [""] * len(SIZES)
    assert not small
    assert torch.equal(torch.from_numpy(crops).permute(0, 3, 1, 2), torch.stack(alone))


def test_a_problem_is_of_its_own_image(tmp_path):
    spec = DataSpec(name="any", image_size=8, eval_resize=8)
    sources = photographs(tmp_path, [(16, 16)] * 5)
    (tmp_path / "1.png").write_bytes(b"no image")
    sources[3] = Source("gone.png", "no such file")
    problems, crops, small = decoded(sources, spec)
    assert problems == ["", "cannot be decoded (not an image)", "", "no such file", ""]
    assert crops.shape == (3, 8, 8, 3)
    assert small
    assert np.array_equal(crops, np.concatenate([decoded([sources[i]], spec)[1] for i in (0, 2, 4)]))


def test_shapes_that_cannot_be_resized_are_all_named(tmp_path, monkeypatch):
    real = decoding.evaluation_crop

    def fails(images, spec):
        if images.shape[-1] == 30:
            raise RuntimeError("no such size")
        return real(images, spec)

    monkeypatch.setattr(decoding, "evaluation_crop", fails)
    sources = photographs(tmp_path, [(30, 9), (16, 16), (30, 9)])
    problems, crops, _ = decoded(sources, DataSpec(name="any", image_size=8, eval_resize=8))
    assert problems == ["cannot be decoded (no such size)", "", "cannot be decoded (no such size)"]
    assert len(crops) == 1
