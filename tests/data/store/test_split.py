"""Training and scores from a store: the same bits as without one, and a damaged shard is never used."""

import numpy as np
import pytest

from oltr_cli.base.display import Display
from oltr_cli.data.feed.boxes import crop_boxes
from oltr_cli.data.feed.opening import open_dataset
from oltr_cli.data.store import split as storing
from oltr_cli.data.store.split import StoredSplit, from_store
from oltr_cli.pipeline import make
from oltr_cli.planning.plan import plan
from oltr_cli.recipe.data import DataSpec
from tests.helpers.finished_runs import environment
from tests.helpers.in_process import somebody_else
from tests.helpers.open_lists import add_open_list
from tests.helpers.tiny import TINY_RECIPE, make_tiny_dataset

QUIET = Display(quiet=True)
STORE = "data.store_side=16"


@pytest.fixture
def home(tmp_path):
    patch = environment(tmp_path)
    patch.setenv("OLTR_CACHE", str(tmp_path / "cache"))
    make_tiny_dataset(tmp_path / "data" / "tiny")
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE)
    yield tmp_path
    patch.undo()


def train(home, *sets):
    planned = plan("plain", str(home / "tiny.toml"), list(sets), 0)
    result = make.make_runs(planned, device="cpu", workers=0, track=False, display=QUIET)
    with np.load(planned[-1].run.scores("test")) as scores:
        return result, scores["logits"]


def opened(home):
    spec = plan("plain", str(home / "tiny.toml"), [STORE], 0)[0].link.recipe.data
    return from_store(open_dataset(spec), QUIET).splits


def test_a_store_is_only_a_cache(home, monkeypatch):
    plain, _ = train(home)
    stored, logits = train(home, STORE)
    assert plain.hash != stored.hash
    assert list((home / "cache").glob("*/*.pixels"))
    (home / "runs").rename(home / "first")
    with monkeypatch.context() as patch:
        patch.setattr(storing, "build_store", None)  # nothing may ask for one
        patch.setattr("oltr_cli.data.store.split.from_store", lambda dataset, display: dataset)
        again, unstored = train(home, STORE)
    assert again.hash == stored.hash
    np.testing.assert_array_equal(logits, unstored)


def test_a_damaged_image_is_decoded_from_its_file_and_its_shard_removed(home, capsys):
    train_split = opened(home)["train"]
    assert isinstance(train_split, StoredSplit)
    whole = [train_split.pixels(index).copy() for index in range(len(train_split))]
    shard, row = train_split.places.shards[train_split.places.which[3]], train_split.places.row[3]
    file = shard.path.with_suffix(".pixels")
    content = bytearray(file.read_bytes())
    content[int(shard.table[row, 0]) + 7] ^= 16
    file.write_bytes(bytes(content))
    damaged = opened(home)["train"]
    for index, pixels in enumerate(whole):
        np.testing.assert_array_equal(damaged.pixels(index), pixels)
    said = capsys.readouterr().err
    assert said.count("is damaged and was removed") == 1
    assert file.name in said
    assert not file.exists()
    again = opened(home)["train"]
    assert [again.places.shards[again.places.which[3]].is_whole(again.places.row[3])] == [True]


def test_a_damaged_image_in_a_folder_that_cannot_be_written_is_decoded_from_its_file(home, capsys):
    train_split = opened(home)["train"]
    whole = [train_split.pixels(index).copy() for index in range(len(train_split))]
    files = {shard.path.with_suffix(".pixels") for shard in train_split.places.shards}
    for file in files:
        file.write_bytes(b"\0" * file.stat().st_size)
        file.parent.chmod(0o555)
    with somebody_else(home / "data" / "tiny", file.parent):
        damaged = opened(home)["train"]
        for index, pixels in enumerate(whole):
            np.testing.assert_array_equal(damaged.pixels(index), pixels)
    said = capsys.readouterr().err
    assert said.count("is damaged and cannot be removed") == len(np.unique(damaged.places.which))
    file.parent.chmod(0o755)


def test_boxes_lie_inside_and_do_not_depend_on_the_share():
    spec = DataSpec(name="x", image_size=32, crop_scale=(0.2, 1.0))
    shapes = np.random.default_rng(0).integers(200, 300, (64, 2))
    shapes[5] = 8, 4000  # no try fits: the square in the middle
    boxes = crop_boxes(shapes, spec, (0, "boxes", 1, 2), 64, slice(0, 64))
    top, left, height, width = boxes.T
    assert (boxes >= 0).all()
    assert (top + height <= shapes[:, 0]).all()
    assert (left + width <= shapes[:, 1]).all()
    assert boxes[5].tolist() == [0, 1996, 8, 8]
    area = height * width / shapes.prod(1)
    usual = np.arange(64) != 5
    assert 0.19 < area[usual].min() < 0.35
    assert 0.5 < np.mean(area[usual]) < 0.65
    part = crop_boxes(shapes[16:40], spec, (0, "boxes", 1, 2), 64, slice(16, 40))
    np.testing.assert_array_equal(part, boxes[16:40])
    assert (crop_boxes(shapes, spec, (0, "boxes", 1, 3), 64, slice(0, 64)) != boxes).any()


def test_copies_of_training_images_are_pointed_out(home, capsys):
    folder = home / "data" / "tiny"
    (folder / "test" / "c0" / "1.png").write_bytes((folder / "train" / "c1" / "3.png").read_bytes())
    (folder / "open" / "c7" / "0.png").write_bytes((folder / "train" / "c0" / "0.png").read_bytes())
    opened(home)
    said = capsys.readouterr().err
    assert "test has 1 image copied from training images (test/c0/1.png of train/c1/3.png)" in said
    assert "open has 1 image copied from training images (open/c7/0.png of train/c0/0.png)" in said
    assert "oltr data check tiny --content" in said
    assert "val has" not in said


def test_copies_of_outliers_are_pointed_out(home, capsys):
    folder = home / "data" / "tiny"
    outliers = add_open_list(folder, "open_train", (30, 31))
    (folder / outliers[0]).write_bytes((folder / "open" / "c7" / "0.png").read_bytes())
    (folder / outliers[1]).write_bytes((folder / "train" / "c0" / "0.png").read_bytes())
    opened(home)
    said = capsys.readouterr().err
    assert f"open has 1 image copied from outliers (open/c7/0.png of {outliers[0]}), so results on open look" in said
    assert said.count("copied from") == 1
