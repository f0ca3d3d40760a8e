"""`oltr data prepare tiny-imagenet-lt`: layouts of the download, the drawn classes and tail, lists that are there."""

import json
import shutil
from collections import Counter

import pytest
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.display import Display
from oltr_cli.data.inspect.published import PUBLISHED, Published
from oltr_cli.data.lists.lists import open_lists
from oltr_cli.data.longtail import pareto_counts
from oltr_cli.data.prepare import tiny_imagenet as prepare_tiny_imagenet
from oltr_cli.data.prepare.tiny_imagenet import prepare_tiny_imagenet_lt
from oltr_cli.errors import DataProblem
from oltr_cli.protocol.shots import shot_groups
from tests.helpers.fake_trees import contents, listed, put, write_list

QUIET = Display(quiet=True)
IDS = [f"n0000000{i}" for i in range(7)]
TRAIN, VAL, TEST = 14, 2, 3
LISTS = ("train", "val", "test", "open", "open_val")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Seven classes: 4 known, 2 open, 1 open validation."""
    for name, value in {"KNOWN": 4, "OPEN": 2, "OPEN_VAL": 1, "TRAIN": TRAIN, "VAL": VAL, "TEST": TEST}.items():
        monkeypatch.setattr(prepare_tiny_imagenet, name, value)
    monkeypatch.setattr(prepare_tiny_imagenet, "MAXIMUM", 10)
    tail = pareto_counts(4, maximum=10)
    images = {"train": int(tail.sum()), "val": 8, "test": 12, "open": 6, "open_val": 3}
    monkeypatch.setitem(PUBLISHED, "tiny-imagenet-lt", Published(4, images))


def val_images():
    return {f"val_{i}.JPEG": IDS[i % 7] for i in range(7 * TEST)}


def make(root, start="tiny-imagenet-200/"):
    """The download as it is unpacked."""
    put(root, [f"{start}train/{name}/images/{name}_{i}.JPEG" for name in IDS for i in range(TRAIN)])
    put(root, [f"{start}val/images/{file}" for file in val_images()])
    put(root, [f"{start}test/images/test_0.JPEG", *(f"{start}train/{name}/{name}_boxes.txt" for name in IDS)])
    rows = [f"{file}\t{name}\t0\t32\t44\t62\n" for file, name in val_images().items()]
    (root / start / "val/val_annotations.txt").write_text("".join(rows))
    (root / start / "wnids.txt").write_text("\n".join(reversed(IDS)))
    (root / start / "words.txt").write_text("n99999999\tother\n" + "".join(f"{n}\tthing {n[-1]}, kind\n" for n in IDS))
    return root


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "tiny-imagenet-lt")


def classes_in(root, split):
    """Class → images of a split, by where the files stand or what the annotations say."""
    annotated = val_images()
    return Counter(
        annotated.get(name.rpartition("/")[2]) or name.split("train/")[1].split("/")[0] for name in listed(root, split)
    )


def test_the_splits(root):
    prepared = prepare_tiny_imagenet_lt(root, None, QUIET)
    found = {split: classes_in(root, split) for split in LISTS}
    assert sorted(found["train"].values(), reverse=True) == pareto_counts(4, maximum=10).tolist()
    known = sorted(found["train"])
    assert found["val"] == dict.fromkeys(known, VAL)
    assert found["test"] == dict.fromkeys(known, TEST)
    assert sorted([*known, *found["open"], *found["open_val"]]) == IDS
    assert (len(found["open"]), len(found["open_val"])) == (2, 1)
    assert known != IDS[:4]  # drawn, not the first ones
    for split in ("train", "val", "test"):
        assert set(listed(root, split).values()) == set(range(4))
    for name, label in listed(root, "train").items():
        assert known[label] in name
    for name, label in listed(root, "test").items():
        assert known[label] == val_images()[name.rpartition("/")[2]]
    assert not listed(root, "train").keys() & listed(root, "val").keys()
    assert set(listed(root, "open").values()) | set(listed(root, "open_val").values()) == {-1}
    assert (root / "classes.txt").read_text().splitlines() == [f"{name} thing {name[-1]}" for name in known]
    assert prepared.counts == PUBLISHED["tiny-imagenet-lt"].images
    opened, names, _ = open_lists("tiny-imagenet-lt", root, root)
    assert names == [f"thing {name[-1]}" for name in known]
    assert len(opened["open_val"]) == 3


def images_of(root):
    """What is drawn, without where it lies."""
    return {split: {name.rpartition("/")[2]: label for name, label in listed(root, split).items()} for split in LISTS}


def test_every_layout_gives_the_same_draw(root, tmp_path):
    prepare_tiny_imagenet_lt(root, None, QUIET)
    other = make(tmp_path / "other", start="")
    for name in IDS:  # train/<wnid>/* and val/<wnid>/*
        for path in list((other / "train" / name / "images").iterdir()):
            path.rename(path.parent.parent / path.name)
        (other / "train" / name / "images").rmdir()
        (other / "val" / name).mkdir()
    for file, name in val_images().items():
        (other / "val/images" / file).rename(other / "val" / name / file)
    (other / "val/images").rmdir()
    (other / "val/val_annotations.txt").unlink()
    (other / "wnids.txt").unlink()
    prepare_tiny_imagenet_lt(other, None, QUIET)
    assert images_of(other) == images_of(root)
    assert all(name.count("/") == 2 for name in listed(other, "test"))


def test_lists_that_are_there_are_left(root):
    prepare_tiny_imagenet_lt(root, None, QUIET)
    for path in root.glob("tiny-imagenet-200/train/*/*_boxes.txt"):
        path.unlink()
    shutil.rmtree(root / "tiny-imagenet-200/test")
    (root / "classes.txt").unlink()
    rows = [(name, label) for name, label in reversed(listed(root, "train").items())]
    write_list(root / "train.txt", rows)  # another's draw, as far as this can tell
    before = contents(root)
    prepared = prepare_tiny_imagenet_lt(root, None, QUIET)
    assert prepared.lists_written == []
    assert contents(root) == before
    assert set(prepared.origin.values()) == {"already there, unchanged"}
    victim = root / rows[0][0]
    victim.unlink()
    with pytest.raises(DataProblem, match=rf"train\.txt: 1 of .* images? missing; .* lacks 1 \({victim.name}\)"):
        prepare_tiny_imagenet_lt(root, None, QUIET)
    victim.write_bytes(b"x")
    write_list(root / "train.txt", rows[1:])
    with pytest.raises(DataProblem, match=r"train\.txt has \d+ images, not \d+"):
        prepare_tiny_imagenet_lt(root, None, QUIET)


def test_an_interrupted_call_is_taken_up(root):
    prepare_tiny_imagenet_lt(root, None, QUIET)
    whole = {path.name: path.read_bytes() for path in root.glob("*.txt")}
    for name in ("open.txt", "val.txt"):
        (root / name).unlink()
    assert prepare_tiny_imagenet_lt(root, None, QUIET).lists_written == ["val.txt", "open.txt"]
    assert {path.name: path.read_bytes() for path in root.glob("*.txt")} == whole


def _drop_class(root):
    shutil.rmtree(root / "tiny-imagenet-200/train" / IDS[2])


def _drop_class_and_ids(root):
    _drop_class(root)
    (root / "tiny-imagenet-200/wnids.txt").unlink()


def _drop_image(root):
    (root / f"tiny-imagenet-200/train/{IDS[1]}/images/{IDS[1]}_3.JPEG").unlink()


def _drop_val_image(root):
    (root / "tiny-imagenet-200/val/images/val_4.JPEG").unlink()


def _drop_annotations(root):
    (root / "tiny-imagenet-200/val/val_annotations.txt").unlink()


def _cut_annotations(root):
    path = root / "tiny-imagenet-200/val/val_annotations.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def _drop_val(root):
    shutil.rmtree(root / "tiny-imagenet-200/val")


def _drop_all(root):
    shutil.rmtree(root / "tiny-imagenet-200")


def _own_list(root):
    (root / "open.txt").write_text("tiny-imagenet-200/val/images/val_0.JPEG -1\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_class, r"tiny-imagenet-200/train/ has no images of 1 of the 7 classes: n00000002$"),
        (_drop_class_and_ids, r"tiny-imagenet-200/train/ has 6 classes, Tiny ImageNet has 7$"),
        (_drop_image, r"train/ should have 14 images of each class, but: n00000001 13$"),
        (_drop_val_image, r"val/images/ lacks 1 image that val_annotations.txt names: val_4\.JPEG"),
        (_drop_annotations, r"val/val_annotations\.txt cannot be read .*; it gives the class of each image"),
        (_cut_annotations, r"val_annotations\.txt has no class for 1 image: val_20\.JPEG"),
        (_drop_val, r"val/ has no images of 7 of the 7 classes"),
        (_drop_all, r"no train/<wnid>/ and val/; unpack tiny-imagenet-200\.zip here"),
        (_own_list, r"open\.txt already there with other content"),
    ],
)
def test_what_is_refused(root, damage, message):
    damage(root)
    before = contents(root)
    with pytest.raises(DataProblem, match=message):
        prepare_tiny_imagenet_lt(root, None, QUIET)
    assert contents(root) == before


def test_without_annotations_the_validation_images_are_not_said_to_be_missing(root):
    _drop_annotations(root)
    with pytest.raises(DataProblem, match=r"cannot be read") as caught:
        prepare_tiny_imagenet_lt(root, None, QUIET)
    assert "has no images" not in str(caught.value)
    assert "\n" not in str(caught.value)
    shutil.rmtree(root / "tiny-imagenet-200/train")  # what else is wrong is named with it
    with pytest.raises(DataProblem, match=r"train/ has no images of 7 of the 7 classes") as caught:
        prepare_tiny_imagenet_lt(root, None, QUIET)
    assert "unpack" not in str(caught.value)


def test_by_command(root, tmp_path):
    arguments = ["data", "prepare", "tiny-imagenet-lt", "--json"]
    done = CliRunner().invoke(app, arguments, env={"OLTR_DATA": str(tmp_path)})
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["counts"] == PUBLISHED["tiny-imagenet-lt"].images
    assert done.stderr.rstrip().endswith("next  oltr run dme --dataset tiny-imagenet-lt")


def test_the_published_tail_is_the_drawn_one(monkeypatch):
    monkeypatch.undo()
    published = PUBLISHED["tiny-imagenet-lt"]
    tail = pareto_counts(prepare_tiny_imagenet.KNOWN, maximum=prepare_tiny_imagenet.MAXIMUM)
    assert (int(tail.sum()), (tail.min(), tail.max())) == (published.images["train"], published.per_class)
    groups = shot_groups(tail)
    assert tuple(int(groups[name].sum()) for name in ("many", "medium", "few")) == published.shots
    assert published.images["test"] == prepare_tiny_imagenet.KNOWN * prepare_tiny_imagenet.TEST
