"""COCO and COCO Camera Traps."""

import copy
import json

import pytest

from oltr_cli.data.sources import coco
from oltr_cli.errors import DataProblem
from tests.helpers.photographs import photo

TRAPS = {
    "info": {"version": "1.0", "description": "small"},
    "images": [
        {
            "id": "a",
            "file_name": "S1/a.png",
            "seq_id": "s1",
            "location": "S1",
            "datetime": "2022-12-31 09:52:50",
            "frame_num": 0,
        },
        {"id": "b", "file_name": "S1/b.png", "seq_id": "s1", "location": "S1", "datetime": "31.12.22"},
        {"id": "two", "file_name": "S2/two.png", "seq_id": "s2", "location": "S2"},
        {"id": "none", "file_name": "S2/none.png", "seq_id": "s2", "location": "S2"},
        {"id": "bad", "file_name": "S2/bad.png", "corrupt": True},
        {"id": "gone", "file_name": "S2/gone.png"},
        {"id": "e", "file_name": "S2\\e.png", "location": 7, "split": "val"},
    ],
    "categories": [{"id": 0, "name": "empty"}, {"id": 1, "name": "gray_wolf"}, {"id": 2, "name": "deer "}],
    "annotations": [
        {"id": 1, "image_id": "a", "category_id": 1, "bbox": [0, 0, 2, 2]},
        {"id": 2, "image_id": "a", "category_id": 1, "bbox": [3, 3, 2, 2]},
        {"id": 3, "image_id": "b", "category_id": 2},
        {"id": 4, "image_id": "two", "category_id": 1},
        {"id": 5, "image_id": "two", "category_id": 2},
        {"id": 6, "image_id": "gone", "category_id": 2},
        {"id": 7, "image_id": "bad", "category_id": 2},
        {"id": 8, "image_id": "e", "category_id": 0},
    ],
}


def write(folder, content=TRAPS, name="traps.json", images="."):
    for one in TRAPS["images"]:
        if one["id"] != "gone":
            photo(folder / images / one["file_name"].replace("\\", "/"))
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def read(file, warnings=None):
    content = json.loads(file.read_text())
    return coco.read(file, content, [] if warnings is None else warnings)


def test_camera_traps_give_sequences_and_dates(tmp_path):
    warnings = []
    file = write(tmp_path)
    assert coco.kind(TRAPS) == "COCO Camera Traps"
    first, second, empty = read(file, warnings)
    assert (first.path, first.label, first.group) == (tmp_path / "S1" / "a.png", "gray_wolf", "s1")
    assert (first.date, first.columns["location"], first.columns["frame_num"]) == ("2022-12-31T09:52:50", "S1", "0")
    assert first.where == f"{file}: images[0]"
    assert (second.label, second.group, second.date) == ("deer", "s1", "")
    assert (empty.label, empty.group, empty.split, empty.columns["location"]) == ("empty", "", "val", "7")
    assert warnings == [
        "left out, images that show several classes (1): S2/two.png",
        "left out, images without a label (1): S2/none.png",
        "left out, images that the file calls corrupt (1): S2/bad.png",
        "left out, images that are listed but not there (1): S2/gone.png",
    ]


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("traps.json", "images"),
        ("annotations/traps.json", "."),
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "images/val2017"),
    ],
)
def test_images_are_found_beside_the_file_and_where_coco_has_them(tmp_path, name, images):
    file = write(tmp_path, name=name, images=images)
    assert read(file)[0].path == (tmp_path / images / "S1" / "a.png")


def test_coco_has_no_groups(tmp_path):
    content = copy.deepcopy(TRAPS)
    content["images"] = [{"id": i, "file_name": one["file_name"]} for i, one in enumerate(TRAPS["images"])]
    content["annotations"] = [{"id": i, "image_id": i, "category_id": 1} for i in range(3)]
    assert coco.kind(content) == "COCO"
    assert [(one.label, one.group) for one in read(write(tmp_path, content))] == [("gray_wolf", "")] * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["images"][1].pop("file_name"), r"images\[1\]: 'file_name' is missing"),
        (lambda c: c["images"][1].update(id="a"), r"images\[1\]: the id 'a' is not unique"),
        (lambda c: c["images"].insert(0, 3), r"images\[0\] is not an object"),
        (lambda c: c.update(images={}), "'images' is not a list"),
        (lambda c: c["annotations"][2].update(image_id="x"), r"annotations\[2\]: no image has the id 'x'"),
        (lambda c: c["annotations"][2].update(category_id=9), r"annotations\[2\]: no category has the id 9"),
        (lambda c: c["annotations"][2].update(category_id=[1]), r"annotations\[2\]: 'category_id' is \[1\]"),
        (lambda c: c["categories"][1].update(name=" "), r"categories\[1\]: 'name' is ''"),
        (lambda c: c["categories"][1].update(id=0), r"categories\[1\]: the id 0 is not unique"),
        (lambda c: c["categories"][1].update(name="a\nb"), "contains a line break"),
        (lambda c: c.update(annotations=[]), r"no image is left: .*without a label \(6\)"),
        (
            lambda c: [one.update(file_name=f"x{i}.png") for i, one in enumerate(c["images"])],
            "images not found: of its",
        ),
    ],
)
def test_what_is_not_valid_is_named(tmp_path, change, said):
    content = copy.deepcopy(TRAPS)
    change(content)
    with pytest.raises(DataProblem, match=rf"traps\.json: {said}|traps\.json: categories.*{said}"):
        read(write(tmp_path, content))


def test_whole_numbers_of_a_table_and_names_that_no_file_can_have(tmp_path):
    content = copy.deepcopy(TRAPS)
    content["images"] = [{"id": float(i), "file_name": one["file_name"]} for i, one in enumerate(TRAPS["images"])]
    content["images"][1]["file_name"] = "x" * 5000
    content["annotations"] = [{"id": i, "image_id": float(i), "category_id": 1.0} for i in range(3)]
    warnings = []
    assert [one.label for one in read(write(tmp_path, content), warnings)] == ["gray_wolf"] * 2
    assert "left out, images that are listed but not there (1)" in "".join(warnings)
    content["annotations"][0]["image_id"] = 0.5
    with pytest.raises(DataProblem, match=r"annotations\[0\]: 'image_id' is 0\.5"):
        read(write(tmp_path, content))
