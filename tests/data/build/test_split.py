"""Shares for validation and test, tails that are drawn, and classes set aside as unknown."""

import os
import shutil

import pytest

from oltr_cli.data.build import find as build_find
from oltr_cli.data.build.split import Held, Tail
from oltr_cli.data.feed.opening import open_dataset
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.planning.plan import plan
from tests.helpers.photographs import by_class, lists, photo, photos, said


def test_as_is_every_image_is_used_once_and_the_tail_stays(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 40, "b": 10, "c": 5, "d": 4, "e": 3, "f": 2, "g": 1})
    report = build(root)
    found = lists(report.folder)
    assert set(found) == {"train", "val", "test"}
    names = [name for pairs in found.values() for name, _ in pairs]
    assert sorted(names) == sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    assert by_class(found["test"]) == {0: 8, 1: 2, 2: 1, 3: 1, 4: 1, 5: 1}
    assert by_class(found["val"]) == {0: 4, 1: 1, 2: 1, 3: 1, 4: 1}
    assert by_class(found["train"]) == {0: 28, 1: 7, 2: 3, 3: 2, 4: 1, 5: 1, 6: 1}
    assert said(report, "fewer than 2 images").endswith("none in test (1 of 7): g")
    assert said(report, "fewer than 3 images").endswith("none in val (2 of 7): f, g")
    assert report.counts == {split: len(pairs) for split, pairs in found.items()}
    assert report.per_class == {"train": (1, 28), "val": (0, 4), "test": (0, 8)}
    assert report.shots == {"many": 0, "medium": 1, "few": 6}
    assert report.unused == 0


@pytest.mark.parametrize(("val", "test"), [(0.1, 0.2), (0.45, 0.5), (0.01, 0.01), (0.3, 0.3)])
def test_shares_leave_every_class_something_to_train_on(val, test):
    held = Held(val, test)
    for n in range(1, 300):
        v, t = held.of(n)
        assert v + t < n
        assert (t >= 1) == (n >= 2)
        assert (v >= 1) == (n >= 3)
        if n > 50:
            assert abs(v - n * val) <= 1
            assert abs(t - n * test) <= 1


@pytest.mark.parametrize(("val", "test"), [(0, 0.2), (0.2, 0), (0.5, 0.5), (-0.1, 0.2), (float("nan"), 0.2)])
def test_shares_that_are_none(val, test):
    with pytest.raises(UsageProblem, match="must be above 0 and together leave images to train on"):
        Held(val, test)


def test_a_drawn_tail_is_held_against_balanced_validation_and_test(build, tmp_path):
    root = photos(tmp_path / "in", {f"c{k}": 50 for k in range(8)} | {"rich": 90, "small": 5})
    report = build(root, tail=Tail(alpha=2, maximum=30, minimum=3), held=Held(0.1, 0.2))
    found = lists(report.folder)
    assert by_class(found["val"]) == {**dict.fromkeys(range(9), 5), 9: 1}
    assert by_class(found["test"]) == {**dict.fromkeys(range(9), 10), 9: 1}
    train = by_class(found["train"])
    assert (train[8], train[9]) == (30, 3)  # the richest class is the head
    # n = 3 + 27 · (u^(−1/2) − 1) / (20^(1/2) − 1) at u = (i − ½)/10, and small has no more than 3
    quantiles = [3 + 27 * (((i + 0.5) / 10) ** -0.5 - 1) / (20**0.5 - 1) for i in range(10)]
    assert sorted(train.values(), reverse=True) == [round(n) for n in quantiles]
    used = [name for pairs in found.values() for name, _ in pairs]
    assert len(used) == len(set(used))
    assert report.unused == 495 - len(used) > 0


def test_a_smaller_alpha_is_a_steeper_tail():
    available = [500] * 50
    counts = [Tail(alpha, 400, 5).counts(available) for alpha in (1, 3, 6)]
    for one in counts:
        assert one == sorted(one, reverse=True)
        assert (one[0], one[-1]) == (400, 5 + (one[-1] - 5))
        assert one[-1] <= 7
    assert sum(counts[0]) < sum(counts[1]) < sum(counts[2])


def test_a_tail_takes_no_more_than_there_is():
    assert Tail().counts([9, 3, 2, 2]) == [9, 3, 2, 2]
    assert Tail(maximum=6, minimum=6).counts([9, 7, 2]) == [6, 6, 2]
    assert Tail(minimum=50).counts([9, 3]) == [9, 3]


@pytest.mark.parametrize(
    ("tail", "problem"),
    [
        ({"maximum": 4}, "--max 4 is below --min 5"),
        ({"minimum": 0}, "--min 0 must be at least 1"),
        ({"alpha": 0.0}, "--alpha 0.0 must be above 0"),
        ({"alpha": float("nan")}, "--alpha nan must be above 0"),
    ],
)
def test_tails_that_are_none(tail, problem):
    with pytest.raises(UsageProblem, match=problem):
        Tail(**tail)


