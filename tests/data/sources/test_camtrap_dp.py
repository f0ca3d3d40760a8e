"""Camtrap DP packages."""

import gzip
import json

import pytest

from oltr_cli.data.sources import camtrap_dp
from oltr_cli.errors import DataProblem
from tests.helpers.photographs import photo

DEPLOYMENTS = "deploymentID,locationID,locationName,latitude,longitude\nd1,l1,Marsh,51,4\nd2,l2,,51,5\n"
MEDIA = """mediaID,deploymentID,timestamp,filePath,filePublic,fileName,fileMediatype
m1,d1,2020-05-30T04:57:37+02:00,media/m1.png,true,one.png,image/png
m2,d1,2020-05-30T04:57:40+02:00,https://example.org/assets/m2/file,true,two.png,image/png
m3,d1,2020-05-30T05:00:00+02:00,https://example.org/assets/m3/file,true,,image/png
m4,d2,2020-05-30T05:00:00+02:00,media/m4.mp4,true,,video/mp4
m5,d2,2020-05-30T05:00:00+02:00,media/m5.png,true,,image/png
m6,d2,2020-05-30T06:00:00+02:00,media/m6.png,true,,image/png
m7,d2,2020-05-30T07:00:00+02:00,media/gone.png,true,,image/png
m8,d2,2020-05-30T08:00:00+02:00,media/m8.png,true,,image/png
m9,d2,2020-05-30T09:00:00+02:00,media/m9.png,true,,image/png
"""
OBSERVATIONS = """observationID,deploymentID,mediaID,eventID,eventStart,eventEnd,observationLevel,observationType,\
scientificName,classificationMethod
1,d1,,e1,2020-05-30T02:57:37Z,2020-05-30T02:57:40Z,event,animal,Anas platyrhynchos,human
2,d1,m3,e2,2020-05-30T03:00:00Z,2020-05-30T03:00:00Z,media,blank,,human
3,d2,m5,e3,2020-05-30T03:00:00Z,2020-05-30T03:00:00Z,media,animal,Vulpes vulpes,human
4,d2,m5,e3,2020-05-30T03:00:00Z,2020-05-30T03:00:00Z,media,human,Homo sapiens,human
5,d2,m6,e4,2020-05-30T04:00:00Z,2020-05-30T04:00:00Z,media,unknown,,human
6,d2,m7,e5,2020-05-30T05:00:00Z,2020-05-30T05:00:00Z,media,vehicle,,human
7,d2,m8,e6,2020-05-30T06:00:00Z,2020-05-30T06:00:00Z,media,animal,Vulpes vulpes,machine
8,d2,m9,e7,2020-05-30T07:00:00Z,2020-05-30T07:00:00Z,media,animal,Vulpes vulpes,machine
9,d2,m9,e7,2020-05-30T07:00:00Z,2020-05-30T07:00:00Z,media,vehicle,,human
"""


def descriptor():
    names = ("deployments", "media", "observations")
    return {"resources": [{"name": name, "path": f"{name}.csv"} for name in names], "profile": "tabular-data-package"}


@pytest.fixture
def package(tmp_path):
    for name in ("m1", "m5", "m6", "m8", "m9"):
        photo(tmp_path / "media" / f"{name}.png")
    photo(tmp_path / "media" / "two.png")
    photo(tmp_path / "elsewhere" / "m3.png")
    (tmp_path / "deployments.csv").write_text(DEPLOYMENTS)
    (tmp_path / "media.csv").write_text(MEDIA)
    (tmp_path / "observations.csv").write_text(OBSERVATIONS)
    (tmp_path / "datapackage.json").write_text(json.dumps(descriptor()))
    return tmp_path / "datapackage.json"


def test_a_package_gives_deployments_events_and_blanks(package):
    warnings = []
    found = camtrap_dp.read(package, warnings)
    assert [(one.path.relative_to(package.parent).as_posix(), one.label, one.group) for one in found] == [
        ("media/m1.png", "Anas platyrhynchos", "d1"),  # of the event
        ("media/two.png", "Anas platyrhynchos", "d1"),  # by its fileName
        ("elsewhere/m3.png", "blank", "d1"),  # by its ID
        ("media/m8.png", "Vulpes vulpes", "d2"),
        ("media/m9.png", "vehicle", "d2"),  # what a person saw
    ]
    assert found[0].date == "2020-05-30T04:57:37"
    assert found[0].columns == {
        "mediaID": "m1",
        "deploymentID": "d1",
        "eventID": "e1",
        "locationID": "l1",
        "locationName": "Marsh",
    }
    assert found[0].where == f"{package.parent / 'media.csv'}:2"
    assert warnings == [
        "left out, media that are not images (1): media/m4.mp4",
        "left out, images that show several classes (1): media/m5.png",
        "left out, images without a label (1): media/m6.png",
        "left out, images that are listed but not there (1): media/gone.png",
        "labels that a machine gave and nobody checked (classificationMethod): 1 image",
    ]


