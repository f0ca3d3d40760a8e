"""Groups by column, folder, name or time, and what becomes unknown by time or place."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from oltr_cli.base.display import Display
from oltr_cli.data.build.group import group_by, with_dates
from oltr_cli.data.build.unknown import open_by, split_unknown
from oltr_cli.data.sources.table import Photograph
from oltr_cli.errors import DataProblem, UsageProblem

QUIET = Display(quiet=True)


def groups(photographs, by):
    return [photograph.group for photograph in group_by(photographs, by, QUIET, [])]


def rows(*columns):
    return [Photograph(Path(f"/p/{i // 2}/IMG_{i:03}-ID{i % 3}.jpg"), "fox", columns=c) for i, c in enumerate(columns)]


def test_by_a_column_whatever_its_case_and_empty_cells_are_alone():
    photographs = rows({"Site": "A 1"}, {"Site": ""}, {"Site": "A 1"})
    warnings = []
    found = group_by(photographs, "site", QUIET, warnings)
    assert [photograph.group for photograph in found] == ["A 1", "", "A 1"]
    assert warnings == ["--group-by site: 1 photograph of no group: IMG_001-ID1.jpg"]
    assert groups(rows({"site": "x", "Site": "y"}), "Site") == ["y"]


@pytest.mark.parametrize(
    ("by", "problem"),
    [
        ("sit", r"--group-by sit: no column 'sit'; did you mean 'site'\? \(there are: site\)"),
        ("camera", r"--group-by camera: no column 'camera'; known: site$"),
        ("name-pattern:(", "not a regular expression"),
        ("name-pattern:DSC", "no photograph has a group by it; the pattern is looked for in file names"),
        ("exif-time:10", "write the longest gap inside of a sequence as 30s, 10m or 2h"),
        ("exif-time:0m", "write the longest gap"),
        ("exif-time:1h", "no photograph has a group by it; they have no time of exposure"),
    ],
)
def test_what_is_no_group(by, problem):
    with pytest.raises(UsageProblem, match=problem):
        groups(rows({"site": "a"}), by)


def test_groups_of_one_photograph_each_are_pointed_out():
    warnings = []
    group_by(rows({"site": "a"}, {"site": "b"}, {"site": ""}), "site", QUIET, warnings)
    assert warnings[0] == "--group-by site: each photograph is a group of its own, so no two are kept together by it"
    group_by(rows({"site": "a"}, {"site": "a"}), "site", QUIET, warnings := [])
    assert warnings == []


def test_by_folder_name_and_day():
    photographs = rows({"site": "a"}, {"site": "b"}, {"site": "a"}, {"site": "a"})
    assert groups(photographs, "folder") == ["/p/0", "/p/0", "/p/1", "/p/1"]
    assert groups(photographs, "name-pattern:ID[0-9]") == ["ID0", "ID1", "ID2", "ID0"]
    assert groups(photographs, "name-pattern:_(.).(.)") == ["0 0", "0 1", "0 2", "0 3"]
    dated = [Photograph(Path("/a.jpg"), "fox", date=date) for date in ("2024-05-31T23:00:00", "2024-05-31", "")]
    assert groups(dated, "day") == ["2024-05-31", "2024-05-31", ""]


def test_by_folder_needs_a_table():
    with pytest.raises(UsageProblem, match="each class is a folder, so each would be in one split"):
        groups([Photograph(Path("/a/1.jpg"), "a"), Photograph(Path("/b/1.jpg"), "b")], "folder")


def exposed(path, minutes, model="X1", serial="7"):
    """A photograph with the EXIF of a camera."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0110] = model
    details = exif.get_ifd(0x8769)
    moment = datetime(2024, 5, 31, 23, 50) + timedelta(minutes=minutes)
    details[0x9003] = moment.strftime("%Y:%m:%d %H:%M:%S")
    details[0xA431] = serial
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    return path


def test_by_time_of_exposure_for_each_camera(tmp_path):
    minutes = [0, 9, 19, 30, 5, 200]
    photographs = [Photograph(exposed(tmp_path / f"{i}.jpg", m), "fox") for i, m in enumerate(minutes)]
    photographs.append(Photograph(exposed(tmp_path / "other.jpg", 1, serial="8"), "fox"))
    (tmp_path / "none.png").write_bytes(b"no image")
    photographs.append(Photograph(tmp_path / "none.png", "fox"))
    first, last = "X1 7 2024-05-31T23:50:00", "X1 7 2024-06-01T03:10:00"
    late = "X1 7 2024-06-01T00:20:00"
    expected = [first, first, first, late, first, last, "X1 8 2024-05-31T23:51:00", ""]
    assert groups(photographs, "exif-time:10m") == expected
    assert groups(photographs, "exif-time:11m")[3] == first
    assert with_dates(photographs, QUIET)[1].date == "2024-05-31T23:59:00"


def test_by_times_of_a_table_for_each_of_its_groups():
    photographs = [
        Photograph(Path(f"/{i}.jpg"), "fox", group=site, date=f"2024-05-31T10:{minute:02}:00")
        for i, (site, minute) in enumerate([("A", 0), ("B", 1), ("A", 2), ("A", 4), ("B", 30)])
    ]
    found = groups(photographs, "exif-time:2m")
    assert found[0] == found[2] == found[3] == "A 2024-05-31T10:00:00"
    assert len({found[0], found[1], found[4]}) == 3


