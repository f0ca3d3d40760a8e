"""Hugging Face image datasets as Parquet."""

import json

import pytest

from oltr_cli.base.display import Display
from oltr_cli.data.sources import parquet as reader
from oltr_cli.data.sources.unpack import Unpacker
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from tests.helpers.photographs import encoded

pyarrow = pytest.importorskip("pyarrow", reason="needs the extra parquet")
from pyarrow import parquet  # noqa: E402

FEATURES = {
    "image": {"_type": "Image"},
    "species": {"names": ["fox", "owl"], "_type": "ClassLabel"},
    "site": {"dtype": "string", "_type": "Value"},
}


def write(file, columns, features=None):
    table = pyarrow.table(columns)
    if features:
        about = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": about})
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, file)
    return file


def images(*contents):
    return [{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(contents)]


def read(files, folder, warnings=None):
    return reader.read(files, Unpacker(folder), [] if warnings is None else warnings, Display(quiet=True))


def test_labels_have_the_names_that_the_metadata_give(tmp_path):
    contents = [encoded("PNG", 0), encoded("JPEG", 1), encoded("WEBP", 2), None, b"no image", encoded(number=3)]
    columns = {"image": images(*contents), "species": [0, 1, 1, 0, 0, -1], "site": ["A", "A", None, "", "", ""]}
    file = write(tmp_path / "in" / "data" / "test-00000-of-00001.parquet", columns, FEATURES)
    warnings = []
    found = read([file], tmp_path / "out", warnings)
    place = tmp_path / "out" / "test-00000-of-00001"
    assert [(one.path, one.label, one.split) for one in found] == [
        (place / "0000000.png", "fox", "test"),
        (place / "0000001.jpg", "owl", "test"),
        (place / "0000002.webp", "owl", "test"),
    ]
    assert [one.path.read_bytes() for one in found] == contents[:3]
    assert [one.columns for one in found] == [{"site": "A"}, {"site": "A"}, {}]
    assert warnings == [
        f"left out, rows without the bytes of an image (1): {file}: row 3",
        f"left out, rows whose bytes are no image (1): {file}: row 4",
        f"left out, images without a label (1): {file}: row 5",
    ]


def test_files_of_splits_and_a_second_call(tmp_path):
    for split in ("train", "validation"):
        write(tmp_path / "in" / split / "0000.parquet", {"image": [encoded()], "label": [split], "group": [7]})
    files = sorted((tmp_path / "in").rglob("*.parquet"))
    found = read(files, tmp_path / "out")
    assert [(one.path.parent, one.label, one.split, one.group) for one in found] == [
        (tmp_path / "out" / "train" / "0000.parquet", "train", "train", "7"),
        (tmp_path / "out" / "validation" / "0000.parquet", "validation", "val", "7"),
    ]
    before = found[0].path.stat().st_mtime_ns
    unpacker = Unpacker(tmp_path / "out")
    again = reader.read(files, unpacker, [], Display(quiet=True))
    assert unpacker.written == 0
    assert again[0].path.stat().st_mtime_ns == before
    assert not list((tmp_path / "out").rglob(".*"))


@pytest.mark.parametrize(
    ("columns", "features", "said"),
    [
        ({"label": [1]}, None, r"has no column of images \(columns: label\)"),
        ({"image": [b"x"], "text": ["a"]}, None, r"has no column of labels \(columns: image, text\)"),
        ({"a": [b"x"], "b": [b"x"], "label": [1]}, None, "has several columns of images: a, b; leave one"),
        ({"image": images(encoded()), "species": [2], "site": [""]}, FEATURES, "row 0: label 2, but there are 2 class"),
        ({"image": [b"x"], "label": ["a"]}, None, "no image with a label is left: rows whose bytes are no image"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, columns, features, said):
    file = write(tmp_path / "x.parquet", columns, features)
    with pytest.raises(DataProblem, match=rf"x\.parquet: {said}"):
        read([file], tmp_path / "out")


def test_a_file_that_is_cut_short_is_named(tmp_path):
    file = write(tmp_path / "x.parquet", {"image": [encoded()], "label": [1]})
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(DataProblem, match=r"x\.parquet: not a Parquet file, or damaged"):
        read([file], tmp_path / "out")


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    file = write(tmp_path / "x.parquet", {"image": [encoded()], "label": [1]})
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageProblem, match=r"pip install 'oltr\[parquet\]'"):
        read([file], tmp_path / "out")


def test_a_disk_without_room_is_no_traceback(tmp_path, monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    file = write(tmp_path / "x.parquet", {"image": [encoded()], "label": [1]})
    with pytest.raises(OltrError, match=r"only 0\.0 MB are free"):
        read([file], tmp_path / "out")


def test_files_of_one_name_and_folder_do_not_share_images(tmp_path):
    for number, part in enumerate("ab"):
        write(tmp_path / part / "train" / "0000.parquet", {"image": [encoded(number=number)], "label": [part]})
    found = read(sorted(tmp_path.rglob("*.parquet")), tmp_path / "out")
    assert [one.path.read_bytes() for one in found] == [encoded(number=0), encoded(number=1)]
    assert len({one.path for one in found}) == 2


def test_lists_of_labels_and_missing_numbers(tmp_path):
    label = {"_type": "List", "feature": {"names": ["fox", "owl"], "_type": "ClassLabel"}}
    columns = {"image": images(*(encoded(number=i) for i in range(4))), "label": [[1], [0, 1], [], [0]]}
    file = write(tmp_path / "x.parquet", columns, {"image": {"_type": "Image"}, "label": label})
    warnings = []
    assert [one.label for one in read([file], tmp_path / "out", warnings)] == ["owl", "fox"]
    assert warnings == [
        f"left out, images that show several classes (1): {file}: row 1",
        f"left out, images without a label (1): {file}: row 2",
    ]
    columns = {"image": columns["image"], "label": [0.0, float("nan"), 1.0, 2.5]}
    assert [one.label for one in read([write(tmp_path / "y.parquet", columns)], tmp_path / "out")] == ["0", "1", "2.5"]
