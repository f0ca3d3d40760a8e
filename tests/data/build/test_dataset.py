"""`oltr data build`: what becomes of folders and tables of photographs, kind by kind, and a run on the outcome."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.display import Display
from oltr_cli.data.build import find as build_find
from oltr_cli.data.build import screen as build_check
from oltr_cli.data.build import write as build_write
from oltr_cli.data.build.dataset import Wish, build_dataset
from oltr_cli.data.build.find import listable
from oltr_cli.data.build.recipe import Sizing, recipe_text
from oltr_cli.data.build.split import Held, Tail
from oltr_cli.data.feed.loading import evaluation_batches
from oltr_cli.data.feed.opening import open_dataset
from oltr_cli.data.images import decode_pixels
from oltr_cli.data.lists.lists import read_list
from oltr_cli.data.prepare.variants import variant_recipe
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.planning.plan import plan
from oltr_cli.recipe.files import built_datasets
from tests.conftest import write_image

SPLITS = ("train", "val", "test", "open", "open_val")
_numbers = itertools.count()


def photo(path, number=None):
    """A picture of 6×6 pixels, unlike all others unless it is given a number."""
    number = next(_numbers) if number is None else number
    pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG")
    return path


def photos(root, counts):
    """Class folders with so many pictures each."""
    for name, count in counts.items():
        for i in range(count):
            photo(root / name / f"{i:03}.png")
    return root


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty $OLTR_DATA, and $OLTR_RUNS."""
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    return tmp_path / "data"


@pytest.fixture
def build(home, capsys):
    """Build ``images`` as they are, with the fields of ``Wish`` given by name."""

    def built(images, name="mine", force=False, **wish):
        return build_dataset(Wish(images, **wish), home / name, Display(quiet=True), force)

    return built


def lists(folder):
    """split → [(path, label)] of what was written."""
    found = {}
    for split in SPLITS:
        if (folder / f"{split}.txt").exists():
            names, labels = read_list(folder / f"{split}.txt")
            found[split] = list(zip(names, labels.tolist(), strict=True))
    return found


def by_class(pairs):
    """How many of each label."""
    labels = [label for _, label in pairs]
    return {label: labels.count(label) for label in sorted(set(labels))}


def said(report, text):
    """The one warning that holds ``text``."""
    (warning,) = [warning for warning in report.warnings if text in warning]
    return warning


# --- splits --------------------------------------------------------------------------------------------------------


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


def test_images_that_join_later_leave_most_where_they_are(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 100, "b": 100})
    before = lists(build(root).folder)
    photo(root / "a" / "new.png")
    photo(root / "b" / "0000.png")
    after = lists(build(root, force=True).folder)
    stayed = sum(len(set(before[split]) & set(after[split])) for split in before)
    assert stayed >= 194


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


# --- open images ---------------------------------------------------------------------------------------------------


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


def test_open_inside_of_images_is_not_known(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 5, "b": 5, "strangers/x": 4, "strangers/y": 4})
    report = build(root, open_images=root / "strangers")
    assert report.classes == 2
    assert report.counts["open"] + report.counts["open_val"] == 8


def test_images_inside_of_open_are_known(build, tmp_path):
    root = photos(tmp_path / "all", {"known/a": 5, "known/b": 5, "x": 4, "y": 4})
    report = build(root / "known", open_images=root)
    assert report.classes == 2
    assert report.counts["open"] + report.counts["open_val"] == 8
    assert not any("left out" in warning for warning in report.warnings)


def test_the_same_folder_is_not_known_and_open(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 5, "b": 5})
    with pytest.raises(UsageProblem, match="the same folder"):
        build(root, open_images=tmp_path / "in" / ".." / "in")


# --- folders -------------------------------------------------------------------------------------------------------


def test_names_of_all_kinds_come_back(build, tmp_path):
    root = tmp_path / "in"
    for folder in ("Vögel/Käuze", "two  words", "日本", "a=1, 'b' #2"):
        for name in ("1 ö.png", "2.PNG", "x.JpEg"):
            photo(root / folder / name)
    report = build(root, "Meine Fotos 2")
    dataset = open_dataset(plan("dme", "Meine Fotos 2", [], 0)[-1].link.recipe.data)
    assert dataset.class_names == ["Vögel/Käuze", "a=1, 'b' #2", "two  words", "日本"]
    assert sum(map(len, dataset.splits.values())) == 12
    for split in dataset.splits.values():
        for i in range(len(split)):
            assert split.image(i).shape == (3, 6, 6)
    assert report.warnings == [said(report, "give --open")]