def seen(*facts):
    return [
        Photograph(Path(f"/{i}.jpg"), label, date=date, group=group, columns={"by": "me"})
        for i, (label, date, group) in enumerate(facts)
    ]


FACTS = seen(
    ("fox", "2023-12-31", "A"),
    ("fox", "2024-01-01", "B"),
    ("owl", "2024-01-01T00:00:00", "B"),
    ("owl", "2025", "B"),
    ("elk", "", "A"),
)


@pytest.mark.parametrize("by", ["date:2024-01-01", "group:B"])
def test_unknown_is_what_is_seen_only_then_or_there(by):
    warnings = []
    found = open_by(FACTS, by, warnings)
    assert [photograph.open for photograph in found] == [False, False, True, True, False]
    (warning,) = warnings
    assert (
        "1 class only seen there is unknown (owl); 1 photograph of classes that are seen otherwise, too, stay"
        in warning
    )


@pytest.mark.parametrize(
    ("by", "kind", "problem"),
    [
        ("date:2026-01-01", UsageProblem, "the last photograph is of 2025"),
        ("date:1.1.2024", UsageProblem, r"'1\.1\.2024' is no date"),
        ("group:C", UsageProblem, "no group 'C'"),
        ("by:you", UsageProblem, "no photograph has 'you' in the column 'by'"),
        ("who:me", UsageProblem, "no column 'who'"),
        ("by:me", DataProblem, "selects every photograph, so no known class is left"),
        ("2024-01-01", UsageProblem, "write date:2024-01-01, group:NAME or COLUMN:VALUE"),
        ("group:", UsageProblem, "write date:2024-01-01, group:NAME or COLUMN:VALUE"),
    ],
)
def test_nothing_becomes_unknown(by, kind, problem):
    with pytest.raises(kind, match=problem):
        open_by(FACTS, by, [])


def test_classes_that_are_all_seen_otherwise_are_known():
    facts = seen(("fox", "2023", "A"), ("fox", "2024", "B"), ("owl", "2023", "A"))
    with pytest.raises(DataProblem, match="selects 1 photograph, but all are of classes that are seen otherwise, too"):
        open_by(facts, "group:B", [])


def kinds(**sizes):
    return {name: [Path(f"/{name}/{i}.jpg") for i in range(size)] for name, size in sizes.items()}


def test_kinds_that_share_a_group_are_on_one_side():
    unknown = kinds(**{f"k{i}": 4 for i in range(10)})
    together = [[unknown[f"k{i}"][0], unknown[f"k{i + 1}"][0]] for i in range(0, 10, 2)]
    open_, open_val = split_unknown(unknown, {}, together, 0, [])
    sides = [{path.parent.name for path in paths} for paths in (open_, open_val)]
    assert not sides[0] & sides[1]
    assert all((f"k{i}" in sides[0]) == (f"k{i + 1}" in sides[0]) for i in range(0, 10, 2))
    assert len(open_) + len(open_val) == 40
    warnings = []
    everywhere = [[files[1] for files in unknown.values()]]
    open_, open_val = split_unknown(unknown, {}, everywhere, 0, warnings)
    assert (len(open_), len(open_val)) == (28, 12)
    assert "groups have images of all 10 kinds" in warnings[0]


def test_images_of_one_kind_stay_with_their_group():
    unknown = kinds(k=40)
    together = [unknown["k"][i : i + 5] for i in range(0, 40, 5)]
    open_, open_val = split_unknown(unknown, {}, together, 0, [])
    assert (len(open_), len(open_val)) == (30, 10)
    assert all(len({path in open_ for path in group}) == 1 for group in together)


def test_given_splits_of_open_images_hold():
    unknown = kinds(a=3, b=3)
    given = {unknown["a"][0]: "val", unknown["a"][1]: "test", **dict.fromkeys(unknown["b"], "test")}
    open_, open_val = split_unknown(unknown, given, [], 0, [])
    assert unknown["a"][0] in open_val
    assert {unknown["a"][1], *unknown["b"]} <= set(open_)


@pytest.mark.parametrize(
    ("date", "since", "opened"),
    [
        ("2024", "2024-01-01", True),
        ("2024", "2024-01-02", False),
        ("2024-05", "2024-05-01", True),
        ("2024-05-31", "2024-05-31T00:00:00", True),
        ("2024-05-31T10:00:00", "2024-05", True),
        ("2024-05-31T10:00:00", "2024/5/31", True),
        ("", "1900", False),
    ],
)
def test_a_year_or_a_month_counts_by_its_first_day(date, since, opened):
    known = [Photograph(Path(f"/{i}.jpg"), "old", date="1800") for i in range(2)]
    late = Photograph(Path("/a.jpg"), "late", date="2100")
    found = open_by([*known, late, Photograph(Path("/b.jpg"), "new", date=date)], f"date:{since}", [])
    assert [photograph.open for photograph in found] == [False, False, True, opened]


def test_years_and_months_are_no_days():
    dated = [Photograph(Path("/a.jpg"), "fox", date=date) for date in ("2024", "2024-05", "2024-05-31")]
    assert groups(dated, "day") == ["", "", "2024-05-31"]
    with pytest.raises(UsageProblem, match="no photograph has a group by it; the column date has no days"):
        groups(dated[:2], "day")
