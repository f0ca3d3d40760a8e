"""`oltr data prepare imagenet-lt`: official lists, drawn ones, where classes and open images come from, refusals."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
import scipy.io
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.display import Display
from oltr_cli.data.inspect.published import PUBLISHED, Published
from oltr_cli.data.lists.lists import open_lists, read_list
from oltr_cli.data.prepare import common as preparing
from oltr_cli.data.prepare import folders
from oltr_cli.data.prepare import imagenet as prepare_imagenet
from oltr_cli.data.prepare.draw import published_counts
from oltr_cli.data.prepare.imagenet import prepare_imagenet_lt
from oltr_cli.errors import DataProblem, OltrError
from oltr_cli.protocol.shots import shot_groups
from tests.helpers.fake_trees import contents, listed, put, write_list

QUIET = Display(quiet=True)
IDS = ["n01440764", "n01443537", "n01484850", "n01491361"]
COUNTS = dict(zip(IDS, (6, 3, 2, 1), strict=True))
VAL, TEST = 2, 3
OPEN = ["ILSVRC2010_val_00000005.JPEG", "ILSVRC2010_val_00000002.JPEG"]
OFFICIAL = ("train", "val", "test", "open")


def train_file(name, i):
    return f"train/{name}/{name}_{i}.JPEG"


def val_file(i):
    return f"val/ILSVRC2012_val_{i + 1:08}.JPEG"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """ImageNet-LT with 4 classes of 6, 3, 2 and 1 training images."""
    images = {"train": 12, "val": 8, "test": 12, "open": 2}
    monkeypatch.setitem(PUBLISHED, "imagenet-lt", Published(4, images, (1, 6)))
    monkeypatch.setattr(prepare_imagenet, "published_counts", lambda file: dict(COUNTS))
    monkeypatch.setattr(prepare_imagenet, "VAL", VAL)
    monkeypatch.setattr(prepare_imagenet, "TEST", TEST)


@pytest.fixture
def root(tmp_path):
    """ILSVRC2012: three images a class more than train and val need, and val/ in class folders."""
    root = tmp_path / "imagenet-lt"
    put(root, [train_file(name, i) for name in IDS for i in range(COUNTS[name] + VAL + 3)])
    put(root, [f"val/{IDS[i % 4]}/{val_file(i)[4:]}" for i in range(4 * TEST)])
    return root


def flatten(root):
    for path in list((root / "val").rglob("*.JPEG")):
        path.rename(root / "val" / path.name)
    for name in IDS:
        (root / "val" / name).rmdir()


def official(split):
    """What the published list says: paths in the flat style, in no order."""
    if split == "open":
        return [(name, -1) for name in OPEN]
    if split == "test":
        return [(val_file(i), i % 4) for i in reversed(range(4 * TEST))]
    first = {"val": lambda n: range(VAL), "train": lambda n: range(VAL, VAL + COUNTS[n])}[split]
    return [(train_file(name, i), label) for label, name in enumerate(IDS) for i in first(name)]


def write_official(folder, *splits):
    for split in splits:
        write_list(folder / f"ImageNet_LT_{split}.txt", official(split))


def test_without_lists_everything_is_drawn(root):
    prepared = prepare_imagenet_lt(root, None, QUIET)
    assert prepared.counts == {"train": 12, "val": 8, "test": 12}
    assert prepared.lists_written == ["classes.txt", "train.txt", "val.txt", "test.txt"]
    splits = {split: listed(root, split) for split in ("train", "val", "test")}
    for rows in splits.values():
        assert all(name.split("/")[1] == IDS[label] for name, label in rows.items())
    assert Counter(splits["train"].values()) == {0: 6, 1: 3, 2: 2, 3: 1}
    assert set(Counter(splits["val"].values()).values()) == {VAL}
    assert set(Counter(splits["test"].values()).values()) == {TEST}
    assert not splits["train"].keys() & splits["val"].keys()
    assert "published number" in prepared.origin["train"]
    assert "classes by folder" in prepared.origin["test"]
    assert "no open images" in prepared.warnings[0]
    assert (root / "classes.txt").read_text().split() == IDS
    opened, names, _ = open_lists("imagenet-lt", root, root)
    assert names == IDS
    assert len(opened["train"]) == 12


def test_the_draw_follows_from_the_names(root, tmp_path):
    prepare_imagenet_lt(root, None, QUIET)
    first = listed(root, "train")
    other = tmp_path / "elsewhere"
    put(other, [train_file(name, i) for name in reversed(IDS) for i in reversed(range(COUNTS[name] + VAL + 3))])
    shutil.copytree(root / "val", other / "val")
    prepare_imagenet_lt(other, None, QUIET)
    assert listed(other, "train") == first
    # Not simply the first or the last ones, and not the same places in every class.
    places = [sorted(int(name.rpartition("_")[2][:-5]) for name in first if IDS[k] in name) for k in range(3)]
    assert any(found != list(range(len(found))) for found in places)
    # What is not drawn may be missing: nothing changes.
    spare = next(p for p in (other / "train" / IDS[0]).iterdir() if f"train/{IDS[0]}/{p.name}" not in
                 first | listed(other, "val"))  # fmt: skip
    spare.unlink()
    assert prepare_imagenet_lt(other, None, QUIET).lists_written == []


def test_official_lists_are_taken_as_they_are(root):
    write_official(root, *OFFICIAL)
    put(root, [f"ILSVRC2010_val/{name}" for name in OPEN])
    before = contents(root)
    prepared = prepare_imagenet_lt(root, None, QUIET)
    assert prepared.lists_written == ["classes.txt"]
    assert {name: now for name, now in contents(root).items() if name != "classes.txt"} == before
    assert set(prepared.origin.values()) == {"the official list"}
    assert (prepared.counts, prepared.warnings) == ({"train": 12, "val": 8, "test": 12, "open": 2}, [])
    assert len(open_lists("imagenet-lt", root, root)[0]["open"]) == 2


def test_validation_images_of_the_official_list_are_never_trained_on(root):
    write_official(root, "val", "test")
    for name in IDS:  # nothing to spare: what validation does not use is all that is left
        for i in range(COUNTS[name] + VAL, COUNTS[name] + VAL + 3):
            (root / train_file(name, i)).unlink()
    prepared = prepare_imagenet_lt(root, None, QUIET)
    assert listed(root, "train") == dict(official("train"))
    assert prepared.lists_written == ["classes.txt", "train.txt"]
    assert prepared.origin["val"] == "the official list"
    (root / train_file(IDS[2], 3)).unlink()
    (root / "train.txt").unlink()
    with pytest.raises(DataProblem, match=r"1 class apart from those in the official val list: n01484850 1 of 2"):
        prepare_imagenet_lt(root, None, QUIET)


def test_training_images_of_the_official_list_are_never_validated_on(root):
    write_official(root, "train")
    prepare_imagenet_lt(root, None, QUIET)
    assert not listed(root, "val").keys() & dict(official("train")).keys()
    assert not (root / "train.txt").exists()


def test_lists_elsewhere_leave_the_images_alone(root, tmp_path):
    lists = tmp_path / "my lists"
    write_official(lists, "val")
    write_official(root, "test")
    before = contents(root)
    arguments = ["data", "prepare", "imagenet-lt", "--root", str(root), "--lists", str(lists)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert contents(root) == before
    # The run reads one folder of lists: what lies beside the images is copied, byte by byte.
    assert (lists / "test.txt").read_bytes() == (root / "ImageNet_LT_test.txt").read_bytes()
    assert not (lists / "val.txt").exists()
    assert f"--set data.root={root} --set 'data.lists={lists}'".replace("'", "") in done.stderr.replace("'", "")
    assert {p.name for p in lists.iterdir()} == {"ImageNet_LT_val.txt", "train.txt", "test.txt", "classes.txt"}
    report = json.loads(CliRunner().invoke(app, [*arguments, "--json", "-q"]).stdout)
    assert (report["root"], report["lists"], report["lists_written"]) == (str(root), str(lists), [])
    assert report["origin"]["train"].startswith("drawn")
    assert len(open_lists("imagenet-lt", root, lists)[0]["train"]) == 12


def test_kaggle_keeps_what_belongs_to_the_images_above_them(root, tmp_path):
    kaggle = tmp_path / "ILSVRC/Data/CLS-LOC"
    kaggle.parent.mkdir(parents=True)
    root.rename(kaggle)
    flatten(kaggle)
    rows = [f"ILSVRC2012_val_{i + 1:08},{IDS[i % 4]} 1 2 3 4 {IDS[i % 4]} 5 6 7 8 \n" for i in range(4 * TEST)]
    (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(rows))
    names = ["tench, Tinca tinca", "crane", "crane", "hammerhead, hammerhead shark"]
    (tmp_path / "LOC_synset_mapping.txt").write_text("".join(f"{i} {n}\n" for i, n in zip(IDS, names, strict=True)))
    prepared = prepare_imagenet_lt(kaggle, None, QUIET)
    assert listed(kaggle, "test") == dict(official("test"))
    assert "LOC_val_solution.csv" in prepared.origin["test"]
    lines = (kaggle / "classes.txt").read_text().splitlines()
    assert lines == [f"{i} {n}" for i, n in zip(IDS, ["tench", "crane", "crane", "hammerhead"], strict=True)]


def test_classes_of_validation_images_from_the_devkit(root):
    flatten(root)
    numbers = {name: number for number, name in enumerate((IDS[2], IDS[0], IDS[3], IDS[1]), 1)}
    dtype = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("num_children", object)]
    synsets = np.array([(i, name, "words", 0) for name, i in numbers.items()] + [(5, "n00001740", "e", 9)], dtype)
    data = root / "ILSVRC2012_devkit_t12/data"
    data.mkdir(parents=True)
    scipy.io.savemat(data / "meta.mat", {"synsets": synsets})
    truth = data / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("".join(f"{numbers[IDS[i % 4]]}\n" for i in range(4 * TEST)))
    prepared = prepare_imagenet_lt(root, None, QUIET)
    assert listed(root, "test") == dict(official("test"))
    assert "ILSVRC2012_devkit_t12" in prepared.origin["test"]
    truth.write_text("1\n7\n")
    with pytest.raises(DataProblem, match=r"ground_truth\.txt: 7 is not the number of a class"):
        prepare_imagenet_lt(root, None, QUIET)
    (data / "meta.mat").write_bytes(b"no matlab")
    with pytest.raises(DataProblem, match=r"meta\.mat: cannot be read"):
        prepare_imagenet_lt(root, None, QUIET)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "does not begin with 'ImageId,PredictionString'"),
        ("", "does not begin with 'ImageId,PredictionString'"),
        ("ImageId,PredictionString\nILSVRC2012_val_00000001,\n", r"csv:2: has no class"),
        (
            "ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1\n",
            r"has no class for 11 images of val/: .*002",
        ),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_wrong_solutions(root, text, message):
    flatten(root)
    (root / "LOC_val_solution.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataProblem, match=message):
        prepare_imagenet_lt(root, None, QUIET)


def test_open_images_without_their_list(root):
    put(root, ["open/cat.jpg", f"open/{IDS[0]}/known.jpg", "open/n99999999/bird.PNG", "open/notes.txt"])
    put(root, [f"ILSVRC2010_val/{name}" for name in OPEN])  # flat: classes of 2012 are among them
    put(root, [f"ILSVRC2010_val/{IDS[1]}/x.JPEG", "ILSVRC2010_val/n88888888/y.JPEG"])
    prepared = prepare_imagenet_lt(root, None, QUIET)
    assert listed(root, "open") == dict.fromkeys(
        ["open/cat.jpg", "open/n99999999/bird.PNG", "ILSVRC2010_val/n88888888/y.JPEG"], -1
    )
    assert "is missing to tell them apart" in prepared.warnings[0]
    assert "open is all of open/ and ILSVRC2010_val/, 3 images (2 in the paper)" in prepared.warnings[1]


def test_an_open_list_that_is_there_already_is_left(root):
    put(root, ["mine/a.jpg"])
    write_list(root / "open.txt", [("mine/a.jpg", -1)])
    prepared = prepare_imagenet_lt(root, None, QUIET)
    assert prepared.counts["open"] == 1
    assert "already" in prepared.origin["open"]
    assert prepared.warnings == []
    (root / "mine/a.jpg").unlink()
    with pytest.raises(DataProblem, match=r"open\.txt: 1 of 1 image missing; mine lacks 1 \(a\.jpg\)"):
        prepare_imagenet_lt(root, None, QUIET)


@pytest.mark.parametrize("folder", ["", "ImageNet_open/", "open/"])
def test_official_open_images_lie_flat_or_in_a_folder(root, folder):
    write_official(root, "open")
    put(root, [folder + name for name in OPEN])
    assert prepare_imagenet_lt(root, None, QUIET).counts["open"] == 2
    (root / folder / OPEN[1]).unlink()
    with pytest.raises(DataProblem, match=r"ImageNet_LT_open\.txt: 1 of 2 images missing; \. lacks 1"):
        prepare_imagenet_lt(root, None, QUIET)
    (root / folder / OPEN[0]).unlink()
    with pytest.raises(DataProblem, match=r"2 of 2 .* put them into ILSVRC2010_val/, or move the list away"):
        prepare_imagenet_lt(root, None, QUIET)


def test_renamed_class_folders_are_taken_and_said(root):
    for place in ("train", "val"):
        for name, other in zip(IDS, ("fish", "ant", "owl", "bee"), strict=True):
            (root / place / name).rename(root / place / other)
    prepared = prepare_imagenet_lt(root, None, QUIET)
    assert (root / "classes.txt").read_text().split() == ["ant", "bee", "fish", "owl"]
    assert "none of the class folders in train/ has an id of ILSVRC2012" in prepared.warnings[0]
    assert Counter(listed(root, "train").values()) == {0: 6, 1: 3, 2: 2, 3: 1}


def test_a_second_call_changes_nothing(root):
    prepare_imagenet_lt(root, None, QUIET)
    before = contents(root)
    assert prepare_imagenet_lt(root, None, QUIET).lists_written == []
    assert contents(root) == before


def test_an_interrupted_call_is_taken_up(root, monkeypatch):
    prepare_imagenet_lt(root, None, QUIET)
    whole = {path.name: path.read_bytes() for path in root.glob("*.txt")}
    for name in whole:
        (root / name).unlink()
    real, written = preparing.write_text, []

    def fail_third(path, text):
        if len(written) == 2:
            raise OltrError("no space left")
        written.append(path.name)
        real(path, text)

    monkeypatch.setattr(preparing, "write_text", fail_third)
    with pytest.raises(OltrError, match="no space"):
        prepare_imagenet_lt(root, None, QUIET)
    monkeypatch.setattr(preparing, "write_text", real)
    done = prepare_imagenet_lt(root, None, QUIET)
    assert sorted(done.lists_written + written) == sorted(whole)
    assert {path.name: path.read_bytes() for path in root.glob("*.txt")} == whole


def test_a_list_of_another_origin_stays(root):
    (root / "val.txt").write_text("train/x.JPEG 0\n")
    with pytest.raises(DataProblem, match=r"val\.txt already there with other content"):
        prepare_imagenet_lt(root, None, QUIET)
    assert [path.name for path in root.glob("*.txt")] == ["val.txt"]


def test_empty_files_are_named(root):
    prepare_imagenet_lt(root, None, QUIET)
    victims = sorted(listed(root, "train"))[:2]
    for name in victims:
        (root / name).write_bytes(b"")
    warning = prepare_imagenet_lt(root, None, QUIET).warnings[-1]
    assert "2 of 32 listed images empty" in warning
    assert all(name in warning for name in victims)


def _drop_classes(root):
    shutil.rmtree(root / "train" / IDS[1])
    put(root, ["train/n99999999/x.JPEG"])


def _tars(root):
    shutil.rmtree(root / "train")
    (root / "train").mkdir()
    (root / "train/n01440764.tar").write_bytes(b"tar")


def _short_class(root):
    for path in list((root / "train" / IDS[0]).iterdir())[:6]:
        path.unlink()


def _other_set(root):
    for name in IDS:
        (root / "train" / name).rename(root / "train" / f"{name}0")
    put(root, ["train/fifth/x.JPEG"])


def _short_val(root):
    next((root / "val" / IDS[2]).iterdir()).unlink()


def _flat_val(root):
    flatten(root)


def _no_val(root):
    shutil.rmtree(root / "val")


def _missing_listed(root):
    write_official(root, "train", "val")
    shutil.rmtree(root / "train" / IDS[3])
    (root / train_file(IDS[0], 0)).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_classes, r"train/ lacks 1 of 4 class folders: n01443537; it has 1 that are not .*: n99999999$"),
        (_tars, r"no class folders train/<wnid>/; unpack ILSVRC2012_img_train\.tar"),
        (_short_class, r"train/ has too few images of 1 class: n01440764 5 of 8$"),
        (_other_set, r"none of the 4 class folders of ILSVRC2012, but 5 others"),
        (_short_val, r"val/ should have 3 images of each class, but: n01484850 2$"),
        (_flat_val, r"val/ is flat, and no file gives the classes"),
        (_no_val, r"no images in val/; unpack ILSVRC2012_img_val\.tar there"),
        (
            _missing_listed,
            r"2 problems\n.*train\.txt: 1 of 12 images missing; no folder train/n01491361\n"
            r".*val\.txt: 3 of 8 images missing; no folder train/n01491361; train/n01440764 lacks 1 \(n.*\)$",
        ),
    ],
)
def test_what_is_refused(root, damage, message):
    damage(root)
    before = contents(root)
    with pytest.raises(DataProblem, match=message):
        prepare_imagenet_lt(root, None, QUIET)
    assert contents(root) == before


def test_all_problems_come_at_once(root):
    _short_class(root)
    _no_val(root)
    write_official(root, "open")
    with pytest.raises(DataProblem, match=r"(?s)3 problems.*too few.*no images in val/.*2 of 2 images missing"):
        prepare_imagenet_lt(root, None, QUIET)


def _without(rows, *indices):
    return [row for i, row in enumerate(rows) if i not in indices]


@pytest.mark.parametrize(
    ("split", "change", "message"),
    [
        ("train", lambda rows: rows[:-1], r"train\.txt has 11 images, the published list 12$"),
        ("train", lambda rows: [("x", 0)] * 62_500, r"has 62,500 images, .* 12; places-lt has a list of that length"),
        ("train", lambda rows: [*rows[:-1], (train_file(IDS[0], 8), 0)], r"label 0 has 7, not 6, label 3 has 0, not 1"),
        ("train", lambda rows: [*rows[:-1], (rows[-1][0], 4)], r"has label 4; labels are 0\.\.3"),
        ("val", lambda rows: [rows[0], *rows[:-1]], r"has images twice: train/n01440764/n01440764_0\.JPEG"),
        (
            "val",
            lambda rows: [(name, 3 - label) for name, label in rows],
            r"label 0 is n01491361, not n01440764, label 1",
        ),
        ("test", lambda rows: [(name, -1) for name, _ in rows], r"has label -1; labels are 0\.\.3"),
        (
            "open",
            lambda rows: [(name, 0) for name, _ in rows],
            r"open\.txt has label 0; open images must have label −1",
        ),
        ("open", lambda rows: [], r"lists no image"),
        (
            "val",
            lambda rows: [(name.rpartition("/")[2], label) for name, label in rows],
            r"val\.txt: 8 of 8 .* \. lacks 8",
        ),
    ],
)
def test_wrong_lists(root, split, change, message):
    write_official(root, *OFFICIAL)
    put(root, OPEN)
    write_list(root / f"ImageNet_LT_{split}.txt", change(official(split)))
    with pytest.raises(DataProblem, match=message):
        prepare_imagenet_lt(root, None, QUIET)


def test_an_image_in_two_official_lists(root):
    write_official(root, "train")
    write_list(root / "ImageNet_LT_val.txt", [(train_file(n, i + VAL), k) for k, n in enumerate(IDS) for i in (0, 3)])
    with pytest.raises(
        DataProblem, match=r"images in both ImageNet_LT_train\.txt and ImageNet_LT_val\.txt: train/n014"
    ):
        prepare_imagenet_lt(root, None, QUIET)


@pytest.mark.parametrize(
    ("place", "message"),
    [("nowhere", "nowhere: no such folder; give --root"), ("train", "train: 2 problems\n.*holds class folders itself")],
)
def test_wrong_roots(root, place, message):
    with pytest.raises(DataProblem, match=message):
        prepare_imagenet_lt(root / place, None, QUIET)


def test_by_command(root, tmp_path):
    arguments = ["data", "prepare", "imagenet-lt", "--root", str(root)]
    done = CliRunner().invoke(app, arguments, env={"OLTR_DATA": str(tmp_path)})
    assert done.exit_code == 0, done.output
    assert "train             12  drawn: the published number" in done.stdout
    assert done.stderr.rstrip().endswith("next  oltr run dme --dataset imagenet-lt")
    assert "nothing to write" in CliRunner().invoke(app, arguments).stderr


def test_the_published_counts_are_the_published_ones():
    counts = published_counts(prepare_imagenet.COUNTS)
    assert list(counts) == sorted(counts)
    assert (len(counts), sum(counts.values()), min(counts.values()), max(counts.values())) == (1000, 115_846, 5, 1280)
    groups = shot_groups(list(counts.values()))
    assert [int(groups[name].sum()) for name in ("many", "medium", "few")] == [385, 479, 136]


def test_the_whole_set_from_a_listing(tmp_path, monkeypatch):
    """A thousand class folders with the published numbers and validation in class folders; no file is made."""
    monkeypatch.undo()
    counts = published_counts(prepare_imagenet.COUNTS)
    root = tmp_path / "imagenet"
    root.mkdir()
    reads = Counter()

    def scan(folder):
        reads[str(folder)] += 1
        parts = folder.relative_to(root).parts
        if parts in (("train",), ("val",)):
            return sorted(counts), []
        if len(parts) == 2 and parts[0] == "train":
            return [], sorted(f"{parts[1]}_{i}.JPEG" for i in range(counts[parts[1]] + 20))
        if len(parts) == 2 and parts[0] == "val":
            first = 50 * sorted(counts).index(parts[1])
            return [], [f"ILSVRC2012_val_{first + i + 1:08}.JPEG" for i in range(50)]
        return [], []

    monkeypatch.setattr(folders, "scan", scan)
    prepared = prepare_imagenet_lt(root, None, QUIET)
    assert prepared.counts == {"train": 115_846, "val": 20_000, "test": 50_000}
    assert max(reads.values()) == 1
    train, labels = read_list(root / "train.txt")
    assert np.bincount(labels).tolist() == list(counts.values())
    assert set(np.bincount(read_list(root / "val.txt")[1])) == {20}
    assert set(np.bincount(read_list(root / "test.txt")[1])) == {50}
    assert not set(train) & set(read_list(root / "val.txt")[0])
    assert len(set(train)) == 115_846