def test_loose_nested_hidden_and_other_files(build, tmp_path):
    root = photos(tmp_path / "in", {"birds": 4, "birds/owls": 4, "cats": 4, ".": 2, ".trash": 3, "@eaDir/cats": 2})
    photo(root / "cats" / "._shadow.png")
    for name in ("cats/movie.mp4", "cats/IMG_1.HEIC", "cats/IMG_2.heic", "cats/README", "list.txt"):
        (root / name).touch()
    report = build(root)
    assert (report.folder / "classes.txt").read_text() == "000000 birds\n000001 birds/owls\n000002 cats\n"
    assert sum(report.counts.values()) == 12
    assert said(report, "that are not in a class folder").endswith("(2)")
    assert "birds/owls" in said(report, "inside another class folder")
    assert ".heic 2, no suffix 1, .mp4 1; convert HEIC" in said(report, "by their suffix (4)")


def test_links_to_folders_end_and_count_once(build, tmp_path):
    root = photos(tmp_path / "in", {"real": 5, "b": 5})
    outside = photos(tmp_path / "elsewhere", {".": 4})
    (root / "a-link").symlink_to(root / "real")
    (root / "b" / "loop").symlink_to(root)
    (root / "outside").symlink_to(outside)
    (outside / "back").symlink_to(root / "b")
    report = build(root)
    assert (report.folder / "classes.txt").read_text() == "000000 b\n000001 outside\n000002 real\n"
    assert sum(report.counts.values()) == 14
    assert "a-link, b/loop, outside/back" in said(report, "links to folders")


def test_folders_that_cannot_be_read_are_named(build, tmp_path, monkeypatch):
    root = photos(tmp_path / "in", {"a": 5, "b": 5, "locked": 5})
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(build_find.os, "scandir", refuse)
    report = build(root)
    assert report.classes == 2
    assert f"{root / 'locked'} (Permission denied)" in said(report, "folders that cannot be read")


def test_paths_that_no_list_can_hold(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 5, "b": 5, "two\nlines": 3, "sep\u2028arated": 3, " blank": 3, "c:": 3})
    photo(root / "a" / "line\rbreak.png")
    photo(root / "a" / "x\\..\\y.png")
    photo(Path(os.fsdecode(os.fsencode(root / "a") + b"/latin-\xe4.png")))
    report = build(root)
    assert (report.folder / "classes.txt").read_text() == "000000 a\n000001 b\n"
    assert sum(report.counts.values()) == 10
    warning = said(report, "a list cannot hold")
    assert "(15)" in warning
    assert "\n" not in warning
    warning.encode()
    open_dataset(plan("dme", "mine", [], 0)[-1].link.recipe.data)


@pytest.mark.parametrize("name", ["/a", "\\a", "c:x", "a/../b", " a", "a ", "a\n", "a\x85b", "\udcff", "\u3000a"])
def test_listable_says_what_lists_cannot_name(name):
    assert not listable(name)


def test_listable_says_what_they_can():
    assert all(map(listable, ("a", "ä b/..c", "ab:c", "a\tb", ".a")))


def test_wrong_folders_are_named(build, tmp_path):
    for name, what in (("nowhere", "folder"), ("nowhere.csv", "file")):
        with pytest.raises(DataProblem, match=rf"--images .*{name}: no such {what}$"):
            build(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataProblem, match=r"--images .*notes\.txt: not a folder and not a \.csv file"):
        build(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataProblem, match=r"--images .*empty: has no images \(\*\.avif|\*\.bmp"):
        build(tmp_path / "empty")
    with pytest.raises(DataProblem, match="has no class folders"):
        build(photos(tmp_path / "flat", {".": 3}))
    with pytest.raises(DataProblem, match=r"--open .*empty: has no images"):
        build(photos(tmp_path / "in", {"a": 5, "b": 5}), open_images=tmp_path / "empty")
    with pytest.raises(DataProblem, match=r"--open .*nowhere: no such folder$"):
        build(tmp_path / "in", open_images=tmp_path / "nowhere")


def test_nothing_is_touched(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    (root / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in root.rglob("*") if path.is_file()}
    build(root)
    build(root, "decoded", decode=True)
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in root.rglob("*") if path.is_file()}
    assert after == before


# --- what is left out ----------------------------------------------------------------------------------------------


