"""A CSV of photographs with any columns: which are understood, and what is refused with file and line."""

import os
from pathlib import Path

import pytest

from oltr_cli.base.display import Display
from oltr_cli.data.build import find as build_find
from oltr_cli.data.build.find import find_photographs, sizes_of
from oltr_cli.data.sources.table import Photograph, iso_date, read_csv
from oltr_cli.errors import DataProblem


@pytest.fixture
def read(tmp_path):
    """A function that reads a text as a CSV."""

    def photographs(text):
        file = tmp_path / "t.csv"
        file.write_text(text, encoding="utf-8")
        return read_csv(file, [])

    return photographs


def test_columns_are_known_by_name_in_any_order(read, tmp_path):
    header = "Site,Date Observed,SPECIES,note,file_name,open,subset,group_id\n"
    (found,) = read(header + "A3,2024-05-31 10:00:00,red fox,,../x/1.jpg,,Training,7\n")
    columns = found.columns
    assert columns["Site"] == "A3"
    assert columns["SPECIES"] == "red fox"
    assert found == Photograph(
        tmp_path.parent / "x" / "1.jpg",
        "red fox",
        "train",
        "7",
        "2024-05-31T10:00:00",
        False,
        columns,
        f"{tmp_path}/t.csv:2",
    )


@pytest.mark.parametrize(
    "header", ["path,label", "file,class", "filename,species", "File,category", "scientificName,image_path", "id,Art"]
)
def test_names_that_field_tools_use(read, header):
    cells = "a fox,1.jpg" if header.startswith("scientific") else "1.jpg,a fox"
    (found,) = read(f"{header}\n{cells}\n")
    assert (found.path.name, found.label) == ("1.jpg", "a fox")


def test_a_folder_of_its_own_column_as_timelapse_writes_it(read, tmp_path):
    (found,) = read("File,RelativePath,DateTime,species\n1.JPG,site\\a,2024-01-02 03:04:05,fox\n")
    assert found.path == tmp_path / "site" / "a" / "1.JPG"


def test_labels_with_blanks_commas_and_composed_letters(read):
    found = read('path,label\n1.jpg," Eule, große "\n2.jpg,a  b\n3.jpg,u\u0308ber\n')
    assert [photograph.label for photograph in found] == ["Eule, große", "a  b", "über"]


@pytest.mark.parametrize(
    ("cell", "expected"), [("", False), ("0.0", False), ("No", False), ("TRUE", True), ("1.0", True)]
)
def test_open_images_need_no_label(read, cell, expected):
    found = read(f"path,label,open,split\n1.jpg,x,{cell},\n2.jpg,,yes,test\n")
    assert [photograph.open for photograph in found] == [expected, True]
    assert found[1].split == "test"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "path,label,split\n1.jpg,a,train\n2.jpg,a,trian\n",
            r"t\.csv:3: split is 'trian'; write train, val, test or no",
        ),
        ("path,label,open\n1.jpg,a,maybe\n", r"t\.csv:2: open is 'maybe'; write true or false"),
        ("path,label,open,split\n1.jpg,a,1,train\n", r":2: an open image cannot be for training"),
        ("path,label,date\n\n1.jpg,a,31.05.2024\n", r":3: date is '31\.05\.2024'; write it as 2024-05-31"),
        ("path,label,date\n1.jpg,a,2024-02-30\n", r":2: date is '2024-02-30'"),
        ("path,label,site\n1.jpg,a\n", r":2: 2 values for 3 columns"),
        ("path,label,site\n1.jpg,a,b,c\n", r":2: 4 values for 3 columns; put a value that contains a comma in"),
        ("path,label,site\n1.jpg,,b\n", r"t\.csv: no image is left: images without a label \(1\)$"),
        ("path,label,site\n,a,b\n", ":2: the path is missing"),
        ('path,label,site\n1.jpg,"a,b\n2.jpg,a,b\n', r":2: 2 values for 3 columns"),
        ("path,label,site,site\n1.jpg,a,b,c\n", ":1: two columns are called 'site'"),
        ("path,class,species\n1.jpg,a,b\n", "the columns 'class' and 'species' could all be the label; rename one of"),
        ("path,x,y\n1.jpg,a,b\n", r":1: no column is called 'label' \(there are: path, x, y\)"),
        ("x,label,y\nb,a,1.jpg\n", ":1: no column is called 'path'"),
        ("1.jpg,a,b\n", "it has 3 columns; put .* in double quotes, or begin with a line that names the columns"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(read, text, problem):
    with pytest.raises(DataProblem, match=problem):
        read(text)


def test_the_name_label_wins_over_others(read):
    (found,) = read("path,class,label\n1.jpg,Aves,robin\n")
    assert found.label == "robin"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024", "2024"),
        ("2024-05", "2024-05"),
        ("2024-05-31", "2024-05-31"),
        ("20240531", "2024-05-31"),
        ("2024-05-31 10:00", "2024-05-31T10:00:00"),
        ("2024-05-31T23:30:00-05:00", "2024-05-31T23:30:00"),
        ("2024-05-31T10:00:00Z", "2024-05-31T10:00:00"),
        ("2024:05:31 10:00:00", "2024-05-31T10:00:00"),
        ("2024-05-31/2024-06-02", "2024-05-31"),
        ("2024/05/31", "2024-05-31"),
        ("2024/5/3", "2024-05-03"),
        ("2024/5/31 9:05", "2024-05-31T09:05:00"),
        ("2024/05", "2024-05"),
        ("2024/2025", "2024"),
    ],
)
def test_dates(text, expected):
    assert iso_date(text) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "2024-13", "abcd", "31/05/2024", "2024-05-31T25:00", "2024-5-1", "2024/13/01"]
)
def test_what_is_no_date(text):
    with pytest.raises(ValueError, match=r"\w"):
        iso_date(text)


