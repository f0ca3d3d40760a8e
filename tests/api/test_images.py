"""What counts as an image in a program, and what is said of anything else."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oltr_cli.api.images import sources
from oltr_cli.errors import UsageProblem

GOOD = np.zeros((4, 5, 3), np.uint8)


class Tensor:
    """As torch's: it has a shape and a dtype, and is no array."""

    shape, dtype = (3, 4, 5), "torch.uint8"


def refusal(images) -> str:
    with pytest.raises(UsageProblem) as refused:
        list(sources(images))
    return str(refused.value)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (None, "NoneType is not an image; give a path, a Pillow image or an array, uint8 (H, W, 3) or (H, W)"),
        (b"a.jpg", "bytes is not an image"),
        (Tensor(), "Tensor of torch.uint8 (3, 4, 5) is not an image"),
        (
            np.zeros((4, 5, 3)),
            "numpy.ndarray of float64 (4, 5, 3) is not an image; arrays are uint8 (H, W, 3) or (H, W)",
        ),
        (np.zeros((4, 5, 3), np.float32), "of values from 0 to 1: (255 * array).round().astype('uint8')"),
        (np.zeros((4, 5), np.uint16), "uint16 (4, 5)"),
        (np.zeros((4, 5), bool), "bool (4, 5)"),
        (np.zeros((3, 4, 5), np.uint8), "move the channels to the end: array.transpose(1, 2, 0)"),
        (np.zeros((4, 5, 1), np.uint8), "drop the last axis: array[..., 0]"),
        (np.zeros((4, 5, 4), np.uint8), "give RGBA as Image.fromarray(array)"),
        (np.zeros((1, 4, 5), np.uint8), "drop the first axis: array[0]"),
        (np.ma.array(GOOD, mask=GOOD > 0), "a masked array is not an image; give it without: array.filled(255)"),
        (Image.new("RGB", (0, 4)), "a Pillow image of 0 × 4 has no pixels"),
        (np.zeros((2, 4, 5, 3), np.uint8), "give each image of a batch by itself: [*batch]"),
        (np.zeros((0, 5, 3), np.uint8), "uint8 (0, 5, 3)"),
        (np.zeros(5, np.uint8), "uint8 (5,)"),
        (np.uint8(3), "numpy.uint8 of uint8 ()"),
    ],
)
@pytest.mark.parametrize("listed", [list, tuple, iter])
def test_what_is_no_image_is_named_by_its_position(wrong, says, listed):
    said = refusal(listed(["a.jpg", GOOD, wrong, "b.jpg"]))
    assert said.startswith("images[2]: ")
    assert says in said


def test_a_list_is_checked_before_the_first_image_is_given():
    with pytest.raises(UsageProblem, match=r"images\[1\]"):
        sources(["a.jpg", 3])
    given = sources(iter(["a.jpg", 3]))  # anything else as it comes
    assert next(given).path == "a.jpg"


@pytest.mark.parametrize("one", ["a.jpg", Path("a.jpg"), Image.new("L", (3, 3)), GOOD, GOOD[..., 0], b"a.jpg"])
def test_one_image_is_no_list(one):
    assert "is not a list of images; put one image into a list: [image]" in refusal(one)


@pytest.mark.parametrize("other", [3, None, {"a.jpg": 1}, {"a.jpg"}])
def test_neither_is_anything_without_an_order(other):
    assert "is not a list of images" in refusal(other)


def test_positions_name_what_is_in_memory_and_paths_what_is_in_files(tmp_path):
    Image.fromarray(GOOD).save(tmp_path / "a.png")
    made = list(sources([tmp_path / "a.png", GOOD, Image.fromarray(GOOD), GOOD[..., 0], str(tmp_path), "gone.png"]))
    assert [one.path for one in made] == [
        str(tmp_path / "a.png"), "images[1]", "images[2]", "images[3]", str(tmp_path), "gone.png"
    ]  # fmt: skip
    assert [one.problem for one in made] == ["", "", "", "", "a folder, not an image", "no such file"]
    assert made[3].image.shape == (4, 5, 3)
    batch = np.zeros((2, 4, 5, 3), np.uint8)
    assert len(list(sources(batch))) == 2
    assert [one.path for one in sources(np.array(["a", "b"]))] == ["a", "b"]
    assert list(sources([])) == []


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_matrix_is_its_pixels():
    """np.repeat of a np.matrix corrupts memory, so that the process dies soon after."""
    grey = np.arange(2000, dtype=np.uint8).reshape(40, 50)
    (source,) = sources([np.asmatrix(grey)])
    assert type(source.image) is np.ndarray
    assert np.array_equal(source.image, np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize("one", [np.array("a.jpg"), np.array(3), np.zeros((4, 5), np.uint8)])
def test_an_array_that_is_no_list_is_refused(one):
    assert "is not a list of images; put one image into a list" in refusal(one)
