"""What is left out or pointed out: broken files, copies, images of two classes, large ones."""

import shutil

from PIL import Image

from tests.helpers.photographs import lists, photos, said


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
    report = build(root, "decoded")
    assert sum(report.counts.values()) == 10
    assert "a/000.png" in said(report, "unreadable files (1)")


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
    for extra, name in enumerate(("a/1.png", "a/2.png", "b/1.png", "b/2.png")):
        (root / name).parent.mkdir(exist_ok=True)
        Image.new("1", (1200 + extra, 1000)).save(root / name)
    assert "1,000 px or more" in said(build(root), "decoding will slow training down")