def test_of_200_000_lines_each_file_is_looked_at_once(tmp_path, monkeypatch):
    file = tmp_path / "t.csv"
    lines = (
        f"S{i % 50},pics/{i % 1000}/{i}.jpg,sp {i % 300},2024-05-{i % 30 + 1:02} 10:00:00\n" for i in range(200_000)
    )
    file.write_text("site,file_name,species,date\n" + "".join(lines))
    found = find_photographs(file, "--images", None, tmp_path / "unpacked", Display(quiet=True), [])
    assert len(found) == 200_000
    asked, status = [], os.stat(file)  # noqa: PTH116 (Path.stat is about to be counted)

    def stat(path, **_):
        asked.append(path)
        return status

    monkeypatch.setattr(Path, "stat", stat)
    sizes = sizes_of([*found, *found])
    assert len(asked) == len(sizes) == 200_000


@pytest.mark.parametrize("mark", [";", "\t"])
@pytest.mark.parametrize("header", ["path,label,note\n", ""])
def test_semicolons_and_tabs_as_spreadsheets_write_them(read, mark, header):
    text = header + ('1.jpg,"Eule; Uhu",x\n' if header else "1.jpg,Eule\n")
    text = text.replace(",", mark)
    (found,) = read(text)
    assert (found.path.name, found.label) == ("1.jpg", "Eule; Uhu" if header else "Eule")


def test_a_comma_in_the_first_line_separates(read):
    assert [photograph.label for photograph in read("a;b.jpg,fox\n1.jpg,x;y\n")] == ["fox", "x;y"]


def test_images_without_a_label_are_left_out_and_counted(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("path,label,open\n1.jpg,a,\n2.jpg,,\n3.jpg,,\n4.jpg,,true\n")
    warnings = []
    assert [photograph.path.name for photograph in read_csv(file, warnings)] == ["1.jpg", "4.jpg"]
    assert warnings == [f"left out, images without a label (2): {file}:3, {file}:4"]


@pytest.mark.parametrize(
    "text", ["path,label\n1.jpg,\n", "file,site\n1.jpg,A\n", "1.jpg\n", "Datei\n1.jpg\n", "1.jpg,\n"]
)
def test_images_that_are_all_open_need_no_label(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    (found,) = read_csv(tmp_path / "t.csv", [], all_open=True)
    assert (found.path.name, found.label) == ("1.jpg", "")


def test_paths_as_windows_writes_them(read, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "1.jpg").touch()
    (tmp_path / "a\\b.jpg").touch()
    found = read("path,label\ns\\1.jpg,a\na\\b.jpg,a\n.\\s\\..\\s\\1.jpg,a\n")
    assert [photograph.path for photograph in found] == [
        tmp_path / "s/1.jpg",
        tmp_path / "a\\b.jpg",
        tmp_path / "s/1.jpg",
    ]


def test_long_names_and_long_cells_are_read(read):
    (found,) = read(f"path,label,{'x' * 5000}\n1.jpg,a,{'y' * 200_000}\n")
    assert len(found.columns["x" * 5000]) == 200_000


def test_all_missing_files_are_counted_and_addresses_are_pointed_out(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("path,label\n1.jpg,a\n1.jpg,a\n2.jpg,a\n3.jpg,a\n")
    with pytest.raises(DataProblem, match=r"t\.csv:2: no such image .*1\.jpg \(the first of 3 that are not there\)$"):
        sizes_of(read_csv(file, []))
    file.write_text("path,label\nhttps://x.org/1.jpg,a\n")
    with pytest.raises(DataProblem, match=r"t\.csv:2: .*; nothing is downloaded"):
        sizes_of(read_csv(file, []))


def test_a_missing_file_is_named_with_its_line(tmp_path):
    file = tmp_path / "t.csv"
    (tmp_path / "1.jpg").touch()
    file.write_text("label,path\na,1.jpg\nb,2.jpg\n")
    with pytest.raises(DataProblem, match=rf"{file}:3: no such image {tmp_path}/2\.jpg$"):
        sizes_of(read_csv(file, []))


def test_two_labels_of_one_image_are_named_with_both_lines(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("path,label\n1.jpg,fox\n2.jpg,fox\n1.jpg,dog\n2.jpg,fox\n./1.jpg,cat\n")
    warnings = []
    assert [photograph.path.name for photograph in build_find.one_for_each_file(read_csv(file, []), warnings)] == [
        "2.jpg"
    ]
    (warning,) = warnings
    assert "listed with several labels (1): 1.jpg (t.csv:2: fox, t.csv:4: dog, t.csv:6: cat)" in warning


def test_an_image_with_two_labels_may_have_two_groups(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("path,label,group\n1.jpg,fox,Ann\n2.jpg,fox,Ann\n1.jpg,dog,Bob\n")
    (left,) = build_find.one_for_each_file(read_csv(file, []), warnings := [])
    assert left.path.name == "2.jpg"
    assert len(warnings) == 1


@pytest.mark.parametrize("column", ["split", "group"])
def test_one_image_in_two_splits_or_groups_is_an_error(tmp_path, column):
    file = tmp_path / "t.csv"
    file.write_text(f"path,label,{column}\n1.jpg,fox,train\n1.jpg,fox,test\n")
    with pytest.raises(DataProblem, match=rf"t\.csv:3: the {column} of 1\.jpg is 'test', but 'train' in .*t\.csv:2$"):
        build_find.one_for_each_file(read_csv(file, []), [])
