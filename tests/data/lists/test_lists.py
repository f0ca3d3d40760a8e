"""List files: both name styles, both path styles, and one clear line for all that can be wrong with them."""

import numpy as np
import pytest
from PIL import Image

from oltr_cli.data.lists.lists import find_list, open_lists, read_list
from oltr_cli.errors import DataProblem


def write(root, split, lines, name=None):
    (root / (name or f"{split}.txt")).write_text("\n".join(lines) + "\n", encoding="utf-8")


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)


@pytest.fixture
def small(tmp_path):
    """Two classes, all five lists."""
    touch(tmp_path, "a/0.png", "a/1.png", "b/0.png", "v/0.png", "v/1.png", "t/0.png", "t/1.png", "o/0.png", "p/0.png")
    write(tmp_path, "train", ["a/0.png 0", "a/1.png 0", "b/0.png 1"])
    write(tmp_path, "val", ["v/0.png 0", "v/1.png 1"])
    write(tmp_path, "test", ["t/1.png 1", "t/0.png 0"])
    write(tmp_path, "open", ["o/0.png -1"])
    write(tmp_path, "open_val", ["p/0.png -1"])
    return tmp_path


def opened(root):
    return open_lists("small", root, root)


def test_reads_labels_names_and_images(small):
    splits, names, digest = opened(small)
    assert splits["train"].labels.tolist() == [0, 0, 1]
    assert splits["open"].labels.tolist() == [-1]
    assert names == ["class 0", "class 1"]
    assert splits["test"].image(0).shape == (3, 4, 4)
    write(small, "val", ["v/0.png 0", "v/1.png 1", "v/1.png 1"])
    assert opened(small)[2] != digest


@pytest.mark.parametrize(
    ("split", "row", "message"),
    [
        ("test", "a/0.png 0", r"test\.txt: 1 image also in train\.txt, so training sees what is tested: a/0\.png; rem"),
        ("open", "./b//0.png -1", r"open\.txt: 1 image also in train\.txt.*: b/0\.png"),
        ("open", "v/0.png -1", r"open\.txt: 1 image also in val\.txt, both known and open: v/0\.png"),
        ("test", "v/0.png 0", r"test\.txt: 1 image also in val\.txt, so what is tested also chooses"),
        ("open_val", "o/0.png -1", r"open_val\.txt: 1 image also in open\.txt, so what"),
        ("train", "b/./0.png 0", r"train\.txt: 1 image under different labels: b/0\.png; keep one line"),
    ],
)
def test_an_image_in_two_lists_or_under_two_labels_is_refused(small, split, row, message):
    rows = (small / f"{split}.txt").read_text().splitlines()
    write(small, split, [*rows, row])
    with pytest.raises(DataProblem, match=message):
        opened(small)


def test_official_names(small):
    for split in ("train", "val", "test", "open"):
        (small / f"{split}.txt").rename(small / f"ImageNet_LT_{split}.txt")
    (small / "open_val.txt").rename(small / "ImageNet_LT_open_val.txt")
    assert find_list(small, "val").name == "ImageNet_LT_val.txt"
    assert find_list(small, "open_val").name == "ImageNet_LT_open_val.txt"
    assert set(opened(small)[0]) == {"train", "val", "test", "open", "open_val"}
    (small / "Places_LT_val.txt").write_text("v/0.png 0\n")
    with pytest.raises(DataProblem, match=r"several lists fit 'val'"):
        opened(small)


def test_flat_paths_in_class_folders_and_the_other_way_round(small):
    touch(small, "val/n1/x.png", "val/n2/y.png", "flat/z.png")
    write(small, "val", ["val/x.png 0", "val/y.png 1", "flat/n7/z.png 1"])
    split = opened(small)[0]["val"]
    assert split.files == ["val/n1/x.png", "val/n2/y.png", "flat/z.png"]
    assert split.names[0] == "val/x.png"
    assert split.image(2).shape == (3, 4, 4)