def test_the_split_follows_from_names_and_seed_alone(build, tmp_path, monkeypatch):
    root = photos(tmp_path / "in", {"a": 20, "b": 9, "c": 6})
    open_ = photos(tmp_path / "open", {"x": 3, "y": 4, "z": 5})
    moved, open_moved = tmp_path / "elsewhere" / "in", tmp_path / "elsewhere" / "open"
    shutil.copytree(root, moved)
    shutil.copytree(open_, open_moved)
    first = lists(build(root, "first", open_images=open_, open_classes=1).folder)
    scandir = os.scandir

    class Backwards:
        def __init__(self, path):
            self.entries = sorted(scandir(path), key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return self.entries

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(build_find.os, "scandir", Backwards)
    assert lists(build(moved, "second", open_images=open_moved, open_classes=1).folder) == first
    monkeypatch.undo()
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    assert lists(build(root, "third", open_images=open_, open_classes=1, seed=1).folder) != first


def test_images_that_join_later_leave_the_others_in_their_split(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 100, "b": 7, "c": 1})
    before = lists(build(root).folder)
    for number in range(60):
        photo(root / "b" / f"new{number}.png")
    photo(root / "c" / "0000.png")
    report = build(root, force=True)
    after = lists(report.folder)
    for split in before:
        assert set(before[split]) <= set(after[split])
    assert report.as_before == 108
    assert [sum(label == 1 for _, label in after[split]) for split in ("train", "val", "test")] == [47, 7, 13]
    assert [name for name, label in after["test"] if label == 2] == ["c/0000.png"]  # the other is known to a run
    redrawn = lists(build(root, force=True, redraw=True, seed=1).folder)
    assert set(redrawn["test"]) & set(before["train"])


def test_without_three_images_in_any_class_there_is_no_validation(build, tmp_path):
    with pytest.raises(
        DataProblem, match="no class has three readable images, one each for training, validation and test"
    ):
        build(photos(tmp_path / "in", {"a": 2, "b": 2, "c": 1}))
    assert not (tmp_path / "data").exists()


def test_the_smallest_dataset_there_is(build, tmp_path):
    report = build(photos(tmp_path / "in", {"a": 3, "b": 1}))
    assert report.counts == {"train": 2, "val": 1, "test": 1}
    dataset = open_dataset(plan("dme", "mine", [], 0)[-1].link.recipe.data)
    assert dataset.class_counts.tolist() == [1, 1]


def test_one_class_is_not_enough(build, tmp_path):
    with pytest.raises(DataProblem, match="1 known class with readable images; at least two are needed"):
        build(photos(tmp_path / "in", {"a": 9, "b": 9}), open_classes=("b",))


def test_open_kinds_are_on_one_side_only(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 5, "b": 5})
    open_ = photos(tmp_path / "open", {f"k{i}": 4 for i in range(10)})
    found = lists(build(root, open_images=open_).folder)
    kinds = [{name.split("/")[1] for name, _ in found[split]} for split in ("open", "open_val")]
    assert [len(k) for k in kinds] == [7, 3]
    assert not kinds[0] & kinds[1]
    assert by_class(found["open"]) == {-1: 28}


@pytest.mark.parametrize(("count", "expected"), [(8, (6, 2)), (3, (2, 1)), (2, (1, 1))])
def test_one_kind_is_split_by_image(build, tmp_path, count, expected):
    root = photos(tmp_path / "in", {"a": 5, "b": 5})
    open_ = photos(tmp_path / "open", {".": count})
    report = build(root, open_images=open_)
    assert (report.counts["open"], report.counts["open_val"]) == expected
    assert said(report, "of one kind")


def test_one_open_image_is_tested(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 5, "b": 5})
    report = build(root, open_images=photos(tmp_path / "open", {".": 1}))
    assert report.counts["open"] == 1
    assert "open_val" not in report.counts
    assert said(report, "one open image")


def test_no_open_images_are_pointed_out(build, tmp_path):
    assert said(build(photos(tmp_path / "in", {"a": 5, "b": 5})), "give --open or --open-classes")


def test_classes_are_set_aside_by_name_and_by_number(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 4, "b": 5, "ü": 6, "d": 7, "e": 4})
    report = build(root, "named", open_classes=("u\u0308", "a"))  # ü as macOS writes it
    assert (report.folder / "classes.txt").read_text() == "000000 b\n000001 d\n000002 e\n"
    found = lists(report.folder)
    assert {name.split("/")[0] for name, label in found["open"] + found["open_val"]} == {"ü", "a"}
    assert len(found["open"]) + len(found["open_val"]) == 10
    drawn = build(root, "drawn", open_classes=2)
    assert drawn.classes == 3
    assert {drawn.counts["open"], drawn.counts["open_val"]} <= {4, 5, 6, 7}


@pytest.mark.parametrize(
    ("which", "problem"),
    [(("moht",), r"no class 'moht'; did you mean 'moth'\?"), (4, "--open-classes 4: there are 3 classes")],
)
def test_classes_that_cannot_be_set_aside(build, tmp_path, which, problem):
    with pytest.raises(UsageProblem, match=problem):
        build(photos(tmp_path / "in", {"moth": 3, "wasp": 3, "bee": 3}), open_classes=which)
