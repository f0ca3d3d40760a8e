"""`oltr data prepare sun-lt`: the tail that SUN397 has by nature, a balanced test set, refusals."""

import json
import shutil
from collections import Counter

import pytest
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.display import Display
from oltr_cli.data.inspect.published import PUBLISHED
from oltr_cli.data.lists.lists import open_lists
from oltr_cli.data.prepare import sun as prepare_sun
from oltr_cli.data.prepare.sun import prepare_sun_lt, training_images
from oltr_cli.errors import DataProblem
from tests.helpers.fake_trees import contents, listed, put

QUIET = Display(quiet=True)
SIZES = {"a/abbey": 100, "a/apse/indoor": 101, "z/zoo": 150}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(prepare_sun, "CLASSES", len(SIZES))


@pytest.fixture(params=["SUN397/", ""], ids=["torchvision", "the folder itself"])
def root(request, tmp_path):
    start = request.param
    put(tmp_path, [f"{start}{name}/sun_{i:03}.jpg" for name, size in SIZES.items() for i in range(size)])
    (tmp_path / start / "ClassName.txt").write_text("".join(f"/{name}\n" for name in reversed(SIZES)))
    (tmp_path / start / "Partitions").mkdir()
    return tmp_path


def test_numbers_of_the_paper():
    """1 of the smallest class of SUN397, which has 100 images, and 1132 of the largest, which has 2361."""
    assert (training_images(100), training_images(2361)) == PUBLISHED["sun-lt"].per_class
    assert PUBLISHED["sun-lt"].images["test"] == 40 * PUBLISHED["sun-lt"].classes


def test_the_splits(root):
    prepared = prepare_sun_lt(root, None, QUIET)
    splits = {split: listed(root, split) for split in ("train", "val", "test")}
    counts = {split: Counter(rows.values()) for split, rows in splits.items()}
    assert counts == {
        "train": {0: 1, 1: 2, 2: 26},
        "val": dict.fromkeys(range(3), 10),
        "test": dict.fromkeys(range(3), 40),
    }
    assert sum(map(len, splits.values())) == len(set().union(*splits.values()))
    for rows in splits.values():
        for name, label in rows.items():
            assert name.removeprefix("SUN397/").rpartition("/")[0] == list(SIZES)[label]
    assert prepared.counts == {"train": 29, "val": 30, "test": 120}
    assert prepared.warnings == []  # SUN-LT has no open half
    assert open_lists("sun-lt", root, root)[1] == ["abbey", "apse/indoor", "zoo"]


def test_a_second_call_changes_nothing(root):
    prepare_sun_lt(root, None, QUIET)
    before = contents(root)
    next(root.rglob("ClassName.txt")).unlink()
    assert prepare_sun_lt(root, None, QUIET).lists_written == []
    assert {name: now for name, now in before.items() if "ClassName" not in name} == contents(root)


def _drop_class(root):
    shutil.rmtree(next(root.rglob("apse")))


def _drop_class_and_names(root):
    _drop_class(root)
    next(root.rglob("ClassName.txt")).unlink()


def _drop_image(root):
    next(root.rglob("abbey/sun_007.jpg")).unlink()


def _no_text(root):
    next(root.rglob("ClassName.txt")).write_bytes(b"\xff\xfe\x00")


def _own_list(root):
    (root / "test.txt").write_text("a/abbey/sun_001.jpg 0\n")


def _nothing(root):
    shutil.rmtree(root)
    root.mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_class, r"(SUN397/|\./) lacks 1 of the 3 class folders that ClassName\.txt names: a/apse/indoor$"),
        (_drop_class_and_names, r"(SUN397/|\./) has 2 class folders, not 3; unpack SUN397\.tar\.gz in "),
        (
            _drop_image,
            r"1 class with fewer than SUN397's minimum of 100 images: a/abbey 99; was the download cut short\?",
        ),
        (_no_text, r"ClassName\.txt: cannot be read"),
        (_own_list, r"test\.txt already there with other content"),
        (_nothing, r"\./ has no class folders LETTER/CLASS/; unpack"),
    ],
)
def test_what_is_refused(root, damage, message):
    damage(root)
    before = contents(root)
    with pytest.raises(DataProblem, match=message):
        prepare_sun_lt(root, None, QUIET)
    assert contents(root) == before


def test_by_command(root, tmp_path_factory):
    lists = tmp_path_factory.mktemp("lists")
    before = contents(root)
    arguments = ["data", "prepare", "sun-lt", "--root", str(root), "--lists", str(lists), "--json", "-q"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["counts"] == {"train": 29, "val": 30, "test": 120}
    assert contents(root) == before
    assert len(open_lists("sun-lt", root, lists)[0]["test"]) == 120


def test_no_such_folder(tmp_path):
    with pytest.raises(DataProblem, match=r"none: no such folder; give --root"):
        prepare_sun_lt(tmp_path / "none", None, QUIET)