def test_a_missing_image_is_not_replaced_by_one_of_another_class(small):
    """Neither from a class folder inside its own or above it, nor from any folder while others are where listed."""
    touch(small, "owls/0.png", "owls/tawny/0.png", "owls/tawny/1.png", "owls/other/1.png", "up/lone/2.png", "up/3.png")
    for rows, lost in [
        (["owls/0.png 0", "owls/1.png 0", "owls/tawny/0.png 1"], "owls/1.png"),
        (["owls/1.png 0", "owls/tawny/0.png 1", "owls/tawny/5.png 1"], "owls/tawny/5.png"),
        (["owls/1.png 0", "owls/tawny/0.png 1", "owls/other/1.png 1"], "owls/1.png"),
        (["owls/0.png 0", "owls/tawny/9.png 1"], "owls/tawny/9.png"),
        (["up/lone/2.png 0", "up/lone/3.png 1"], "up/lone/3.png"),
    ]:
        write(small, "train", rows)
        with pytest.raises(DataProblem, match=rf"1 of \d images? not found .* first is {lost}$"):
            opened(small)


def test_a_name_that_fits_several_files_is_an_error(small):
    touch(small, "photos/a/0.png", "photos/b/0.png", "flat/0.png")
    write(small, "val", ["photos/0.png 0"])
    with pytest.raises(DataProblem, match=r"photos/0\.png, which could be photos/a/0\.png, photos/b/0\.png; list the"):
        opened(small)
    write(small, "val", ["flat/x/0.png 0", "flat/y/0.png 1"])  # both can only be flat/0.png
    with pytest.raises(DataProblem, match=r"2 of 2 images not found .* flat/x/0\.png, which could be flat/0\.png;"):
        opened(small)


def test_names_with_spaces_unicode_and_blank_lines(small):
    touch(small, "a/ein Bär.png")
    write(small, "val", ["a/ein Bär.png 0", "", "  v/1.png   1  "])
    names, labels = read_list(small / "val.txt")
    assert names == ["a/ein Bär.png", "v/1.png"]
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        (["n01440764 gold fish", "n01443537"], ["gold fish", "n01443537"]),
        (["000000 gold fish", "000001 newt"], ["gold fish", "newt"]),  # as build writes them
        (["0003 gold fish", "0007 newt"], ["gold fish", "newt"]),  # as prepare does where classes are set aside
        (["polar bear", "brown bear"], ["polar bear", "brown bear"]),
        (["1914 penny", "1915 penny"], ["1914 penny", "1915 penny"]),
        (["0 penny", "1 dime"], ["penny", "dime"]),  # labels
        (["0 penny", "2 dime"], ["0 penny", "2 dime"]),
        (["only one"], ["class 0", "class 1"]),
        (["000000 penny", "penny"], ["000000 penny", "penny"]),
        (["n01 gold fish", "7 spot ladybird"], ["n01 gold fish", "7 spot ladybird"]),
        (["/a/airfield 0", "/d/desert/sand 1"], ["airfield", "desert/sand"]),  # Places365's
        (["\ufeffpolar bear", ""], ["polar bear", "class 1"]),
    ],
)
def test_names_of_several_words_lose_only_ids_and_the_numbers_of_build(small, lines, names):
    (small / "classes.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert opened(small)[1] == names


def test_classes_txt_that_is_no_text(small):
    (small / "classes.txt").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(DataProblem, match=r"classes\.txt: cannot be read"):
        opened(small)


def test_open_lists_are_optional(small):
    (small / "open.txt").unlink()
    (small / "open_val.txt").unlink()
    assert set(opened(small)[0]) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("split", "lines", "message"),
    [
        ("train", ["a/0.png 0", "a/1.png zero"], r"train\.txt:2: 'a/1\.png zero' is not"),
        ("train", ["a/0.png"], r"train\.txt:1"),
        ("train", [" 0"], r"train\.txt:1"),
        ("train", ["../x.png 0"], r"train\.txt:1: '\.\./x\.png' leads outside"),
        ("train", ["a/../../x.png 0"], "leads outside"),
        ("train", ["/etc/passwd 0"], "leads outside"),
        ("train", ["C:/x.png 0"], "leads outside"),
        ("train", ["a\\..\\..\\x.png 0"], "leads outside"),
        ("train", [""], "lists no image"),
        ("train", ["a/0.png 0", "b/0.png 2"], r"no training image for label 1 .*go up to 2"),
        ("train", ["a/0.png 0", "b/0.png 99999999999"], r"no training image for label 1, 2, 3, 4, 5, … although"),
        ("train", ["a/0.png 0", "b/0.png " + "9" * 30], r"train\.txt:2: .* up to 18 digits"),
        *(
            ("train", ["a/0.png 0", f"b/0.png {label}"], rf"train\.txt:2: 'b/0\.png .*' has {wrong}")
            for label, wrong in [
                ("0_1", "no valid label"),
                ("١", "no valid label"),
                ("+1", "no valid label"),
                ("-2", "no valid label"),
                ("\u22121", "no valid label"),
                ("\xa01", r"the character U\+00A0 before the label"),
            ]
        ),
        ("train", ["a/0.png 0", "b/0.png\t1"], r"train\.txt:2: 'b/0\.png\\t1' has a tab before the label"),
        ("train", ["a/0.png,0"], r"train\.txt:1: 'a/0\.png,0' has a comma before the label"),
        ("train", ["a/0.png;0"], r"train\.txt:1: 'a/0\.png;0' has a semicolon before the label"),
        ("train", ["a/0.png, 0", "b/0.png, 1"], r"is a/0\.png, \(, is read as part of the path"),
        ("train", ["a\\0.png 0", "b\\0.png 1"], r"is a\\0\.png \(character 2 is a backslash; write /"),
        ("train", ["a/0.png 0", "\ufeffb/0.png 1"], r"train\.txt:2: .* begins with a byte-order mark"),
        ("train", ["a/0.png 0", "b/0.png -1"], r"label -1 in a training list"),
        ("train", ["a/0.png 0", "b/9.png 1"], r"1 of 2 images not found below .*first is b/9\.png"),
        ("val", ["v/0.png 0", "v/1.png 5"], r"val\.txt: label 5 has no training image"),
        ("val", ["v/0.png 7", "v/1.png 5"], r"val\.txt: labels 5, 7 have no training image \(labels 0\.\.1\)"),
        ("test", ["v/0.png -1"], r"test\.txt: label -1"),
        ("open", ["o/0.png 0"], r"open\.txt: label 0 in an open list"),
    ],
)
def test_what_can_be_wrong_is_one_line_that_names_it(small, split, lines, message):
    write(small, split, lines)
    with pytest.raises(DataProblem, match=message) as caught:
        opened(small)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_missing_folder_and_missing_list(small, tmp_path):
    with pytest.raises(DataProblem, match="OLTR_DATA"):
        open_lists("x", tmp_path / "nowhere", tmp_path / "nowhere")
    (small / "test.txt").unlink()
    with pytest.raises(DataProblem, match=r"no list test\.txt"):
        opened(small)


