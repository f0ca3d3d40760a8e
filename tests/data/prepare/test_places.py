"""`oltr data prepare places-lt`: the labels' order, folders by other names, the drawn tail, refusals."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.display import Display
from oltr_cli.data.inspect.published import PUBLISHED, Published
from oltr_cli.data.lists.lists import find_list, open_lists, read_list
from oltr_cli.data.prepare import folders
from oltr_cli.data.prepare import places as prepare_places
from oltr_cli.data.prepare.draw import published_counts
from oltr_cli.data.prepare.places import prepare_places_lt
from oltr_cli.errors import DataProblem
from oltr_cli.planning.plan import plan
from oltr_cli.protocol.shots import shot_groups
from tests.helpers.fake_trees import contents, listed, put, write_list

QUIET = Display(quiet=True)
# In the order of Places-LT's labels; Places365's own has the road behind the sand.
CLASSES = ["a/airfield", "d/dam", "d/desert_road", "d/desert/sand", "z/zen_garden"]
PLACES365 = sorted(CLASSES)
IMAGES = 14  # of each class in train
VAL, TEST = 2, 3
OPEN = ["0_extra_test_00000001.jpg", "1_extra_test_00000002.jpg"]
OFFICIAL = ("train", "val", "test", "open")
COUNTS = [4, 10, 4, 5, 4]  # of the official list


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Places-LT with 5 classes of 4 to 10 images."""
    images = {"train": sum(COUNTS), "val": 10, "test": 15, "open": 2}
    monkeypatch.setitem(PUBLISHED, "places-lt", Published(5, images, (4, 10)))
    monkeypatch.setattr(prepare_places, "published_counts", lambda file: dict(zip(CLASSES, COUNTS, strict=True)))
    monkeypatch.setattr(prepare_places, "VAL", VAL)
    monkeypatch.setattr(prepare_places, "TEST", TEST)
    monkeypatch.setattr(prepare_places, "SMALLEST", 12)


def image(i):
    return f"{i:08}.jpg"


def val_file(i):
    return f"Places365_val_{i + 1:08}.jpg"


def make(root, train="data_256", val="val_256"):
    """Places365-Standard as it is unpacked, with what says the classes of val/."""
    put(root, [f"{train}/{name}/{image(i)}" for name in CLASSES for i in range(IMAGES)])
    put(root, [f"{val}/{val_file(i)}" for i in range(5 * TEST)])
    write_list(root / "places365_val.txt", [(val_file(i), i % 5) for i in range(5 * TEST)])
    return root


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "places-lt")


def official(split):
    if split == "open":
        return [(name, -1) for name in OPEN]
    if split == "test":
        return [(f"val_256/{val_file(i)}", CLASSES.index(PLACES365[i % 5])) for i in reversed(range(5 * TEST))]
    places = {"val": lambda k: range(VAL), "train": lambda k: range(VAL, VAL + COUNTS[k])}[split]
    return [(f"data_256/{name}/{image(i)}", k) for k, name in enumerate(CLASSES) for i in reversed(places(k))]


def write_official(folder, *splits):
    for split in splits:
        write_list(folder / f"Places_LT_{split}.txt", official(split))


def test_official_lists_are_taken_as_they_are(root):
    write_official(root, *OFFICIAL)
    put(root, [f"Places_open/{name}" for name in OPEN])
    (root / "places365_val.txt").unlink()  # beside it a run would not know which list is meant
    before = contents(root)
    prepared = prepare_places_lt(root, None, QUIET)
    assert prepared.lists_written == ["classes.txt"]
    assert {name: now for name, now in contents(root).items() if name != "classes.txt"} == before
    assert prepared.warnings == []
    assert (root / "classes.txt").read_text().split() == [name[2:] for name in CLASSES]


@pytest.mark.parametrize(("train", "val"), [("data_256_standard", "val_256"), ("data_large", "val_large")])
def test_folders_by_other_names(tmp_path, train, val):
    root = make(tmp_path, train, val)
    write_official(root, *OFFICIAL)
    put(root, OPEN)
    prepared = prepare_places_lt(root, None, QUIET)
    for split, here in (("train", train), ("val", train), ("test", val)):
        names, labels = read_list(find_list(root, split))
        assert [(name.replace(here, "data_256" if here == train else "val_256", 1), label)
                for name, label in zip(names, labels.tolist(), strict=True)] == official(split)  # fmt: skip
    assert "paths adapted to the folders here" in prepared.origin["train"]
    splits, names, _ = open_lists("places-lt", root, root)
    assert (len(splits["open"]), names[3]) == (2, "desert/sand")


