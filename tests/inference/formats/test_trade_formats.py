"""Verdicts in the formats of camera traps, against their published rules."""

import csv
import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from PIL import ExifTags, Image

from oltr_cli.data.images import decode_pixels, image_facts
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.inference.formats.camtrap_dp import MEDIA_COLUMNS, OBSERVATION_COLUMNS, CamtrapPackage
from oltr_cli.inference.formats.camtrap_project import DEPLOYMENT_COLUMNS, Project, offset
from oltr_cli.inference.formats.coco import Coco
from oltr_cli.inference.formats.megadetector import MegaDetector
from oltr_cli.inference.verdicts import Totals, Verdict

NAMES = ["Vulpes vulpes", "Person", "empty", "unknown"]


def recogniser(names=NAMES):
    facts = {"rule": "given", "value": 0.5}
    run = SimpleNamespace(name="mine/dme/ab12-s0")
    return SimpleNamespace(class_names=list(names), run=run, rule="given", threshold=0.5, threshold_facts=facts)


def shot(path, size=(8, 6), taken="2024:05:01 04:57:37", zone="", orientation=None):
    """A JPEG with the time that a camera writes."""
    exif = Image.Exif()
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    details = exif.get_ifd(ExifTags.IFD.Exif)
    if taken:
        details[ExifTags.Base.DateTimeOriginal] = taken
    if zone:
        details[ExifTags.Base.OffsetTimeOriginal] = zone
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "grey").save(path, exif=exif)
    return str(path)


def verdicts(folder):
    """One of each kind: a class, a person, an empty image, a class called unknown, a rejected and a broken one."""
    fox = Verdict(
        shot(folder / "A1" / "fox.jpg"), label=NAMES[0], confidence=0.75, top=[(NAMES[0], 0.9), (NAMES[1], 0.1)]
    )
    others = [
        Verdict(shot(folder / "A1" / f"{label}.jpg"), label=label, confidence=0.75, top=[(label, 0.5)])
        for label in NAMES[1:]
    ]
    rejected = Verdict(
        shot(folder / "B 2" / "odd.jpg", taken="2024:06:01 00:00:00"),
        label="unknown",
        unknown=True,
        confidence=0.25,
        top=[(NAMES[0], 0.4)],
    )
    shot(folder / "B 2" / "cut.jpg")
    return [fox, *others, rejected, Verdict(str(folder / "B 2" / "cut.jpg"), "cannot be decoded")]


def written(format_, rows, complete=True):
    lines = [*format_.start(), *format_.rows(rows[:2]), *format_.rows(rows[2:]), *format_.end(Totals(), complete)]
    return "\n".join(text for text, _ in lines)


def test_the_header_of_a_photograph(tmp_path):
    facts = image_facts(tmp_path.joinpath(shot(tmp_path / "a.jpg", orientation=6, zone="+02:00")))
    assert (facts.width, facts.height, facts.media_type) == (6, 8, "image/jpeg")
    assert facts.taken.isoformat() == "2024-05-01T04:57:37+02:00"
    assert image_facts(tmp_path.joinpath(shot(tmp_path / "b.jpg"))).taken == datetime(2024, 5, 1, 4, 57, 37)
    for nothing in ("", "0000:00:00 00:00:00"):
        assert image_facts(tmp_path.joinpath(shot(tmp_path / "c.jpg", taken=nothing))).taken is None


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [None, 3, 6])
def test_the_size_in_the_header_is_that_of_the_upright_image(tmp_path, suffix, orientation):
    path = tmp_path.joinpath(shot(tmp_path / f"a.{suffix}", orientation=orientation))
    height, width = decode_pixels(path).shape[:2]
    assert (width, height) == ((6, 8) if orientation == 6 else (8, 6))
    assert (image_facts(path).width, image_facts(path).height) == (width, height)


