"""Darwin Core archives and iNaturalist's tables."""

import gzip

import pytest

from oltr_cli.data.sources import darwin_core
from oltr_cli.errors import DataProblem
from tests.helpers.photographs import photo


def write(folder, **tables):
    for name, text in tables.items():
        (folder / f"{name.replace('__', '.')}").write_text(text)
    return darwin_core.tables_in(folder)


def shown(found, folder):
    return [(one.path.relative_to(folder).as_posix(), one.label, one.group) for one in found]


def test_an_archive_of_gbif(tmp_path):
    for name in ("1.jpg", "sub/c.JPG", "d.png"):
        photo(tmp_path / "images" / name)
    tables = write(
        tmp_path,
        occurrence__txt="gbifID\tscientificName\tspecies\teventDate\tlocality\tidentifier\tassociatedMedia\n"
        '10\tVulpes vulpes (Linnaeus, 1758)\tVulpes vulpes\t2020-05-01/2020-05-03\tMarsh "A\t77\t\n'
        "11\tVulpes Frisch, 1775\t\tspring\t\t78\t\n"
        "12\t\t\t\t\t79\t\n",
        multimedia__txt="gbifID\ttype\tformat\tidentifier\n"
        "10\tStillImage\timage/jpeg\thttps://static.org/photos/1/medium.jpg?1500\n"
        "10\tSound\taudio/mpeg\thttps://static.org/sounds/1.mp3\n"
        "11\tStillImage\timage/jpeg\thttps://static.org/sub/c.jpg\n"
        "12\tStillImage\timage/png\thttps://static.org/d.png\n"
        "10\tStillImage\timage/jpeg\thttps://static.org/photos/2/medium.jpg\n"
        "99\tStillImage\timage/jpeg\thttps://static.org/x.jpg\n",
    )
    warnings = []
    found = darwin_core.read(tables, warnings)
    assert shown(found, tmp_path) == [
        ("images/1.jpg", "Vulpes vulpes", "10"),
        ("images/sub/c.JPG", "Vulpes Frisch, 1775", "11"),
    ]
    assert [one.date for one in found] == ["2020-05-01", ""]
    assert found[0].columns["locality"] == 'Marsh "A'
    assert warnings == [
        "left out, images without a label (1): https://static.org/d.png",
        "left out, images that are listed but not there (1): https://static.org/photos/2/medium.jpg",
        f"left out, media of no occurrence in the table (1): {tmp_path / 'multimedia.txt'}:7",
    ]


def test_an_archive_of_inaturalist(tmp_path):
    photo(tmp_path / "photos" / "123" / "original.jpeg")
    photo(tmp_path / "photos" / "124" / "original.jpeg")
    tables = write(
        tmp_path,
        observations__csv='id,scientificName,eventDate\n1,"Apis mellifera",2021-06-01T10:00:00+02:00\n',
        media__csv="coreid,type,identifier\n1,StillImage,https://inat.org/photos/124/original.jpeg\n",
    )
    (found,) = darwin_core.read(tables, [])
    assert (found.path.parent.name, found.label, found.date) == ("124", "Apis mellifera", "2021-06-01T10:00:00")


def test_open_data_of_inaturalist(tmp_path):
    photo(tmp_path / "123" / "medium.jpg")
    photo(tmp_path / "124.jpg")
    tables = write(
        tmp_path,
        observations__csv="observation_uuid\ttaxon_id\tobserved_on\nu1\t5\t2021-06-01\nu2\t6\t\n",
        photos__csv="photo_uuid\tphoto_id\tobservation_uuid\textension\nx\t123\tu1\tjpg\ny\t124\tu2\tjpg\n",
        taxa__csv="taxon_id\tname\n5\tApis mellifera\n6\tBombus\n",
    )
    found = darwin_core.read(tables, [])
    assert shown(found, tmp_path)[1] == ("124.jpg", "Bombus", "u2")


