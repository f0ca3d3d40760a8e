"""WebDataset archives, also hostile ones."""

import io
import json
import tarfile

import pytest

from oltr_cli.base.display import Display
from oltr_cli.data.sources import webdataset
from oltr_cli.data.sources.unpack import LARGEST, Unpacker
from oltr_cli.errors import DataProblem
from tests.helpers.photographs import encoded


def write(file, *members, mode="w"):
    """Members are (name, bytes), or finished headers."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, content = member
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return file


def read(files, folder, warnings=None):
    return webdataset.read(files, Unpacker(folder), [] if warnings is None else warnings, Display(quiet=True))


def test_samples_have_a_class_and_fields(tmp_path):
    about = json.dumps({"label": "owl", "seq_id": "s1", "datetime": "2024-05-01T10:00:00", "boxes": [1]})
    file = write(
        tmp_path / "train-000000.tar",
        ("a/0001.jpg", encoded("JPEG", 1)),
        ("a/0001.cls", b"fox\n"),
        ("0002.json", about.encode()),
        ("0002.png", encoded("PNG", 2)),
        ("0002.txt", b"a caption"),
        ("0003.jpg", encoded("JPEG", 3)),
        ("0004.cls", b"fox"),
        ("0005.jpg", b"no image"),
        ("0005.cls", b"fox"),
        ("0006.seg.png", encoded("PNG", 4)),
        ("0006.jpg", encoded("JPEG", 5)),
        ("0006.jpeg", encoded("JPEG", 6)),
        ("0006.cls", b"fox"),
        (".DS_Store", b""),
    )
    warnings = []
    found = read([file], tmp_path / "out", warnings)
    place = tmp_path / "out" / "train-000000"
    assert [(one.path, one.label, one.split, one.group, one.date) for one in found[:2]] == [
        (place / "a" / "0001.jpg", "fox", "train", "", ""),
        (place / "0002.png", "owl", "train", "s1", "2024-05-01T10:00:00"),
    ]
    assert found[2].path.read_bytes() == encoded("JPEG", 5)  # not the mask
    assert found[1].columns["label"] == "owl"
    assert found[0].path.read_bytes() == encoded("JPEG", 1)
    assert {path.name for path in place.rglob("*") if path.is_file()} == {
        "0001.jpg",
        "0002.png",
        "0003.jpg",
        "0006.jpg",
    }
    assert [warning.partition(":")[0] for warning in warnings] == [
        "left out, images without a label (1)",
        "left out, samples without an image (2)",
        "left out, members that are not images by their content (1)",
        "left out, second images of a sample (1)",
    ]


def test_numbers_count_the_lines_of_classes_txt(tmp_path):
    members = [
        (f"{i}.{kind}", content) for i in range(2) for kind, content in (("jpg", encoded(number=i)), ("cls", b"1"))
    ]
    file = write(tmp_path / "val.tar.gz", *members, mode="w:gz")
    assert {one.label for one in read([file], tmp_path / "out")} == {"1"}
    (tmp_path / "classes.txt").write_text("fox\nowl\n")
    assert {(one.label, one.split) for one in read([file], tmp_path / "out")} == {("owl", "val")}
    (tmp_path / "classes.txt").write_text("fox\n")
    with pytest.raises(DataProblem, match=r"val\.tar\.gz: member '0\.jpg': class 1, but classes\.txt has 1 lines"):
        read([file], tmp_path / "out")


def header(name, **fields):
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    return member


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (("../../out.jpg", b"x"), "leads out of the folder"),
        (("a/../../../out.cls", b"x"), "leads out of the folder"),
        (("/etc/out.jpg", b"x"), "leads out of the folder"),
        (("..\\..\\out.jpg", b"x"), "leads out of the folder|do not follow|not an image"),
        (header("a.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link or a device"),
        (header("a.jpg", type=tarfile.LNKTYPE, linkname="b.jpg"), "is a link or a device"),
        (header("a.jpg", type=tarfile.FIFOTYPE), "is a link or a device"),
        (("a.cls", b"x" * 1_000_001), "more than a label has"),
        (("a.json", b"{"), "not valid JSON"),
        (("a.cls", b"\xff"), "not UTF-8 text"),
        (("a.cls", b"x\ny"), "line break"),
    ],
)
def test_hostile_members_are_refused(tmp_path, member, said):
    members = [member, ("a.jpg", encoded())] if not isinstance(member, tarfile.TarInfo) else [member]
    file = write(tmp_path / "deep" / "in" / "x.tar", *members)
    with pytest.raises(DataProblem, match=rf"x\.tar: .*({said})"):
        read([file], tmp_path / "deep" / "out")
    assert not list(tmp_path.glob("out*"))
    assert not list((tmp_path / "deep").glob("out.*"))


def test_an_absurd_size_is_refused_before_anything_is_read(tmp_path):
    file = tmp_path / "x.tar"
    file.write_bytes(header("a.jpg", size=LARGEST + 1).tobuf() + bytes(1024))
    with pytest.raises(DataProblem, match=r"member 'a\.jpg': 200\.0 MB, more than an image can have"):
        read([file], tmp_path / "out")


def test_what_is_damaged_or_mixed_up_is_named(tmp_path):
    file = write(tmp_path / "x.tar", ("a.jpg", encoded()), ("b.jpg", encoded(number=1)), ("a.cls", b"fox"))
    with pytest.raises(DataProblem, match="the files of sample 'a' do not follow each other"):
        read([file], tmp_path / "out")
    file = write(tmp_path / "y.tar", ("a.jpg", encoded() + bytes(3000)), ("a.cls", b"fox"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataProblem, match=r"y\.tar: .*(damaged|cut short)"):
        read([file], tmp_path / "out")
    file.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(DataProblem, match=r"y\.tar: not a tar file, or damaged"):
        read([file], tmp_path / "out")
    with pytest.raises(DataProblem, match="no image with a label is left: it is empty; a sample has"):
        read([write(tmp_path / "z.tar")], tmp_path / "out")


@pytest.mark.parametrize("names", [("train/0.tar", "test/0.tar"), ("a.1.tar", "a.2.tar"), ("a.tar", "a.tgz")])
def test_archives_of_one_name_do_not_share_images(tmp_path, names):
    members = [[("7.png", encoded(number=number)), ("7.cls", b"fox")] for number in range(2)]
    files = [write(tmp_path / "test" / name, *two) for name, two in zip(names, members, strict=True)]
    found = read(files, tmp_path / "out")
    assert [one.path.read_bytes() for one in found] == [encoded(number=0), encoded(number=1)]
    assert [one.split for one in found] == (["train", "test"] if "train" in names[0] else ["", ""])


@pytest.mark.parametrize(
    ("about", "label"),
    [
        ({"label": None}, ""),
        ({"label": None, "species": "owl"}, "owl"),
        ({"label": ["owl"]}, "owl"),
        ({"label": ["owl", "fox"]}, ""),
        ({"label": 1}, "wolf"),
        ({"label": 1.0}, "wolf"),
    ],
)
def test_what_a_field_says_that_is_no_text(tmp_path, about, label):
    (tmp_path / "classes.txt").write_text("\ufefflynx\nwolf\n", encoding="utf-8")
    members = [("1.png", encoded()), ("1.json", json.dumps(about).encode()), ("2.png", encoded()), ("2.cls", b"0")]
    found = read([write(tmp_path / "x.tar", *members)], tmp_path / "out")
    assert [one.label for one in found] == [label, "lynx"][not label :]


def test_an_object_is_no_label(tmp_path):
    file = write(tmp_path / "x.tar", ("1.png", encoded()), ("1.json", b'{"category": {"id": 1}}'))
    with pytest.raises(DataProblem, match=r"x\.tar: member '1\.png': the label \{'id': 1\} is neither"):
        read([file], tmp_path / "out")