@pytest.mark.parametrize("splits", [("train", "val", "test"), ("val", "test")])
def test_flattened_paths_are_the_same_lists(root, splits):
    def flattened(split):
        for name, label in official(split):
            first, name = ("val" if split == "test" else "train"), name.rpartition("/")[2]
            yield f"{first}/{CLASSES[label][2:].replace('/', '-')}/{name}", label

    for split in splits:
        write_list(root / f"Places_LT_{split}.txt", list(flattened(split)))
    prepare_places_lt(root, None, QUIET)
    for split in splits:
        assert listed(root, split) == dict(official(split))
    if "train" not in splits:
        assert not listed(root, "train").keys() & listed(root, "val").keys()
    wrong = [(name, (label + 1) % 5 if "desert-sand" in name else label) for name, label in flattened("val")]
    write_list(root / "Places_LT_val.txt", wrong)
    with pytest.raises(DataProblem, match=r"Places_LT_val\.txt"):
        prepare_places_lt(root, None, QUIET)


def test_a_list_of_places365_does_not_hide_the_official_one(root):
    """``places365_val.txt`` ends as ``Places_LT_val.txt`` does: the lists that are meant get names of their own."""
    write_official(root, "train", "val", "test")
    prepared = prepare_places_lt(root, None, QUIET)
    assert "val.txt" in prepared.lists_written
    assert (root / "val.txt").read_bytes() == (root / "Places_LT_val.txt").read_bytes()
    assert len(open_lists("places-lt", root, root)[0]["val"]) == 10


def test_without_lists_everything_is_drawn(root):
    prepared = prepare_places_lt(root, None, QUIET)
    splits = {split: listed(root, split) for split in ("train", "val", "test")}
    assert Counter(splits["train"].values()) == dict(enumerate(COUNTS))
    assert Counter(splits["val"].values()) == dict.fromkeys(range(5), VAL)
    assert not splits["train"].keys() & splits["val"].keys()
    for split in ("train", "val"):
        for name, label in splits[split].items():
            assert name.removeprefix("data_256/").rpartition("/")[0] == CLASSES[label]
    # By name, not by number: the official test list agrees.
    assert splits["test"] == dict(official("test"))
    assert prepared.counts == {"train": sum(COUNTS), "val": 10, "test": 15}
    assert "no open images" in prepared.warnings[0]
    assert prepare_places_lt(root, None, QUIET).lists_written == []


def test_folders_too_many_and_too_small_are_pointed_out(root):
    for i in range(11, IMAGES):
        (root / "data_256/a/airfield" / image(i)).unlink()
    put(root, ["data_256/x/mine/a.jpg"])
    other, small, *_ = prepare_places_lt(root, None, QUIET).warnings
    assert "not classes of Places365: x/mine" in other
    assert "1 class with fewer images than any of Places365-Standard has (12)" in small


def test_official_validation_is_left_out_of_the_draw(root):
    write_official(root, "val", "test")
    prepare_places_lt(root, None, QUIET)
    assert not listed(root, "train").keys() & dict(official("val")).keys()
    assert Counter(listed(root, "train").values()) == dict(enumerate(COUNTS))


def test_open_images_without_their_list(root):
    put(root, ["open/volcano/a.jpg", "open/b.jpg"])
    prepared = prepare_places_lt(root, None, QUIET)
    assert listed(root, "open") == {"open/volcano/a.jpg": -1, "open/b.jpg": -1}
    assert "open is all of open/, 2 images" in prepared.warnings[0]


def _drop_class(root):
    shutil.rmtree(root / "data_256/d/desert")


def _drop_train(root):
    shutil.rmtree(root / "data_256")


def _shrink(root):
    for name in CLASSES:
        for i in range(10, IMAGES):
            (root / "data_256" / name / image(i)).unlink()


def _drop_val_labels(root):
    (root / "places365_val.txt").unlink()


def _drop_val_image(root):
    (root / "val_256" / val_file(4)).unlink()


def _short_val_labels(root):
    write_list(root / "places365_val.txt", [(val_file(i), i % 4) for i in range(15)])


def _numbers_beyond(root):
    write_list(root / "places365_val.txt", [(val_file(i), i % 5 + 1) for i in range(15)])


def _no_open(root):
    write_official(root, "open")


def _other_label(root):
    write_official(root, "train")
    text = (root / "Places_LT_train.txt").read_text()
    (root / "Places_LT_train.txt").write_text(text.replace("desert_road", "road").replace("desert/sand", "desert_road"))


def _torn_label(root):
    write_official(root, "train", "val")
    path = root / "Places_LT_train.txt"
    path.write_text(path.read_text().replace("z/zen_garden/00000002", "d/dam/00000013"))