def test_it_is_known_by_its_profile_or_its_tables():
    assert camtrap_dp.is_package(descriptor())
    assert camtrap_dp.is_package({"profile": "https://x.org/camtrap-dp/1.0/camtrap-dp-profile.json"})
    assert not camtrap_dp.is_package({"resources": [{"name": "media"}], "profile": "tabular-data-package"})


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("media.csv", "timestamp", "time", r"media\.csv:1: has no column timestamp"),
        ("media.csv", "m2,", "m1,", r"media\.csv:3: the mediaID 'm1' is not unique"),
        ("media.csv", "2020-05-30T04:57:37+02:00", "noon", r"media\.csv:2: 'noon' is not a time"),
        ("observations.csv", "m3", "m33", r"observations\.csv:3: no medium has the mediaID 'm33'"),
        ("observations.csv", "2020-05-30T02:57:37Z", "noon", r"observations\.csv:2: 'noon' is not a time"),
        ("datapackage.json", '"media.csv"', '"../media.csv"', r"resources\[1\]: 'path' '../media\.csv' leads out"),
        ("datapackage.json", '"media.csv"', '"https://x.org/m.csv"', r"resources\[1\]: 'path' is 'https"),
        ("datapackage.json", '"media.csv"', '["media.csv", "b.csv"]', r"resources\[1\]: no such file .*b\.csv"),
        ("datapackage.json", '"media.csv"', "[]", r"resources\[1\]: 'path' is \[\]"),
        ("datapackage.json", '"media.csv"', '"m.csv"', r"resources\[1\]: no such file .*m\.csv"),
        ("datapackage.json", '"name": "media"', '"name": "x"', "'resources' has no table called media"),
        ("datapackage.json", "{", "", r"datapackage\.json:1: not valid JSON"),
    ],
)
def test_what_is_not_valid_is_named(package, file, old, new, said):
    path = package.parent / file
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataProblem, match=said):
        camtrap_dp.read(package, [])


def test_a_package_without_its_images(package):
    for image in package.parent.rglob("*.png"):
        image.unlink()
    with pytest.raises(DataProblem, match=r"media\.csv: no photograph is left: .*listed but not there \(6\)"):
        camtrap_dp.read(package, [])


def test_an_image_without_a_time_is_of_no_event(package):
    file = package.parent / "media.csv"
    file.write_text(MEDIA.replace("2020-05-30T04:57:37+02:00", "").replace("2020-05-30T05:00:00+02:00", "", 1))
    first, second, *_ = camtrap_dp.read(package, [])
    assert (first.columns["mediaID"], first.date) == ("m2", "2020-05-30T04:57:40")
    assert (second.columns["mediaID"], second.date) == ("m3", "")


def test_many_media_of_one_event_are_found_at_once(package):
    """An event of a day, and a day of media: the time of all pairs would be minutes."""
    rows = "".join(f"x{i},d1,2021-01-01T{i % 24:02}:00:00Z,x{i}.mp4,true,,video/mp4\n" for i in range(20_000))
    (package.parent / "media.csv").write_text(MEDIA + rows)
    events = "".join(f"o{i},d1,,y{i},2022-01-01T00:00:00Z,2022-01-01T01:00:00Z,event,blank,,\n" for i in range(20_000))
    (package.parent / "observations.csv").write_text(OBSERVATIONS + events)
    assert len(camtrap_dp.read(package, [])) == 5


def test_tables_in_several_files_and_compressed(package):
    folder = package.parent
    whole = camtrap_dp.read(package, [])
    header, *rows = (folder / "media.csv").read_text().splitlines(keepends=True)
    (folder / "a.csv").write_text(header + "".join(rows[:1]))
    (folder / "b.csv").write_text("".join(rows[1:2]))  # parts are put together as they are …
    (folder / "c.csv").write_text(header + "".join(rows[2:]))  # … or each has the header
    with gzip.open(folder / "observations.csv.gz", "wb") as packed:
        packed.write((folder / "observations.csv").read_bytes())
    text = package.read_text().replace('"media.csv"', '["a.csv", "b.csv", "c.csv"]')
    package.write_text(text.replace('"observations.csv"', '"observations.csv.gz"'))
    found = camtrap_dp.read(package, [])
    assert [(one.path, one.label) for one in found] == [(one.path, one.label) for one in whole]
    (folder / "observations.csv.gz").write_bytes((folder / "observations.csv.gz").read_bytes()[:-20])
    with pytest.raises(DataProblem, match=r"observations\.csv\.gz: cannot be read"):
        camtrap_dp.read(package, [])