def test_one_table_with_a_column_of_images(tmp_path):
    for name in ("a.png", "pics/b.png", "55.jpg"):
        photo(tmp_path / name)
    export = "id,observed_on,image_url,scientific_name\n7,2021-06-01,https://inat.org/photos/55/large.jpg,Bombus\n"
    (tmp_path / "observations-123.csv").write_text(export)
    tables = darwin_core.tables_in(tmp_path / "observations-123.csv")
    assert shown(darwin_core.read(tables, []), tmp_path) == [("55.jpg", "Bombus", "7")]
    (tmp_path / "core.csv").write_text(
        "occurrenceID,scientificName,associatedMedia\no1,Bombus,a.png | pics/b.png\no2,Apis,c.png\n"
    )
    tables = darwin_core.tables_in(tmp_path / "core.csv")
    assert shown(darwin_core.read(tables, []), tmp_path) == [
        ("a.png", "Bombus", "o1"),
        ("pics/b.png", "Bombus", "o1"),
    ]


def test_a_size_in_a_url_names_no_image(tmp_path):
    photo(tmp_path / "medium.jpg")
    (tmp_path / "o.csv").write_text("id,image_url,species\n1,https://x.org/photos/1/medium.jpg,Apis\n")
    with pytest.raises(DataProblem, match=r"o\.csv: no photograph is left: .*not there \(1\)"):
        darwin_core.read(darwin_core.tables_in(tmp_path / "o.csv"), [])


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.png,b\n",
        "file,scientificName\na.png,b\n",
        "id,species\n1,b\n",
        "",
        "identifier,species\nx,y\n",
        "id,species,image_url,file\n1,b,c,d\n",
    ],
)
def test_other_tables_are_not_taken_for_it(tmp_path, text):
    (tmp_path / "observations.csv").write_text(text)
    assert darwin_core.tables_in(tmp_path) is None
    assert darwin_core.tables_in(tmp_path / "observations.csv") is None


def test_ids_that_are_not_unique_are_named(tmp_path):
    media = "gbifID,identifier\n1,a.png\n"
    tables = write(tmp_path, occurrence__csv="gbifID,species\n1,a\n1,b\n", multimedia__csv=media)
    with pytest.raises(DataProblem, match=r"occurrence\.csv:3: gbifID '1' is not unique"):
        darwin_core.read(tables, [])
    write(tmp_path, occurrence__csv="gbifID,species\n1,a,x\n")
    with pytest.raises(DataProblem, match=r"occurrence\.csv:2: 3 values for 2 columns"):
        darwin_core.read(tables, [])


def test_open_data_of_inaturalist_compressed_as_they_are_published(tmp_path):
    photo(tmp_path / "5" / "medium.jpg")
    tables = {
        "observations": "observation_uuid\ttaxon_id\tobserved_on\nu1\t7\t2020-01-02\n",
        "photos": "photo_id\tobservation_uuid\textension\n5\tu1\tjpg\n",
        "taxa": "taxon_id\tname\n7\tVulpes vulpes\n",
    }
    for name, text in tables.items():
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    (found,) = darwin_core.read(darwin_core.tables_in(tmp_path), [])
    assert (found.path, found.label) == (tmp_path / "5" / "medium.jpg", "Vulpes vulpes")


@pytest.mark.parametrize("path", ["file", "image", "image_path", "relative_file_path"])
def test_a_table_of_paths_with_addresses_beside_them_is_none(tmp_path, path):
    assert write(tmp_path, t__csv=f"{path},species,image_url,id\n1.jpg,fox,https://x.org/1.jpg,1\n") is None
    assert darwin_core.tables_in(tmp_path / "t.csv") is None


@pytest.mark.parametrize("name", ["x" * 5000, "http://[::1", "a\0b"])
def test_names_that_no_file_can_have_are_not_there(tmp_path, name):
    tables = write(tmp_path, observations__csv=f'id,species,image_url\n1,fox,"{name}"\n')
    with pytest.raises(DataProblem, match=r"images that are listed but not there \(1\)"):
        darwin_core.read(tables, [])
