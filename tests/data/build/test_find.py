"""What folders and tables of photographs give, kind by kind."""

import os
from pathlib import Path

import pytest

from oltr_cli.data.build import find as build_find
from oltr_cli.data.build.find import listable
from oltr_cli.data.build.split import Tail
from oltr_cli.data.feed.opening import open_dataset
from oltr_cli.data.images import HEIC_SUFFIXES, SUFFIXES
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.planning.plan import plan
from tests.helpers.photographs import lists, photo, photos, said


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


def test_loose_nested_hidden_and_other_files(build, tmp_path, monkeypatch):
    monkeypatch.setattr(build_find, "SUFFIXES", SUFFIXES - HEIC_SUFFIXES)  # as without the extra
    root = photos(tmp_path / "in", {"birds": 4, "birds/owls": 4, "cats": 4, ".": 2, ".trash": 3, "@eaDir/cats": 2})
    photo(root / "cats" / "._shadow.png")
    for name in ("cats/movie.mp4", "cats/IMG_1.HEIC", "cats/IMG_2.heic", "cats/README", "list.txt"):
        (root / name).touch()
    report = build(root)
    assert (report.folder / "classes.txt").read_text() == "000000 birds\n000001 birds/owls\n000002 cats\n"
    assert sum(report.counts.values()) == 12
    assert said(report, "that are not in a class folder").endswith("(2)")
    assert "birds/owls" in said(report, "inside another class folder")
    assert ".heic 2, no suffix 1, .mp4 1; HEIC needs" in said(report, "by their suffix (4)")


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
    with pytest.raises(DataProblem, match=r"--images .*notes\.txt: not a folder and not a \.csv file, nor"):
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
        ("pics/0.png,a\npics/none.png,b\n", r":2: no such image .*none\.png$"),
        ("pics/none.png,a\n", r":1: no such image .*none\.png$"),
        ("path,label\na,pics/0.png\n", ":2: no such image .*the path comes first"),
        ("path,label\nmissing,a\n", ":2: no such image"),
        ("pics/0.png,a,extra\n", r":1: .*3 columns; put a path or label that contains a comma in double quotes"),
        ("pics/0.png,\n", r"Labels\.CSV: no image is left: images without a label"),
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
    assert "(1): 0.png (Labels.CSV:1: a, Labels.CSV:11: b)" in said(report, "listed with several labels")


def of_files(folder):
    """split → {(path, label)}."""
    return {split: set(pairs) for split, pairs in lists(folder).items()}


@pytest.mark.parametrize("tail", [None, Tail(minimum=3)])
def test_split_folders_are_splits_and_not_classes(build, tmp_path, tail):
    root = photos(tmp_path / "kg", {f"{top}/{c}": 3 for top in ("train", "Valid", "test") for c in ("cat", "dog")})
    report = build(root, tail=tail)
    assert (report.folder / "classes.txt").read_text() == "000000 cat\n000001 dog\n"
    assert said(report, "are taken for splits").startswith("Valid/, test/, train/ are taken for splits, with 2 classes")
    for split, top in (("train", "train"), ("val", "Valid"), ("test", "test")):
        everything = {(f"{top}/{c}/{i:03}.png", label) for label, c in enumerate(("cat", "dog")) for i in range(3)}
        assert of_files(report.folder)[split] == everything
    other = build(root, "other", as_classes=True)
    assert other.classes == 6
    assert not any("splits" in warning for warning in other.warnings)


def test_a_split_that_has_no_folder_is_drawn_from_training(build, tmp_path):
    root = photos(tmp_path / "in", {"train/a": 20, "train/b": 20, "test/a": 4, "test/b": 4, "test/c": 2, "test": 3})
    report = build(root)
    assert report.counts == {"train": 36, "val": 4, "test": 8}
    assert said(report, "without a folder in the training split").endswith(": c")
    assert said(report, "not classes of a split").endswith(": test")
    assert {name.split("/")[0] for name, _ in lists(report.folder)["val"]} == {"train"}


def test_a_class_called_train_is_no_split(build, tmp_path):
    assert build(photos(tmp_path / "in", {"train/steam": 4, "train/diesel": 4, "car": 4})).classes == 3
    assert build(photos(tmp_path / "two", {"train": 4, "test": 4}), "two").classes == 2


def test_names_that_are_easily_mistaken_are_pointed_out(build, tmp_path):
    root = photos(tmp_path / "my photos", {"Robin": 4, "robin": 4, "ROBIN ": 4, "wren": 4, "Unknown": 4})
    report = build(root)
    alike = said(report, "differ only in case or blanks")
    assert "'ROBIN ', 'Robin', 'robin'" in alike
    assert f"mv -n '{root}/robin'/* '{root}/Robin'/ && mv -n '{root}/ROBIN '/* '{root}/Robin'/, and build" in alike
    assert "build again with --open-classes Unknown" in said(report, "the name of what predict rejects")
    assert not any(
        "case" in w or "predict" in w for w in build(root, "o", open_classes=("Unknown", "robin", "ROBIN ")).warnings
    )
    table = tmp_path / "t.csv"
    table.write_text("".join(f"{root}/{c}/00{i}.png,{c}\n" for c in ("Robin", "robin") for i in range(4)))
    assert f"write one of them throughout {table}, and build" in said(build(table, "t"), "differ only in case")
