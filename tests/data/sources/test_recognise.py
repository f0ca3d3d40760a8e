"""``data build`` from other formats: recognised by content, with a line that says so."""

import json
import tarfile

import pytest

from oltr_cli.base.display import Display
from oltr_cli.data.build.dataset import Wish, build_dataset
from oltr_cli.data.sources.recognise import recognise
from oltr_cli.errors import DataProblem
from tests.data.sources.test_camtrap_dp import descriptor
from tests.data.sources.test_webdataset import write as write_tar
from tests.helpers.photographs import encoded, lists, photo, photos


def name_of(source, tmp_path):
    found = recognise(source, tmp_path / "out", Display(quiet=True))
    return found and found.name


def test_formats_are_recognised_by_content(tmp_path):
    coco = tmp_path / "a.json"
    coco.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    assert name_of(coco, tmp_path) == "COCO"
    package = tmp_path / "package"
    package.mkdir()
    (package / "datapackage.json").write_text(json.dumps(descriptor()))
    assert name_of(package, tmp_path) == name_of(package / "datapackage.json", tmp_path) == "a Camtrap DP package"
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "occurrence.txt").write_text("gbifID\tspecies\n")
    (archive / "multimedia.txt").write_text("gbifID\tidentifier\n")
    assert name_of(archive, tmp_path) == name_of(archive / "occurrence.txt", tmp_path) == "Darwin Core"
    tars = tmp_path / "tars"
    write_tar(tars / "deep" / "x.tar")
    assert name_of(tars, tmp_path) == name_of(tars / "deep" / "x.tar", tmp_path) == "a WebDataset"
    (tars / "train-0.parquet").touch()
    assert name_of(tars, tmp_path) == name_of(tars / "train-0.parquet", tmp_path) == "an image dataset in Parquet"


def test_class_folders_and_tables_of_paths_are_what_they_were(tmp_path):
    folders = photos(tmp_path / "in", {"a": 2, "b": 2})
    write_tar(folders / "backup.tar")
    (folders / "results.parquet").touch()
    (folders / "datapackage.json").write_text('{"resources": [{"name": "prices"}]}')
    assert name_of(folders, tmp_path) is None
    (tmp_path / "x.csv").write_text("path,species\na.png,b\n")
    assert name_of(tmp_path / "x.csv", tmp_path) is None
    assert name_of(tmp_path / "nothing", tmp_path) is None


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2}', '{"images": []}'])
def test_other_json_is_named(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataProblem, match=r"x\.json: neither COCO .* its keys are: (a, b|images)$"):
        name_of(tmp_path / "x.json", tmp_path)
    (tmp_path / "x.json").write_text("[")
    with pytest.raises(DataProblem, match=r"x\.json:1: not valid JSON"):
        name_of(tmp_path / "x.json", tmp_path)


def sequences(folder, count=12):
    """COCO Camera Traps with two classes and sequences of two photographs."""
    images = [{"id": i, "file_name": f"pics/{i}.png", "seq_id": f"s{i // 2}", "location": "L"} for i in range(count)]
    for image in images:
        photo(folder / image["file_name"])
    annotations = [{"id": i, "image_id": i, "category_id": i // 2 % 2} for i in range(count)]
    annotations.append({"id": count, "image_id": 0, "category_id": 1})
    categories = [{"id": 0, "name": "empty"}, {"id": 1, "name": "wolf"}]
    file = folder / "traps.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


def test_a_dataset_of_camera_traps_says_what_it_is(home, tmp_path, capsys):
    file = sequences(tmp_path / "in", 40)
    report = build_dataset(Wish(file), home / "mine", Display(), False)
    assert (report.folder / "classes.txt").read_text() == "000000 empty\n000001 wolf\n"
    assert sum(report.counts.values()) == 39
    assert "left out, images that show several classes (1): pics/0.png" in report.warnings
    said = "".join(capsys.readouterr().err.split())
    assert f"--images{file}:takenforCOCOCameraTraps" in said
    assert "39imagesofitwithoneclass" in said
    split_of = {name: split for split, pairs in lists(report.folder).items() for name, _ in pairs}
    pairs = [(split_of.get(f"{i}.png"), split_of.get(f"{i + 1}.png")) for i in range(2, 40, 2)]
    assert all(one == other for one, other in pairs), "a sequence was divided"


def test_a_folder_of_archives_is_unpacked_into_the_dataset(home, tmp_path):
    members = []
    for i in range(12):
        members += [(f"{i}.png", encoded(number=i)), (f"{i}.cls", b"fox" if i % 2 else b"owl")]
    write_tar(tmp_path / "in" / "x.tar", *members)
    for _ in range(2):  # the second call finds everything there
        report = build_dataset(Wish(tmp_path / "in"), home / "mine", Display(quiet=True), False)
        assert (report.classes, sum(report.counts.values())) == (2, 12)
    assert report.written == []
    assert len(list((home / "mine" / "images" / "x").glob("*.png"))) == 12
    with tarfile.open(tmp_path / "in" / "x.tar") as archive:
        assert len(archive.getnames()) == 24


def test_images_of_no_known_class_come_from_a_format_too(home, tmp_path):
    known = photos(tmp_path / "known", {"a": 5, "b": 5})
    report = build_dataset(Wish(known, sequences(tmp_path / "in")), home / "mine", Display(quiet=True), False)
    assert report.classes == 2
    assert report.counts["open"] + report.counts["open_val"] == 11


def test_a_dataset_saved_as_arrow_files_is_named(tmp_path):
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "data-00000-of-00001.arrow").touch()
    with pytest.raises(DataProblem, match="as save_to_disk writes it; write it with to_parquet instead"):
        name_of(tmp_path, tmp_path)