def test_megadetector_has_a_detection_of_the_whole_image(tmp_path):
    rows = verdicts(tmp_path)
    told = json.loads(written(MegaDetector(recogniser(), 2, False), rows))
    assert list(told) == ["info", "detection_categories", "classification_categories", "images"]
    assert told["info"]["format_version"] == "1.5"
    assert told["detection_categories"] == {"1": "animal", "2": "person", "3": "vehicle"}
    assert told["classification_categories"] == {str(label): name for label, name in enumerate(NAMES)}
    whole = {"conf": 1.0, "bbox": [0.0, 0.0, 1.0, 1.0]}
    assert [image.get("detections") for image in told["images"]] == [
        [{"category": "1", **whole, "classifications": [["0", 0.9], ["1", 0.1]]}],
        [{"category": "2", **whole, "classifications": [["1", 0.5]]}],
        [],
        [{"category": "1", **whole, "classifications": [["3", 0.5]]}],
        [{"category": "1", **whole}],
        None,
    ]
    assert [image["file"] for image in told["images"]] == [row.path for row in rows]
    assert told["images"][-1]["failure"] == "cannot be decoded"
    assert isinstance(told["images"][0]["detections"][0]["conf"], float)


def test_megadetector_classifications_fall_where_a_detector_predicts_another_class():
    row = Verdict("a.jpg", label="b", confidence=0.5, top=[("b", 0.2), ("a", 0.7), ("c", 0.1)])
    told = json.loads(written(MegaDetector(recogniser("abc"), 3, False), [row]))
    assert told["images"][0]["detections"][0]["classifications"] == [["1", 0.2], ["2", 0.1]]


def test_megadetector_passes_its_own_validator(tmp_path):
    validator = pytest.importorskip(
        "megadetector.postprocessing.validate_batch_results", reason="needs the package megadetector"
    )
    file = tmp_path / "out.json"
    file.write_text(written(MegaDetector(recogniser(), 2, False), verdicts(tmp_path)))
    options = validator.ValidateBatchResultsOptions()
    options.check_image_existence = True
    assert validator.validate_batch_results(str(file), options)["validation_results"]["errors"] == []


def test_coco_has_tables_and_results(tmp_path):
    rows = verdicts(tmp_path)
    told = json.loads(written(Coco(recogniser(), 2, False), rows))
    assert [(one["id"], one["name"]) for one in told["categories"]] == [
        *((label + 1, name) for label, name in enumerate(NAMES)),
        (5, "unknown (rejected)"),
    ]
    assert told["images"][0] == {
        "id": 1,
        "file_name": rows[0].path,
        "width": 8,
        "height": 6,
        "datetime": "2024-05-01 04:57:37",
    }
    assert told["images"][-1] == {
        "id": 6,
        "file_name": rows[-1].path,
        "corrupt": True,
        "failure": "cannot be decoded",
    }
    assert told["annotations"][0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "score": 0.75,
        "bbox": [0, 0, 8, 6],
        "area": 48,
        "iscrowd": 0,
        "top": [{"category_id": 1, "probability": 0.9}, {"category_id": 2, "probability": 0.1}],
    }
    assert [(one["image_id"], one["category_id"]) for one in told["annotations"]] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
        (5, 5),
    ]


def test_coco_is_read_by_pycocotools(tmp_path):
    coco = pytest.importorskip("pycocotools.coco", reason="needs the package pycocotools")
    file = tmp_path / "out.json"
    file.write_text(written(Coco(recogniser(), 1, False), verdicts(tmp_path)))
    read = coco.COCO(str(file))
    (fox,) = read.getCatIds(catNms=["Vulpes vulpes"])
    assert read.getImgIds(catIds=[fox]) == [1]
    assert len(read.loadRes(read.dataset["annotations"]).getAnnIds()) == 5


@pytest.mark.parametrize("kind", [MegaDetector, Coco])
def test_an_object_that_was_stopped_is_not_whole(tmp_path, kind):
    rows = verdicts(tmp_path)
    with pytest.raises(json.JSONDecodeError):
        json.loads(written(kind(recogniser(), 1, False), rows, complete=False))
    empty = json.loads(written(kind(recogniser(), 1, False), []))
    assert empty["images"] == []


def tables(folder):
    """name → (columns, rows)."""
    found = {}
    for name in ("deployments", "media", "observations"):
        with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as text:
            reader = csv.DictReader(text)
            found[name] = list(reader)
            found[name, "columns"] = tuple(reader.fieldnames)
    return found


