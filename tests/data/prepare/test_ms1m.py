"""`oltr data prepare ms1m-lt`: who is drawn and how many of whom, who is held out and identified, what is refused."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.display import Display
from oltr_cli.data.inspect.published import PUBLISHED
from oltr_cli.data.lists.lists import open_lists, read_list
from oltr_cli.data.prepare.face_draw import draw_faces
from oltr_cli.data.prepare.ms1m import IDENTITIES, IMAGES, Wish, prepare_ms1m_lt
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.planning.plan import plan

QUIET = Display(quiet=True)
COUNTS = {"m.0a": 9, "m.0b": 1, "m.0c": 4, "Zoë B": 2, "m.0e": 6}
PEOPLE = {"Aaron Eckhart": 3, "Kim": 2, "sub/Zoë": 1}


def faces(counts, suffix="jpg"):
    return {name: "\n".join(f"{i}.{suffix}" for i in range(n)) for name, n in counts.items()}


def draw(counts, images, count, held_out=1, suffix="jpg"):
    return draw_faces(faces(counts, suffix), images, count, held_out, QUIET)


def make(root, train="", people=True):
    root.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((9, 9, 3), 90, np.uint8)).save(root / "one.png")
    face = (root / "one.png").read_bytes()
    (root / "one.png").unlink()
    wanted = {root / train / name: n for name, n in COUNTS.items()}
    if people:
        wanted |= {root / "probe" / name: n for name, n in PEOPLE.items()} | {root / "distractors/x/y": 5}
    for folder, n in wanted.items():
        folder.mkdir(parents=True)
        for i in range(n):
            (folder / f"{i}.jpg").write_bytes(face)
    return root


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_DATA", str(tmp_path))
    return make(tmp_path / "ms1m-lt")


def prepare(root, **wish):
    return prepare_ms1m_lt(Wish(root, **wish), QUIET)


def rows(folder, split):
    return dict(zip(*(part for part in read_list(folder / f"{split}.txt")), strict=True))


# the draw


def test_totals_are_exact_and_nobody_is_empty():
    counts = {f"p{i:03}": 1 + i % 40 for i in range(400)}
    drawn = draw(counts, 1500, 250, held_out=30)
    assert drawn.images == 1500
    assert len(drawn.names) == 250
    assert min(map(len, drawn.files["train"])) == 1
    assert [sum(map(len, drawn.files[split])) for split in ("val", "test")] == [30, 30]
    for i, name in enumerate(drawn.names):
        every = [file for split in drawn.files.values() for file in split[i]]
        assert len(set(every)) == len(every) <= counts[name]
        assert set(every) <= {f"{j}.jpg" for j in range(counts[name])}


def test_an_images_chance_is_proportional_to_its_identitys_number():
    """100 identities each of 40, 80 and 160 images: what is drawn of one grows with the square."""
    counts = {f"{n}-{i}": n for n in (40, 80, 160) for i in range(100)}
    drawn = draw(counts, 6000, 300)
    of = Counter()
    for name, files in zip(drawn.names, drawn.files["train"], strict=True):
        of[int(name.split("-")[0])] += len(files)
    # Shares 1 : 4 : 16; three standard deviations of the smallest are 17 · 3 images, and nobody goes without one.
    assert of[40] == pytest.approx(6000 * 1 / 21, abs=55)
    assert of[80] == pytest.approx(6000 * 4 / 21, abs=110)
    assert of[160] == pytest.approx(6000 * 16 / 21, abs=130)


def test_identities_are_those_that_appear_first():
    counts = {f"{n}-{i}": n for n in (2, 60) for i in range(300)}
    sizes = Counter(name.split("-")[0] for name in draw(counts, 10_000, 300).names)
    assert sizes["60"] > 280


def test_the_draw_follows_from_the_names():
    counts = {f"p{i:02}": 5 + i for i in range(30)}
    one = draw(counts, 100, 20, held_out=4)
    again = draw(dict(reversed(counts.items())), 100, 20, held_out=4, suffix="webp")
    assert one.names == sorted(again.names)
    by_name = dict(zip(again.names, again.files["train"], strict=True))
    for name, files in zip(one.names, one.files["train"], strict=True):
        assert files == [file.replace("webp", "jpg") for file in by_name[name]]
    more = draw(counts, 150, 20, held_out=4)
    assert all(set(a) <= set(b) for a, b in zip(one.files["train"], more.files["train"], strict=True))


def test_all_there_are():
    drawn = draw({"a": 3, "b": 1, "c": 5}, 1000, 1000, held_out=2)
    assert drawn.names == ["a", "b", "c"]
    assert [len(f) for f in drawn.files["train"]] == [1, 1, 3]
    assert [len(f) for f in drawn.files["val"]] == [len(f) for f in drawn.files["test"]] == [1, 0, 1]


@pytest.mark.parametrize(
    ("counts", "message"), [({"a": 9}, "one identity"), ({"a": 2, "b": 2}, "no identity has 3 images")]
)
def test_too_little_to_draw_from(counts, message):
    with pytest.raises(DataProblem, match=message):
        draw(counts, 10, 10)


# the lists


def test_what_it_writes_can_be_opened(root):
    name, prepared = prepare(root)
    assert (name, prepared.classes) == ("ms1m-lt", 5)
    assert prepared.counts == {"train": 16, "val": 3, "test": 3, "probe": 6, "distractors": 5}
    splits, names, _ = open_lists(name, root, root)
    assert names == sorted(COUNTS)
    for split in ("train", "val", "test"):
        for file, label in rows(root, split).items():
            assert file.split("/")[0] == names[label]
    assert Counter(rows(root, "probe").values()) == {0: 3, 1: 2, 2: 1}
    assert set(rows(root, "distractors")) == {f"distractors/x/y/{i}.jpg" for i in range(5)}
    assert splits["distractors"].image(0).shape == (3, 9, 9)
    assert prepared.warnings[:2] == [
        "only 5 training identities; 74,500 were asked for",
        "only 16 training images; 887,500 were asked for",
    ]


def test_a_train_folder_gives_the_same_draw(root, tmp_path):
    prepare(root)
    other = make(tmp_path / "other", train="train")
    prepare(other)
    for split in ("train", "val", "test"):
        assert {name.removeprefix("train/"): k for name, k in rows(other, split).items()} == rows(root, split)
    assert all(name.startswith("train/") for name in rows(other, "train"))
    assert rows(other, "probe") == rows(root, "probe")


def test_a_second_call_changes_nothing(root, tmp_path):
    prepare(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert prepare(root)[1].lists_written == []
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    (root / "probe.txt").unlink()
    assert prepare(root)[1].lists_written == ["probe.txt"]
    prepare(root, lists=tmp_path / "lists")
    assert (tmp_path / "lists/train.txt").read_bytes() == (root / "train.txt").read_bytes()


def test_without_people_there_is_a_warning(tmp_path):
    root = make(tmp_path / "faces", people=False)
    _, prepared = prepare(root)
    assert set(prepared.counts) == {"train", "val", "test"}
    assert "without them there is no identification (Table 4)" in prepared.warnings[-1]


def test_another_size_is_a_dataset_of_its_own(root, tmp_path):
    name, prepared = prepare(root, images=8, identities=4)
    assert (name, prepared.counts["train"]) == ("ms1m-lt-8-of-4", 8)
    assert not (root / "train.txt").exists()
    data = plan("dme", name, [], 0)[-1].link.recipe.data
    assert (data.name, data.root, data.lists) == (name, str(root), str(tmp_path / name))
    assert len(open_lists(name, root, tmp_path / name)[1]) == 4
    with pytest.raises(UsageProblem, match=r"--lists: .*ms1m-lt-8-of-4"):
        prepare(root, images=8, identities=4, lists=tmp_path)
    with pytest.raises(UsageProblem, match="--images 3 of --identities 4"):
        prepare(root, images=3, identities=4)


def test_the_papers_size_is_what_is_held_to_be_published():
    assert PUBLISHED["ms1m-lt"].images == {"train": IMAGES}
    assert PUBLISHED["ms1m-lt"].classes == IDENTITIES


def test_groups_of_people_and_of_images(root, tmp_path):
    file = tmp_path / "gender.txt"
    file.write_text("Aaron Eckhart male\nprobe/Kim female\n\nZoë female\nKim/1.jpg glasses\nprobe/Kim/0.jpg glasses\n")
    prepare(root, attributes=file)
    groups = open_lists("x", root, root)[0]["probe"].groups
    assert {name: int(members.sum()) for name, members in groups.items()} == {"female": 3, "glasses": 2, "male": 3}
    assert "probe/Aaron Eckhart/0.jpg male" in (root / "attributes.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Kim female\nKarl male\n", r"gender\.txt:2: 'Karl' is not among the probes"),
        ("Kim full\n", r"gender\.txt:1: invalid group name 'full'"),
        ("Kim\n", r"gender\.txt:1: '' is not among the probes"),
        (b"\xff\xfe", r"gender\.txt: cannot be read"),
        (None, r"gender\.txt: cannot be read"),
    ],
)
def test_wrong_attributes(root, tmp_path, text, message):
    file = tmp_path / "gender.txt"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataProblem, match=message):
        prepare(root, attributes=file)
    assert not (root / "train.txt").exists()


def test_names_on_both_sides_are_pointed_out(root):
    shutil.copytree(root / "probe/Kim", root / "Kim")
    assert "are they the same people? Kim" in prepare(root)[1].warnings[-1]


def test_what_is_left_out_is_said(root):
    (root / "m.empty").mkdir()
    (root / "m.nothing").mkdir()
    shutil.copy(root / "m.0a/0.jpg", root / "loose.jpg")
    shutil.copy(root / "m.0a/0.jpg", root / "m.0a/line\nbreak.jpg")
    shutil.copy(root / "m.0a/0.jpg", root / "probe/loose.jpg")
    _, prepared = prepare(root)
    text = "\n".join(prepared.warnings)
    assert "left out, folders without an image (2): m.empty, m.nothing" in text
    assert "left out, images outside of the identity folders (1)" in text
    assert "left out, names with a line break (1)" in text
    assert "probe outside of the people's folders" in text
    assert prepared.counts["train"] == 16


def test_folders_elsewhere_need_a_link(root, tmp_path):
    for name in ("probe", "distractors"):
        (root / name).rename(tmp_path / name)
    with pytest.raises(UsageProblem, match=rf"--probe .*: is not below .*ln -s {tmp_path}/probe {root}/probe"):
        prepare(root, probe=tmp_path / "probe", distractors=tmp_path / "distractors")
    for name in ("probe", "distractors"):
        (root / name).symlink_to(tmp_path / name)
    assert prepare(root)[1].counts["probe"] == 6


def test_other_names_for_the_folders(root):
    (root / "probe").rename(root / "facescrub")
    (root / "distractors").rename(root / "megaface")
    _, prepared = prepare(root, probe=root / "facescrub", distractors=root / "megaface")
    assert (prepared.classes, prepared.counts["probe"], prepared.counts["distractors"]) == (5, 6, 5)


def _no_root(root):
    shutil.rmtree(root)


def _alone(root):
    shutil.rmtree(root / "distractors")


def _no_distractor(root):
    shutil.rmtree(root / "distractors/x")


def _nobody_twice(root):
    for path in (root / "probe").rglob("[1-9].jpg"):
        path.unlink()


def _recordio(root):
    for name in COUNTS:
        shutil.rmtree(root / name)
    (root / "train.rec").write_bytes(b"x")


def _flat(root):
    for name in COUNTS:
        shutil.rmtree(root / name)
    (root / "a.jpg").write_bytes(b"x")


def _deeper(root):
    for name in COUNTS:
        shutil.rmtree(root / name)
    (root / "faces/m.0a").mkdir(parents=True)


def _empty_file(root):
    for path in (root / "m.0a").iterdir():
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (_no_root, DataProblem, "no such folder; give --root"),
        (_alone, UsageProblem, "--distractors is missing: identification needs it"),
        (_no_distractor, DataProblem, "no images of distractors"),
        (_nobody_twice, DataProblem, "no person has two images"),
        (_recordio, DataProblem, r"holds MXNet's train\.rec; unpack it"),
        (_flat, DataProblem, "has 1 image and no folder; put the images of each identity into a folder"),
        (_deeper, DataProblem, "has 1 folder, none with an image directly in it: faces"),
        (_empty_file, DataProblem, r"train\.txt: [78] of 16 images empty: m\.0a/"),
    ],
)
def test_what_is_refused(root, damage, error, message):
    damage(root)
    with pytest.raises(error, match=message):
        prepare(root)
    assert not list(root.glob("*.txt"))


def test_folders_within_folders(root):
    (root / "distractors").rename(root / "probe/distractors")
    with pytest.raises(UsageProblem, match="probe contains probe/distractors"):
        prepare(root, distractors=root / "probe/distractors")
    with pytest.raises(UsageProblem, match="is not below"):
        prepare(root, probe=root, distractors=root)


def test_a_list_of_another_origin_stays(root):
    (root / "probe.txt").write_text("x.jpg 0\n")
    with pytest.raises(DataProblem, match=r"probe\.txt already there with other content"):
        prepare(root)
    assert not (root / "train.txt").exists()


def test_by_command(root):
    command = ["data", "prepare", "ms1m-lt"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "people to identify" in done.stdout
    assert done.stderr.rstrip().endswith("oltr run dme --dataset ms1m-lt")
    report = json.loads(CliRunner().invoke(app, [*command, "--images", "8", "--identities", "4", "--json"]).stdout)
    assert (report["dataset"], report["counts"]["train"]) == ("ms1m-lt-8-of-4", 8)
    backbone = plan("dme", "ms1m-lt", [], 0)[-1].link.recipe.backbone
    assert (backbone.name, backbone.weights) == ("resnet50", "torchvision")