def _other_head(root):
    rows = official("train")
    write_list(root / "Places_LT_train.txt", [(name, 0 if i == 10 else k) for i, (name, k) in enumerate(rows)])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            _drop_class,
            r"data_256/ lacks 1 of 5 class folders LETTER/CLASS/: d/desert/sand; unpack train_256_",
        ),
        (_drop_train, r"lacks 5 of 5"),
        (
            _shrink,
            r"data_256/ has too few images of 1 class: d/dam 10 of 12$",
        ),
        (_drop_val_labels, r"no file gives the classes of val_256/: add places365_val\.txt"),
        (
            _drop_val_image,
            r"val_256/ lacks 1 of the 15 images that places365_val\.txt names: Places365_val_00000005\.jpg",
        ),
        (_short_val_labels, r"should name 3 images of each class, but: "),
        (_numbers_beyond, r"has numbers 1 to 5, not 0 to 4"),
        (_no_open, r"2 of 2 images missing, .*renamed by the authors: put their folder Places_open/ here"),
        (_other_label, r"Places_LT_train\.txt: label 2 is d/road, not d/desert_road, label 3 is d/desert_road, not"),
        (_torn_label, r"Places_LT_train\.txt: label 4 is d/dam, not z/zen_garden$"),
        (
            _other_head,
            r"numbers of images that differ from the published ones: label 0 has 5, not 4, label 1 has 9, not 10$",
        ),
    ],
)
def test_what_is_refused(root, damage, message):
    damage(root)
    before = contents(root)
    with pytest.raises(DataProblem, match=message):
        prepare_places_lt(root, None, QUIET)
    assert contents(root) == before


def test_by_command(root, tmp_path):
    lists = tmp_path / "lists"
    arguments = ["data", "prepare", "places-lt", "--root", str(root), "--lists", str(lists), "--json", "-q"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["dataset"], report["classes"], report["lists"]) == ("places-lt", 5, str(lists))
    assert {path.name for path in lists.iterdir()} == {"classes.txt", "train.txt", "val.txt", "test.txt"}
    missing = CliRunner().invoke(app, [*arguments[:3], "--root", str(tmp_path / "none")])
    assert isinstance(missing.exception, DataProblem)


def test_the_published_counts_are_the_published_ones():
    counts = published_counts(prepare_places.COUNTS)
    assert list(counts) == sorted(counts, key=lambda path: path.replace("/", "_"))
    assert (len(counts), sum(counts.values()), min(counts.values()), max(counts.values())) == (365, 62_500, 5, 4980)
    groups = shot_groups(list(counts.values()))
    assert [int(groups[name].sum()) for name in ("many", "medium", "few")] == [131, 163, 71]


def test_the_whole_set_from_a_listing(tmp_path, monkeypatch):
    """365 class folders with the fewest images that will do, and what check says of the lists; no file is made."""
    monkeypatch.undo()
    counts = published_counts(prepare_places.COUNTS)
    sizes = {name: count + 20 for name, count in counts.items()}
    root = tmp_path / "places"
    (root / "data_256_standard").mkdir(parents=True)
    write_list(root / "places365_val.txt", [(val_file(i), i % 365) for i in range(36_500)])

    def scan(folder):
        below = folder.relative_to(root).as_posix()
        if below == "val_256":
            return [], [val_file(i) for i in range(36_500)]
        if not below.startswith("data_256_standard"):
            return [], []
        inside = below.removeprefix("data_256_standard").removeprefix("/")
        if inside in sizes:
            return [], [image(i) for i in range(sizes[inside])]
        start = f"{inside}/" if inside else ""
        return sorted({name.removeprefix(start).split("/")[0] for name in sizes if name.startswith(start)}), []

    monkeypatch.setattr(folders, "scan", scan)
    prepared = prepare_places_lt(root, None, QUIET)
    assert prepared.counts == {"train": 62_500, "val": 7_300, "test": 36_500}
    assert np.bincount(read_list(root / "train.txt")[1]).tolist() == list(counts.values())
    assert len(prepared.warnings) == 2  # folders with fewer images than Places365-Standard has, and no open images


def test_the_recipe_is_the_papers():
    stage1, stage2 = (planned.link.recipe for planned in plan("dme", "places-lt", [], 0))
    assert stage2.backbone.model_dump() | {"weights": ""} == stage1.backbone.model_dump() | {"weights": ""}
    assert (stage2.backbone.name, stage2.backbone.weights, stage2.backbone.fc) == ("resnet152", "torchvision", 512)
    assert (stage1.train.freeze_backbone, stage2.train.freeze_backbone) == (False, True)
    assert (stage1.train.lr["features"], stage1.train.lr["classifier"]) == (1e-3, 0.1)
    assert stage2.train.lr == {"features": 1e-4, "classifier": 0.01, "centroids": 0.01}
    assert (stage1.train.epochs, stage2.train.epochs, stage2.train.step_size) == (30, 30, 10)