DEPLOYMENTS = (
    "deploymentID,latitude,longitude,deploymentStart,deploymentEnd,habitat,our notes\n"
    "A1,-51.5,4.75,2024-04-01T00:00:00+02:00,2024-06-30T12:00:00+02:00,marsh,x\n"
    "B 2,-51.25,4.5,2024-04-02T00:00:00+02:00,2024-06-20T12:00:00+02:00,,\n"
    "C3,0,0,2020-01-01T00:00:00Z,2020-01-02T00:00:00Z,,\n"
)
METADATA = {
    "name": "theirs",
    "contributors": [{"title": "A. Person"}],
    "licenses": [{"name": "CC0-1.0", "scope": "data"}, {"name": "CC0-1.0", "scope": "media"}],
    "project": {
        "title": "Foxes",
        "samplingDesign": "targeted",
        "captureMethod": ["activityDetection"],
        "individualAnimals": False,
        "observationLevel": ["event"],
    },
}


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "deployments.csv").write_text(DEPLOYMENTS)
    (folder / "datapackage.json").write_text(json.dumps(METADATA))
    return folder


def package(tmp_path, rows, project=None, zone=None, complete=True):
    made = CamtrapPackage(recogniser(), tmp_path / "out", project or Project(), zone)
    assert written(made, rows, complete) == ""
    return made


def test_a_package_with_the_projects_deployments(tmp_path, project):
    made = package(tmp_path, verdicts(tmp_path / "shots"), Project.read(project))
    assert made.messages() == []
    told = tables(tmp_path / "out")
    assert told["deployments", "columns"] == DEPLOYMENT_COLUMNS
    assert told["media", "columns"] == MEDIA_COLUMNS
    assert told["observations", "columns"] == OBSERVATION_COLUMNS
    assert [(row["deploymentID"], row["latitude"], row["habitat"]) for row in told["deployments"]] == [
        ("A1", "-51.5", "marsh"),
        ("B 2", "-51.25", ""),
    ]
    assert [row["deploymentID"] for row in told["media"]] == ["A1"] * 4 + ["B 2"] * 2
    assert told["media"][0]["timestamp"] == "2024-05-01T04:57:37+02:00"  # the deployment's offset
    assert told["media"][0]["fileMediatype"] == "image/jpeg"
    seen = [(row["observationType"], row["scientificName"]) for row in told["observations"]]
    assert seen == [
        ("animal", "Vulpes vulpes"),
        ("human", ""),
        ("blank", ""),
        ("animal", "unknown"),
        ("unknown", ""),
        ("unclassified", ""),
    ]
    assert [row["classificationProbability"] for row in told["observations"]] == ["0.9", "0.5", "0.5", "0.5", "", ""]
    assert {row["classificationMethod"] for row in told["observations"][:5]} == {"machine"}
    assert {row["mediaID"] for row in told["observations"]} == {row["mediaID"] for row in told["media"]}
    about = json.loads((tmp_path / "out" / "datapackage.json").read_text())
    assert about["project"] == {**METADATA["project"], "observationLevel": ["media"]}
    assert about["temporal"] == {"start": "2024-04-01", "end": "2024-06-30"}
    assert about["spatial"]["coordinates"][0][0] == [4.5, -51.5]
    assert about["taxonomic"] == [{"scientificName": "Vulpes vulpes"}, {"scientificName": "unknown"}]
    assert "name" not in about
    assert about["profile"].endswith("/1.0.2/camtrap-dp-profile.json")


def test_what_nobody_said_is_empty_and_named(tmp_path):
    rows = [*verdicts(tmp_path / "shots"), Verdict(str(tmp_path / "nowhere.jpg"), "no such file")]
    timeless = shot(tmp_path / "shots" / "B 2" / "copy.jpg", taken="")
    rows.append(Verdict(timeless, label=NAMES[0], confidence=1, top=[(NAMES[0], 1.0)]))
    made = package(tmp_path, rows)
    told = tables(tmp_path / "out")
    first = told["deployments"][0]
    assert first["deploymentID"] == f"{tmp_path}/shots/A1".strip("/")
    assert (first["latitude"], first["longitude"]) == ("", "")
    assert (first["deploymentStart"], first["deploymentEnd"]) == ("2024-05-01T04:57:37Z",) * 2
    assert len(told["media"]) == 7
    assert told["media"][-1]["timestamp"] == ""
    invalid, absent, unzoned = made.messages()
    assert absent.startswith("left out, images that cannot be read (1): ")
    assert "latitude and longitude of deployments in deployments.csv: " in invalid
    assert "in media.csv and observations.csv: 1; in datapackage.json: contributors, project.title" in invalid
    assert "nowhere.jpg" in absent
    assert "6 photographs do not say their offset from UTC" in unzoned