def test_unreadable_files_are_left_out_and_named(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    cut = root / "a" / "000.png"
    cut.write_bytes(cut.read_bytes()[:-60])
    (root / "a" / "empty.jpg").touch()
    (root / "b" / "text.gif").write_text("no image")
    report = build(root)
    assert sum(report.counts.values()) == 10
    warning = said(report, "unreadable files (3)")
    for part in ("a/000.png: cannot be decoded (", "a/empty.jpg: cannot be decoded (not an image)", "b/text.gif"):
        assert part in warning


def test_damage_in_the_middle_is_found_by_decoding(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    damaged = root / "a" / "000.png"
    content = bytearray(damaged.read_bytes())
    content[60:70] = b"\0" * 10
    damaged.write_bytes(content)
    assert sum(build(root, decode=False).counts.values()) == 11
    for name, decode in (("decoded", True), ("by itself", None)):
        report = build(root, name, decode=decode)
        assert sum(report.counts.values()) == 10
        assert "a/000.png" in said(report, "unreadable files (1)")


def test_many_bytes_are_decoded_on_demand_only(home, tmp_path, monkeypatch, capsys):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    total = sum(path.stat().st_size for path in root.rglob("*.png"))
    decoded = []
    monkeypatch.setattr(build_check, "decode_pixels", lambda path: decoded.append(path) or decode_pixels(path))
    for limit, decode, expected in ((total, None, 11), (total - 1, None, 0), (total - 1, True, 11), (total, False, 0)):
        monkeypatch.setattr(build_check, "QUICK", limit)
        decoded.clear()
        build_dataset(Wish(root, decode=decode), home / "mine", Display())
        assert len(decoded) == expected
        assert ("--decode checks all pixels" in capsys.readouterr().err) == (decode is None and not expected)


def test_a_class_of_broken_files_is_none(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    (root / "c").mkdir()
    (root / "c" / "x.jpg").touch()
    assert build(root).classes == 2


def test_one_of_several_copies_stays(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    for name in ("copy.png", "a copy.PNG"):
        shutil.copy(root / "a" / "000.png", root / "a" / name)
    (root / "b" / "link.png").symlink_to(root / "b" / "001.png")
    report = build(root)
    assert sum(report.counts.values()) == 11
    assert "copies of another file of their class (3): a/a copy.PNG, a/copy.png, b/link.png" in said(report, "copies")


def test_an_image_of_two_classes_is_of_none(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5, "c": 4})
    open_ = photos(tmp_path / "open", {"x": 4})
    shutil.copy(root / "a" / "000.png", root / "b" / "other name.png")
    shutil.copy(root / "c" / "000.png", open_ / "x" / "same.png")
    shutil.copy(root / "c" / "000.png", open_ / "x" / "same again.png")
    report = build(root, open_images=open_)
    assert sum(report.counts.values()) == 15 + 4 - 2
    warning = said(report, "the same image in several classes, or both known and open (5)")
    assert "in/a/000.png, in/b/other name.png" in warning
    used = {name for pairs in lists(report.folder).values() for name, _ in pairs}
    assert not used & {"in/a/000.png", "in/b/other name.png", "in/c/000.png", "open/x/same.png"}


def test_large_photographs_are_pointed_out(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 1})
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (root / name).parent.mkdir(exist_ok=True)
        Image.new("1", (1200 + next(_numbers), 1000)).save(root / name)
    assert "1,000 px or more" in said(build(root), "decoding will slow training down")


def test_warnings_are_shown_before_the_error_that_they_explain(home, tmp_path, capsys):
    root = photos(tmp_path / "in", {"a": 4})
    (root / "b").mkdir()
    (root / "b" / "x.jpg").touch()
    with pytest.raises(DataProblem, match="1 known class with"):
        build_dataset(Wish(root), home / "mine", Display(quiet=True))
    assert "warning: left out, unreadable files (1): b/x.jpg" in capsys.readouterr().err


# --- CSV -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    """A function that writes a CSV beside ten pictures of no folder of their own."""
    for i in range(10):
        photo(tmp_path / "csv" / "pics" / f"{i}.png")

    def write(text, encoding="utf-8"):
        path = tmp_path / "csv" / "Labels.CSV"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def rows(first="", label="ab", start=0):
    return first + "".join(f"pics/{i}.png,{label[i % 2]}\n" for i in range(start, 10))


@pytest.mark.parametrize("header", ["", "\ufeff", "path,label\n", "\ufeffDatei,Klasse\r\n", "\n\nid,species\n"])
def test_a_csv_with_and_without_header(build, table, header):
    report = build(table(rows(header)))
    assert (report.classes, sum(report.counts.values())) == (2, 10)
    assert (report.folder / "classes.txt").read_text() == "000000 a\n000001 b\n"


def test_a_csv_of_absolute_quoted_and_strange_paths(build, table, tmp_path):
    photo(tmp_path / "elsewhere" / "a, b.png")
    text = (
        rows(start=2) + f'"{tmp_path}/elsewhere/a, b.png"," Eule, große "\n./pics/../pics/0.png, b\n\n pics/1.png ,b\n'
    )
    report = build(table(text))
    assert (report.folder / "classes.txt").read_text() == "000000 Eule, große\n000001 a\n000002 b\n"
    assert sum(report.counts.values()) == 11
    names = {name for pairs in lists(report.folder).values() for name, _ in pairs}
    assert {"elsewhere/a, b.png", "csv/pics/0.png", "csv/pics/1.png"} <= names


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("pics/0.png;a\npics/1.png;b\n", r"Labels\.CSV:2: not 'path,label': .*semicolons; save it with commas"),
        ("path;label\npics/0.png;a\n", r":2: .*semicolons"),
        ("path\tlabel\npics/0.png\ta\n", r":2: .*tabs"),
        ("pics/0.png,a\npics/none.png,b\n", r":2: no such image .*none\.png$"),
        ("pics/none.png,a\n", r":1: no such image .*none\.png$"),
        ("path,label\na,pics/0.png\n", ":2: no such image .*the path comes first"),
        ("path,label\nmissing,a\n", ":2: no such image"),
        ("pics/0.png,a,extra\n", r":1: .*3 columns; put a path or label that contains a comma in double quotes"),
        ("pics/0.png,\n", ":1: not 'path,label'"),
        ('pics/0.png,"a\nb"\n', "contains a line break"),
        ("path,label\n", "lists no image"),
        ("", "lists no image"),
        ("pics/0.png,a\0b\n", "no class has three|1 known class with|cannot be read"),
    ],
)
def test_a_csv_that_says_something_else(build, table, text, problem):
    with pytest.raises(DataProblem, match=problem):
        build(table(text))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_csv_of_another_encoding(build, table, encoding):
    with pytest.raises(DataProblem, match="not UTF-8 text; save it as 'CSV UTF-8'"):
        build(table(rows("path,Käfer\n"), encoding))


