"""Builds whose groups and near copies stay in one split, and what is said and written about them."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.errors import DataProblem
from tests.helpers.photographs import lists, photo, said


@pytest.fixture
def table(tmp_path):
    """A function that writes a CSV of (columns by name), with a photograph for each line, and returns its path."""

    def write(rows):
        rows = [{"path": f"pics/{i:03}.png", **row} for i, row in enumerate(rows)]
        for row in rows:
            if not (tmp_path / row["path"]).exists():
                photo(tmp_path / row["path"])
        file = tmp_path / "photographs.csv"
        with file.open("w", newline="") as text:
            writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
            writer.writeheader()
            writer.writerows(rows)
        return file

    return write


def sites(count=120, classes=("red fox", "owl", "elk"), many=12):
    """Lines whose classes and sites are drawn."""
    rng = np.random.default_rng(0)
    return [{"species": classes[rng.integers(len(classes))], "site": f"S{rng.integers(many)}"} for _ in range(count)]


def splits_of(folder, rows, column="site"):
    """group → the splits that it is in."""
    found = {}
    for split, pairs in lists(folder).items():
        for name, _ in pairs:
            row = rows[int(name.rpartition("/")[2].removesuffix(".png"))]
            found.setdefault(row[column], set()).add(split)
    return found


def test_sites_are_in_one_split_and_a_line_says_how_even(build, table, home):
    rows = sites()
    file = table(rows)
    report = build(file, group_by="site")
    assert all(len(found) == 1 for found in splits_of(report.folder, rows).values())
    assert sum(report.counts.values()) == 120
    assert report.even.groups == 12
    assert (report.folder / "classes.txt").read_text() == "000000 elk\n000001 owl\n000002 red fox\n"
    with (report.folder / "groups.csv").open() as text:
        recorded = {row["path"]: row["group"] for row in csv.DictReader(text)}
    assert recorded == {f"{i:03}.png": row["site"] for i, row in enumerate(rows)}
    arguments = ["data", "build", "--images", str(file), "--as-is", "--group-by", "SITE", "--out", "mine"]
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0, again.output
    assert "nothing to write: everything is already there" in again.stderr
    line = next(line for line in again.stdout.splitlines() if line.startswith("  groups"))
    even = report.even
    assert f"12 of 2–{even.largest} images kept together; largest deviation: {even.name} has {even.share:.0%}" in line
    facts = json.loads(CliRunner().invoke(app, [*arguments, "--json", "-q"]).stdout)
    assert facts["even"]["groups"] == 12
    other = CliRunner().invoke(app, [a for a in arguments if a not in ("--group-by", "SITE")])
    assert "groups.csv" in str(other.exception)  # a build without groups is another one


def test_a_column_called_group_needs_no_option(build, table):
    rows = [{"label": row["species"], "group": row["site"]} for row in sites()]
    report = build(table(rows))
    assert all(len(found) == 1 for found in splits_of(report.folder, rows, "group").values())


def test_a_class_of_two_sites_is_named(build, table):
    rows = sites() + [{"species": "lynx", "site": f"L{i % 2}"} for i in range(10)]
    rows += [{"species": "bear", "site": "B"} for _ in range(5)]
    report = build(table(rows), group_by="site")
    assert said(report, "classes without images in test, because").endswith("(1 of 5): bear")
    assert said(report, "classes without images in val, because").endswith("(2 of 5): bear, lynx")
    assert report.even.without == {"val": ["bear", "lynx"], "test": ["bear"]}
    assert not any("fewer than" in warning for warning in report.warnings)


def test_too_few_groups_are_an_error(build, table):
    with pytest.raises(DataProblem, match=r"120 photographs in 2 groups .* cannot share"):
        build(table(sites(many=2)), group_by="site")


def test_new_images_of_a_site_follow_those_of_an_earlier_build(build, table):
    rows = sites(60)
    first = lists(build(table(rows), group_by="site").folder)
    rows = rows + sites(200)[60:] + [{"species": "owl", "site": "new"} for _ in range(30)]
    report = build(table(rows), group_by="site", force=True)
    after = lists(report.folder)
    for split, pairs in first.items():
        assert set(pairs) <= set(after[split])
    assert all(len(found) == 1 for found in splits_of(report.folder, rows).values())


def test_a_site_that_an_earlier_build_tore_stays_torn_and_is_named_until_redrawn(build, table):
    rows = sites()
    file = table(rows)
    build(file)
    report = build(file, group_by="site", force=True)
    assert said(report, "groups in two splits, where the earlier build or the source has them")
    checked = CliRunner().invoke(app, ["data", "check", "mine", "--json", "-q"])
    (finding,) = (f for f in json.loads(checked.stdout)["findings"] if f["severity"] == "error")
    assert (checked.exit_code, finding["kind"]) == (3, "groups")
    report = build(file, group_by="site", force=True, redraw=True)
    assert all(len(found) == 1 for found in splits_of(report.folder, rows).values())
    assert CliRunner().invoke(app, ["data", "check", "mine"]).exit_code == 0


def test_given_splits_hold_and_the_rest_is_drawn(build, table):
    rows = [{"label": "ab"[i % 2], "split": ("train", "val", "test", "")[i % 4 if i < 40 else 3]} for i in range(80)]
    found = lists(build(table(rows)).folder)
    for split in ("train", "val", "test"):
        names = {name for name, _ in found[split]}
        assert {f"{i:03}.png" for i, row in enumerate(rows) if row["split"] == split} <= names
    assert sum(map(len, found.values())) == 80


def test_given_splits_that_tear_a_group_are_an_error(build, table):
    rows = [{"label": "ab"[i % 2], "split": ("train", "val", "test")[i % 3], "group": f"g{i // 4}"} for i in range(24)]
    with pytest.raises(
        DataProblem, match=r"the group 'g0' has images in two splits: .*000\.png \(train\) and .*\.png \("
    ):
        build(table(rows))


def test_open_images_of_a_table_are_unknown(build, table):
    rows = [{"label": "ab"[i % 2], "open": "", "split": ""} for i in range(20)]
    rows += [{"label": kind, "open": "yes", "split": split} for kind in ("x", "") for split in ("", "val", "test")]
    found = lists(build(table(rows)).folder)
    assert {name for pairs in (found["open"], found["open_val"]) for name, _ in pairs} == {
        f"0{i}.png" for i in range(20, 26)
    }
    assert {"021.png", "024.png"} <= {name for name, _ in found["open_val"]}
    assert {"022.png", "025.png"} <= {name for name, _ in found["open"]}


def test_a_site_may_have_known_and_unknown_images(build, table):
    rows = [row | {"open": ""} for row in sites()]
    rows += [{"species": f"k{i % 4}", "site": f"S{i % 5}", "open": "1"} for i in range(40)]
    report = build(table(rows), group_by="site")
    known = {split: pairs for split, pairs in lists(report.folder).items() if not split.startswith("open")}
    assert sum(map(len, known.values())) == 120
    assert report.counts["open"] + report.counts["open_val"] == 40
    torn = splits_of(report.folder, rows)
    assert all(len(found - {"open", "open_val"}) <= 1 for found in torn.values())
    assert said(report, "groups have images of all 4 kinds of open images")


def test_unknown_by_date_with_its_option(home, table):
    rows = [row | {"date": "2023-05-01"} for row in sites()]
    rows += [{"species": species, "site": "S1", "date": "2024-02-03"} for species in ("newt", "crow") for _ in range(4)]
    arguments = [
        "--images",
        str(table(rows)),
        "--as-is",
        "--open-by",
        "date:2024-01-01",
        "--out",
        "mine",
        "--json",
        "-q",
    ]
    done = CliRunner().invoke(app, ["data", "build", *arguments])
    counts = json.loads(done.stdout)["counts"]
    assert (counts["open"], counts["open_val"]) == (4, 4)
    assert json.loads(done.stdout)["classes"] == 3


def bursts(folder, scenes=24, frames=3, classes=2):
    """Frames of one scene each in one class folder, moved by some pixels."""
    rng = np.random.default_rng(0)
    for i in range(scenes):
        tiles = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize((72, 72), Image.Resampling.BICUBIC)
        for frame in range(frames):
            place = folder / f"c{i % classes}"
            place.mkdir(parents=True, exist_ok=True)
            tiles.crop((frame, 0, frame + 64, 64)).save(place / f"{i}-{frame}.png")
    return folder


def test_bursts_are_in_one_split(build, tmp_path):
    root = bursts(tmp_path / "in")
    report = build(root)
    split_of = {}
    for split, pairs in lists(report.folder).items():
        for name, _ in pairs:
            split_of.setdefault(name.rpartition("-")[0], set()).add(split)
    assert len(split_of) == 24
    assert all(len(splits) == 1 for splits in split_of.values())
    assert (report.even.groups, report.even.largest) == (24, 3)
    assert not any("burst" in warning for warning in report.warnings)
    assert not (report.folder / "groups.csv").exists()
    assert said(build(root, "split", keep_near=False), "of test nearly identical to one of train, as in a burst")
    assert build(root, "quick", decode=False).even is None


def test_a_chain_of_near_copies_and_sites_is_one_group(build, table, tmp_path):
    rows = sites(60)
    file = table(rows)
    one, two = (next(i for i, row in enumerate(rows) if row["site"] == site) for site in ("S1", "S2"))
    big = Image.open(tmp_path / "pics" / f"{one:03}.png").resize((64, 64), Image.Resampling.BICUBIC)
    big.save(tmp_path / "pics" / f"{one:03}.png")
    big.crop((2, 2, 64, 64)).save(tmp_path / "pics" / f"{two:03}.png")
    report = build(file, group_by="site")
    found = splits_of(report.folder, rows)
    assert found["S1"] == found["S2"]
    assert report.even.groups == 11


def test_near_copies_of_two_classes_are_named(build, tmp_path):
    root = bursts(tmp_path / "in")
    Image.open(root / "c0" / "0-0.png").crop((1, 1, 64, 64)).save(root / "c1" / "copy.png")
    report = build(root)
    warning = said(report, "1 group of nearly identical images of several classes")
    assert "c1/copy.png" in warning
    assert "oltr data check mine --decode --contact-sheet near.png" in warning


def test_one_group_that_is_most_of_a_dataset_is_pointed_out(build, table):
    rows = sites() + [{"species": "owl", "site": "giant"} for _ in range(80)]
    assert "one group has 80 of 200 images" in said(build(table(rows), group_by="site"), "splits are uneven")