def test_an_offset_is_taken_where_nothing_else_says_it(tmp_path):
    rows = [
        Verdict(shot(tmp_path / "A1" / "1.jpg", zone="-03:00"), label=NAMES[0], confidence=1, top=[(NAMES[0], 1.0)]),
        Verdict(shot(tmp_path / "A1" / "2.jpg"), label=NAMES[0], confidence=1, top=[(NAMES[0], 1.0)]),
    ]
    made = package(tmp_path, rows, zone=offset("+05:30"))
    times = [row["timestamp"] for row in tables(tmp_path / "out")["media"]]
    assert times == ["2024-05-01T04:57:37-03:00", "2024-05-01T04:57:37+05:30"]
    assert not any("do not say their offset" in message for message in made.messages())
    assert offset("+00:00") == UTC
    with pytest.raises(UsageProblem, match="--utc-offset CET: not an offset"):
        offset("CET")


def test_file_paths_fit_the_formats_pattern(tmp_path):
    import re

    odd = [tmp_path / "a..b" / "x.jpg", tmp_path / ".hidden" / "ü 1.jpg", tmp_path / "A1" / ".." / "A1" / "y.jpg"]
    (tmp_path / "A1").mkdir()
    rows = [Verdict(shot(path), label=NAMES[0], confidence=1, top=[(NAMES[0], 1.0)]) for path in odd]
    package(tmp_path, rows)
    paths = [row["filePath"] for row in tables(tmp_path / "out")["media"]]
    assert all(re.match(r"^(?=^[^./~])(^((?!\.{2}).)*$).*$", path) for path in paths)
    assert paths[0].endswith("/a%2E%2Eb/x.jpg")
    assert paths[2] == (tmp_path / "A1" / "y.jpg").as_uri()


def test_a_package_that_was_stopped_is_not_there(tmp_path, project):
    package(tmp_path, verdicts(tmp_path / "shots"), Project.read(project), complete=False)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageProblem, match=r"--out .*out: exists"):
        package(tmp_path, [])


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("deployments.csv", "latitude", "lat", "deployments.csv:1: has no column latitude"),
        ("deployments.csv", "-51.5", "-91.5", "deployments.csv:2: latitude '-91.5' is not a number"),
        ("deployments.csv", "B 2", "A1", "deployments.csv:3: deploymentID 'A1' is not unique"),
        ("deployments.csv", "00:00+02:00,2024-06-20", "00:00,2024-06-20", ":3: deploymentStart .* has no offset"),
        ("deployments.csv", "2020-01-01T00:00:00Z", "soon", "deployments.csv:4, deploymentStart: 'soon' is not a time"),
        ("datapackage.json", "{", "", "datapackage.json: not valid JSON"),
        ("datapackage.json", "false", "NaN", "datapackage.json: not valid JSON .NaN is no number"),
    ],
)
def test_a_project_that_says_something_else_is_named(project, file, old, new, said):
    text = (project / file).read_text()
    (project / file).write_text(text.replace(old, new, 1))
    with pytest.raises(DataProblem, match=said):
        Project.read(project)
    for path in project.iterdir():
        path.unlink()
    with pytest.raises(DataProblem, match=r"has neither datapackage\.json nor deployments\.csv"):
        Project.read(project)


def test_frictionless_finds_nothing_in_the_tables(tmp_path, project):
    frictionless = pytest.importorskip("frictionless", reason="needs the package frictionless")
    package(tmp_path, verdicts(tmp_path / "shots"), Project.read(project))
    file = tmp_path / "out" / "datapackage.json"
    about = json.loads(file.read_text())
    del about["profile"]  # schemas and profile are read from the web
    for resource in about["resources"]:
        del resource["schema"]
    file.write_text(json.dumps(about))
    report = frictionless.validate(str(file))
    assert report.valid, report.flatten(["type", "note"])