def test_one_path_under_two_labels_is_of_none_and_twice_under_one_is_one(build, table):
    report = build(table(rows() + "pics/0.png,b\npics/1.png,b\n"))
    assert sum(report.counts.values()) == 9
    assert said(report, "the same image in several classes").endswith("(1): 0.png")


# --- where it goes -------------------------------------------------------------------------------------------------


def test_the_same_arguments_again_write_nothing(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    first = build(root)
    assert set(first.written) == {"train.txt", "val.txt", "test.txt", "classes.txt", "recipe.toml"}
    times = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    assert build(root).written == []
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == times


def test_lists_of_another_build_are_replaced_by_force_only(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    folder = build(root, open_images=photos(tmp_path / "open", {"x": 3, "y": 3})).folder
    before = {path: path.read_text() for path in folder.iterdir()}
    with pytest.raises(DataProblem, match=r"holds another build \(.*open\.txt.*\); use --force to replace it"):
        build(root, seed=1)
    assert {path: path.read_text() for path in folder.iterdir()} == before
    build(root, force=True, seed=1)
    assert not (folder / "open.txt").exists()
    assert lists(folder)["train"] != before[folder / "train.txt"]
    assert {path.name for path in folder.iterdir()} == {f"{s}.txt" for s in ("train", "val", "test", "classes")} | {
        "recipe.toml",
        "recipe.old.toml",
    }
    assert (folder / "recipe.old.toml").read_text() == before[folder / "recipe.toml"]


def test_an_edited_recipe_is_kept_whatever_comes(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    first = build(root)
    recipe = first.folder / "recipe.toml"
    written, times = recipe.read_text(), {path: path.stat().st_mtime_ns for path in first.folder.glob("*.txt")}
    edited = written.replace("flip = true ", "flip = false")
    recipe.write_text(edited)
    for again in ({}, {"sizing": Sizing(32)}):
        with pytest.raises(
            DataProblem, match=r"the lists are unchanged, but recipe\.toml differs \(edited, or other opt"
        ):
            build(root, **again)
    assert recipe.read_text() == edited
    report = build(root, force=True)
    assert (report.written, report.kept) == (["recipe.toml"], "recipe.old.toml")
    assert recipe.read_text() == written
    assert (first.folder / "recipe.old.toml").read_text() == edited
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert build(root, force=True).kept == ""
    assert build(root, force=True, seed=1).kept == "recipe.old2.toml"
    assert (first.folder / "recipe.old.toml").read_text() == edited
    assert list(built_datasets()) == ["mine"]


def test_a_missing_list_is_no_edited_recipe(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    folder = build(root).folder
    (folder / "recipe.toml").write_text((folder / "recipe.toml").read_text() + "\n")
    (folder / "test.txt").unlink()
    with pytest.raises(DataProblem, match=r"holds another build \(recipe\.toml\)"):
        build(root)


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        (
            variant_recipe("ms1m-lt", "mine", "of another size."),
            r"recipe\.toml: not written by oltr data build \(.* another --out",
        ),
        ('data = "x"\n', r"recipe\.toml: not written by oltr data build"),
        ("[data\n", r"recipe\.toml: not valid TOML .*; fix it, or choose another --out"),
        ('name = "\udce4"', r"recipe\.toml: not valid TOML .*; fix it, or choose another --out"),
    ],
)
def test_a_dataset_that_something_else_wrote_stays(build, home, tmp_path, recipe, problem):
    (home / "mine").mkdir(parents=True)
    for name, text in {"recipe.toml": recipe, "train.txt": "x.png 0\n", "probe.txt": "y.png 0\n"}.items():
        (home / "mine" / name).write_text(text, errors="surrogateescape")
    before = {path: path.read_bytes() for path in (home / "mine").iterdir()}
    for force in (False, True):
        with pytest.raises(DataProblem, match=problem):
            build(tmp_path / "is not looked at", force=force)
    assert {path: path.read_bytes() for path in (home / "mine").iterdir()} == before


def test_a_run_on_one_build_is_no_run_on_another(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    recipe = build(root, open_images=photos(tmp_path / "open", {"x": 3, "y": 3})).folder / "recipe.toml"
    first = plan("plain", str(recipe), [], 0)[0]
    assert open_dataset(first.link.recipe.data).digest == first.link.recipe.data.lists_digest
    build(root, force=True, seed=1)
    second = plan("plain", str(recipe), [], 0)[0]
    assert open_dataset(second.link.recipe.data).digest == second.link.recipe.data.lists_digest
    assert second.link.hash != first.link.hash


def test_lists_that_were_changed_by_hand_are_pointed_out(build, tmp_path):
    folder = build(photos(tmp_path / "in", {"a": 6, "b": 5})).folder
    data = plan("plain", str(folder / "recipe.toml"), [], 0)[0].link.recipe.data
    train = (folder / "train.txt").read_text().splitlines()
    (folder / "train.txt").write_text("\n".join(train[:-1]) + "\n")
    with pytest.raises(DataProblem, match="not those its recipe was made for") as caught:
        open_dataset(data)
    (digest,) = re.findall('lists_digest = "([0-9a-f]{64})"', str(caught.value))
    assert open_dataset(data.model_copy(update={"lists_digest": digest})).digest == digest


def test_lists_that_something_else_wrote_stay(build, home, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    home.mkdir()
    (home / "mine").mkdir()
    (home / "mine" / "test.txt").write_text("x.png 0\n")
    for force in (False, True):
        with pytest.raises(DataProblem, match=r"already has test\.txt, not from a finished build; remove them"):
            build(root, force=force)
    assert [path.name for path in (home / "mine").iterdir()] == ["test.txt"]


@pytest.mark.parametrize("writes", range(5))
def test_a_kill_between_two_files_never_leaves_a_dataset_of_two_builds(build, tmp_path, monkeypatch, writes):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    edited = build(root).folder / "recipe.toml"
    edited.write_text(edited.read_text() + "\n# mine\n")
    text = edited.read_text()
    write, done = build_write.write_text, []

    def killed(path, text):
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(path)
        write(path, text)

    monkeypatch.setattr(build_write, "write_text", killed)
    photos(root, {"c": 4})
    with pytest.raises(KeyboardInterrupt):
        build(root, force=True)
    assert built_datasets() == {}
    monkeypatch.setattr(build_write, "write_text", write)
    assert build(root, force=True).classes == 3
    assert list(built_datasets()) == ["mine"]
    assert {path.name for path in (tmp_path / "data" / "mine").iterdir() if path.name[0] == "."} == set()
    assert edited.with_name("recipe.old.toml").read_text() == text


def test_a_kill_before_the_old_recipe_has_its_name_loses_neither(build, tmp_path, monkeypatch):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    recipe = build(root).folder / "recipe.toml"
    first = recipe.read_text()

    def killed(_):
        raise KeyboardInterrupt

    def kill(**wish):
        with monkeypatch.context() as patch:
            patch.setattr(build_write, "_keep", killed)
            with pytest.raises(KeyboardInterrupt):
                build(root, force=True, **wish)

    kill(seed=1)
    second = recipe.read_text()
    assert list(built_datasets()) == ["mine"]  # it is whole, and only the old one has no name yet
    report = build(root, force=True, seed=2)
    assert recipe.with_name("recipe.old.toml").read_text() == first
    assert recipe.with_name(report.kept).read_text() == second
    kill(seed=3)
    assert build(root, seed=3).kept == "recipe.old3.toml"  # the same command again, without --force
    assert not [path for path in recipe.parent.iterdir() if path.name[0] == "."]


def test_a_first_build_that_was_killed_goes_on(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    folder = build(root).folder
    for name in ("recipe.toml", "classes.txt"):
        (folder / name).unlink()
    assert set(build(root).written) == {"classes.txt", "recipe.toml"}


@pytest.mark.parametrize("name", ["glyphs-lt", "tiny-imagenet-lt"])
def test_names_of_built_in_datasets_are_taken(build, tmp_path, name):
    with pytest.raises(UsageProblem, match="is a built-in dataset"):
        build(tmp_path, name)


@pytest.mark.parametrize("name", ["-x", ".x", "a*b", "a\nb", "a:b", "..", "a#", "x\n"])
def test_names_that_are_none(build, tmp_path, name):
    with pytest.raises(UsageProblem, match="a name must start with a letter or digit"):
        build(tmp_path, name)


def test_a_file_in_the_way(build, home, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    home.mkdir()
    (home / "mine").touch()
    with pytest.raises(UsageProblem, match="is a file"):
        build(root)
    with pytest.raises(OltrError, match="cannot write") as caught:
        build(root, "mine/below")
    assert caught.value.exit_code == 1


def test_a_folder_that_cannot_be_written(build, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "/x/.train.txt.9tb69vii.tmp")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(OltrError, match=r"write .*/train\.txt: Permission denied; an existing file") as caught:
        build(photos(tmp_path / "in", {"a": 6, "b": 5}))
    assert ".tmp" not in str(caught.value)


def test_lists_may_lie_among_the_images(build, home):
    photos(home / "mine", {"a": 6, "b": 5})
    assert build(home / "mine").written
    assert build(home / "mine").written == []
    assert len(lists(home / "mine")["train"]) == 7


# --- the recipe ----------------------------------------------------------------------------------------------------


def resolved(tmp_path, counts, side, sizing=None, name="mine"):
    """The recipe of dme for so many training images of each class, with the steps of both stages."""
    path = tmp_path / "r.toml"
    text = recipe_text(name, tmp_path, tmp_path, "0" * 64, counts, [side], sizing or Sizing(), True)
    path.write_text(text, encoding="utf-8")
    return [p.link.recipe for p in plan("dme", str(path), [], 0)]


@pytest.mark.parametrize("side", [8, 16, 20, 28, 32, 47, 50, 64, 80, 500, 4000])
def test_images_are_not_enlarged(tmp_path, side):
    data = resolved(tmp_path, [50, 9], side)[0].data
    assert data.image_size <= max(side, 16)
    assert data.image_size >= min(64, side - 3)
    assert data.image_size <= data.eval_resize <= max(side, data.image_size)
    assert data.eval_resize == (73 if side >= 73 else data.image_size)


@pytest.mark.parametrize(
    "counts",
    [[1, 1], [6, 2], [4, 3, 2, 1], [24, 12, 6, 2, 1, 1], [5] * 300, [400, 300, 9], [1280, 40, 5] * 100, [60_000] * 2],
)
def test_the_schedule_fits_the_number_of_images(tmp_path, counts):
    images = sum(counts)
    for recipe in resolved(tmp_path, counts, 64):
        train = recipe.train
        steps = max(1, images // train.batch_size) * train.epochs
        assert train.batch_size <= max(16, images // 16)
        assert train.batch_size % train.images_per_class == 0
        if recipe.method == "plain":
            assert 10 <= train.epochs <= 60
            assert steps >= 1700 or train.epochs == 60
            assert steps <= 2700 or train.epochs == 10
            assert train.lr["features"] == pytest.approx(0.2 * train.batch_size / 128)
        else:
            assert 5 <= train.epochs <= 25
            assert steps >= 500 or train.epochs == 25


def test_pre_trained_weights_change_size_network_and_rate(tmp_path):
    recipe = resolved(tmp_path, [50, 9], 500, Sizing(weights="torchvision"))[0]
    assert (recipe.data.image_size, recipe.data.eval_resize) == (224, 256)
    assert (recipe.backbone.name, recipe.backbone.stem) == ("resnet18", "imagenet")
    assert recipe.train.lr["features"] < recipe.train.lr["classifier"]
    small = resolved(tmp_path, [50, 9], 40, Sizing(weights="torchvision"))[0]
    assert (small.data.image_size, small.backbone.stem) == (40, "imagenet")
    weights = tmp_path / 'w "1".pth'
    weights.touch()
    chosen = resolved(tmp_path, [50, 9], 500, Sizing(96, "resnet50", str(weights)))[0]
    assert (chosen.data.image_size, chosen.backbone.name) == (96, "resnet50")
    assert chosen.backbone.weights == str(weights)


@pytest.mark.parametrize(
    ("sizing", "problem"),
    [
        ({"backbone": "resnet11"}, "--backbone resnet11: .*'resnet10'"),
        ({"weights": "nowhere.pth"}, "--weights nowhere.pth: no such file"),
        ({"weights": "torchvision", "backbone": "resnet10"}, "torchvision has none for resnet10"),
    ],
)
def test_networks_and_weights_that_there_are_not(sizing, problem):
    with pytest.raises(UsageProblem, match=problem):
        Sizing(**sizing)


def test_paths_of_all_kinds_stand_in_the_recipe(build, tmp_path):
    root = photos(tmp_path / 'q"uo\\te\x7f ü' / "in", {"a": 6, "b": 5})
    report = build(root)
    recipe = plan("dme", "mine", [], 0)[-1].link.recipe
    assert recipe.data.root == str(root)
    assert recipe.data.lists == str(report.folder)


# --- the command ---------------------------------------------------------------------------------------------------


def invoke(*arguments):
    return CliRunner().invoke(app, ["data", "build", *map(str, arguments)])


def test_by_command(home, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5, "c": 4, "7": 3})
    done = invoke("--images", root, "--as-is", "--open-classes", "7,", "--out", "mine")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:2] == [f"mine: 3 classes in {home / 'mine'}", "  train           9  2–4 a class"]
    assert "next  oltr run dme --dataset mine" in done.stderr
    again = invoke("--images", root, "--open-classes", "1", "--max", 2, "--min", 1, "--out", "tail", "--json", "-q")
    report = json.loads(again.stdout)
    assert report["per_class"]["train"] == [1, 2]
    assert report["folder"] == str(home / "tail")
    assert report["unused"] > 0
    assert "next" not in again.stderr
    other = invoke("--images", root, "--as-is", "--out", tmp_path / "a b" / "there")
    assert f"next  oltr run dme --recipe '{tmp_path}/a b/there/recipe.toml'" in other.stderr
    assert "is kept" not in other.stderr
    (home / "mine" / "recipe.toml").write_text((home / "mine" / "recipe.toml").read_text() + "\n")
    forced = invoke("--images", root, "--as-is", "--open-classes", "7,", "--out", "mine", "--no-decode", "--force")
    assert "the recipe that was there is kept as recipe.old.toml" in forced.stderr


def test_counts_of_one_are_singular(home, tmp_path):
    root = photos(tmp_path / "in", {"a": 6})
    done = invoke("--images", root, "--as-is", "--out", "mine")
    assert "1 known class with readable images" in str(done.exception)
    done = invoke("--images", root, "--as-is", "--open-classes", 2, "--out", "mine")
    assert str(done.exception) == "--open-classes 2: there is 1 class"


@pytest.mark.parametrize("images", ["in", "nowhere"])
def test_torch_is_not_waited_for(home, tmp_path, images):
    photos(tmp_path / "in", {"a": 6, "b": 5})
    arguments = ["data", "build", "--images", str(tmp_path / images), "--as-is", "--out", "mine"]
    code = (
        "import sys; from typer.testing import CliRunner; from oltr_cli.app import app\n"
        f"done = CliRunner().invoke(app, {arguments})\n"
        "print(done.exit_code, type(done.exception).__name__, {'torch', 'torchvision'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == ("0 NoneType set()\n" if images == "in" else "1 DataProblem set()\n")


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_image_that_a_run_cannot_decode_is_named_with_a_remedy(build, tmp_path, split):
    folder = build(photos(tmp_path / "in", {"a": 6, "b": 5})).folder
    data = plan("plain", "mine", [], 0)[0].link.recipe.data
    first = tmp_path / "in" / lists(folder)[split][0][0]
    content = bytearray(first.read_bytes())
    content[60:70] = b"\0" * 10
    first.write_bytes(content)
    images = open_dataset(data).splits[split]
    for changes, check in (
        ({}, "mine --decode"),
        ({"root": f"{tmp_path}/a b"}, f"mine --root '{tmp_path}/a b' --decode"),
        ({"name": "other", "root": "", "lists": ""}, "RECIPE.toml --decode"),
    ):
        with pytest.raises(DataProblem) as caught:
            list(evaluation_batches(images, data.model_copy(update=changes), 4, 0))
        said = str(caught.value)
        assert said.startswith(f"{first}: cannot be decoded (")
        assert "; repair or replace the file, then the same command resumes from its last checkpoint; " in said
        assert said.endswith(f"oltr data check {check}")
    assert CliRunner().invoke(app, ["data", "check", "mine", "--decode"]).exit_code == 3


@pytest.mark.parametrize("option", ["--alpha", "--max", "--min"])
def test_a_tail_is_kept_or_drawn_not_both(home, tmp_path, option):
    done = invoke("--images", tmp_path, "--as-is", option, 6, "--out", "mine")
    assert isinstance(done.exception, UsageProblem)
    assert "leave out --alpha, --max and --min" in str(done.exception)


@pytest.mark.parametrize("out", ["", ".", "./", "/", "a/.."])
def test_out_is_a_name(home, tmp_path, out):
    done = invoke("--images", tmp_path, "--as-is", "--out", out)
    assert isinstance(done.exception, UsageProblem)
    assert str(done.exception).startswith("--out ")


def test_a_run_on_photographs_of_ones_own(oltr, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for label, count in enumerate((20, 12, 8, 5, 2, 1)):
        for i in range(count):
            write_image(tmp_path / "in" / f"Art {label}" / f"{i}.PNG", label, rng)
    for label in (7, 11):
        for i in range(4):
            write_image(tmp_path / "open" / f"{label}" / f"{i}.png", label, rng)
    (tmp_path / "in" / "Art 0" / "broken.jpg").touch()
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    arguments = ("--images", tmp_path / "in", "--open", tmp_path / "open", "--as-is", "--out", "my own")
    assert invoke(*arguments).exit_code == 0
    sets = ("plain.train.epochs=1", "train.epochs=1", "backbone.width=8")
    run = oltr(
        *("run", "dme", "--dataset", "my own", "--json", "--workers", 0),
        *itertools.chain.from_iterable(("--set", value) for value in sets),
        OLTR_DATA=str(tmp_path / "data"),
    )
    assert "warning" not in run.stderr
    result = json.loads(run.stdout)
    assert result["class_names"] == [f"Art {label}" for label in range(6)]
    assert result["class_counts"] == [14, 9, 5, 3, 1, 1]
    assert result["undecodable"] == []
    metrics = result["metrics"]
    assert (metrics["closed/many"], metrics["closed/medium"]) == (None, None)
    # Every class is few-shot, and the last has no test image: the group's mean is over the other five.
    scores = np.load(tmp_path / "runs" / result["run"] / "scores" / "test.npz")
    per_class = [(scores["prediction"] == scores["labels"])[scores["labels"] == label].mean() for label in range(5)]
    assert metrics["closed/few"] == pytest.approx(np.mean(per_class))
    assert set(scores["labels"].tolist()) == set(range(5))
    assert 0 <= metrics["open/auroc"] <= 1
    tuned = CliRunner().invoke(app, ["tune", "threshold", "--dataset", "my own", "--trials", "2", "--json"])
    assert [run["run"].split("/")[1] for run in json.loads(tuned.stdout)["runs"]] == ["dme", "plain"]
    listed = CliRunner().invoke(app, ["ls", "datasets", "--json"])
    assert "my own" in {row["name"] for row in json.loads(listed.stdout)["datasets"]}
    assert CliRunner().invoke(app, ["show", "my own"]).exit_code == 0
    compared = CliRunner().invoke(app, ["compare", "--dataset", "my own", "--json"])
    assert {row["method"] for row in json.loads(compared.stdout)["rows"] if row["status"] == "measured"} >= {"plain"}