def test_a_byte_order_mark_at_the_start_is_read_away(small):
    before = opened(small)[0]
    for path in small.glob("*.txt"):
        path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert {split: s.files for split, s in opened(small)[0].items()} == {split: s.files for split, s in before.items()}
    (small / "val.txt").write_text("v/0.png 0\n", encoding="utf-16")
    with pytest.raises(DataProblem, match=r"val\.txt: cannot be read \(it is UTF-16 text; save it as UTF-8\)"):
        opened(small)


def test_binary_list(small):
    (small / "val.txt").write_bytes(bytes(range(128, 256)))
    with pytest.raises(DataProblem, match="cannot be read"):
        opened(small)


def test_images_of_many_kinds_come_out_as_rgb(tmp_path):
    from oltr_cli.data.images import decode_file

    red = np.zeros((6, 8, 3), np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(tmp_path / "a.JPEG", quality=95)
    Image.fromarray(red).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    Image.fromarray(red).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(red).save(tmp_path / "b.bmp")
    Image.fromarray(red).convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(red[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(red[..., 0].astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    for name in ("a.JPEG", "cmyk.jpg", "palette.png", "b.bmp", "alpha.png"):
        pixels = decode_file(tmp_path / name)
        assert pixels.shape == (3, 6, 8), name
        assert np.abs(pixels.numpy().mean(axis=(1, 2)) - [200, 0, 0]).max() < 12, name
    for name in ("grey.png", "grey16.png"):
        assert decode_file(tmp_path / name).float().mean((1, 2)).tolist() == [200, 200, 200], name


def test_exif_orientation_is_obeyed(tmp_path):
    from oltr_cli.data.images import decode_file

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (10, 4)).save(tmp_path / "turned.jpg", exif=exif)
    assert decode_file(tmp_path / "turned.jpg").shape == (3, 10, 4)


@pytest.mark.parametrize("content", [b"", b"no image at all", "cut"])
def test_broken_images_are_named(tmp_path, content):
    from oltr_cli.data.images import decode_file

    path = tmp_path / "broken.jpg"
    if content == "cut":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:1500])
    else:
        path.write_bytes(content)
    with pytest.raises(DataProblem, match=r"broken\.jpg"):
        decode_file(path)
