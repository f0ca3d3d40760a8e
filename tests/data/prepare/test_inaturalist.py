"""`oltr data prepare inaturalist2018`: labels, what validation is made of, classes set aside, and what is refused."""

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
from oltr_cli.data.prepare import inaturalist as module
from oltr_cli.data.prepare.inaturalist import prepare_inaturalist2018
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.planning.plan import plan

QUIET = Display(quiet=True)
COUNTS = [5, 2, 9, 2, 3, 4, 2, 6]
SUPER = ["Plantae", "Fungi"]  # of even and odd categories
K = len(COUNTS)


def write_json(path, counts, start, folder="train_val2018"):
    """As the challenge publishes it: ids that are no places, and annotations in another order than the images."""
    rng = np.random.default_rng(len(counts) + start)
    owners = [k for k, n in enumerate(counts) for _ in range(n)]
    images = [
        {
            "id": start + 7 * i,
            "file_name": f"{folder}/{SUPER[k % 2]}/{k}/{start + i:08x}.jpg",
            "width": 800,
            "height": 600,
        }
        for i, k in enumerate(owners)
    ]
    annotations = [
        {"id": i, "image_id": start + 7 * i, "category_id": owners[i]} for i in rng.permutation(len(owners)).tolist()
    ]
    categories = [{"id": k, "name": f"{k * k}", "supercategory": SUPER[k % 2]} for k in range(len(counts))]
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": annotations, "categories": categories}))
    return {image["file_name"]: k for image, k in zip(images, owners, strict=True)}


def make(root):
    """The two files and their images; path → category of each file's."""
    root.mkdir(parents=True)
    Image.fromarray(np.full((9, 9, 3), 200, np.uint8)).save(root / "one.png")
    photograph = (root / "one.png").read_bytes()
    (root / "one.png").unlink()
    listed = {
        "train": write_json(root / "train2018.json", COUNTS, 0),
        "val": write_json(root / "val2018.json", [3] * K, 1000),
    }
    for name in (name for files in listed.values() for name in files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(photograph)
    return listed


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(module, "CLASSES", K)
    monkeypatch.setattr(module, "IMAGES", {"train2018.json": sum(COUNTS), "val2018.json": 3 * K})


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_DATA", str(tmp_path))
    make(tmp_path / "inaturalist2018")
    return tmp_path / "inaturalist2018"


def rows(folder, split):
    return dict(zip(*(part for part in read_list(folder / f"{split}.txt")), strict=True))


def prepare(root, open_classes="", lists=None):
    return prepare_inaturalist2018(root, lists, open_classes, QUIET)


def test_labels_are_category_ids_and_training_is_the_official_list(tmp_path, monkeypatch):
    listed = make(tmp_path / "inat")
    name, prepared = prepare(tmp_path / "inat")
    assert name == "inaturalist2018"
    assert prepared.counts == {"train": sum(COUNTS), "val": K, "test": 2 * K}
    assert rows(tmp_path / "inat", "train") == listed["train"]
    val, test = rows(tmp_path / "inat", "val"), rows(tmp_path / "inat", "test")
    assert not val.keys() & test.keys()
    assert {**val, **test} == listed["val"]
    assert Counter(val.values()) == dict.fromkeys(range(K), 1)
    assert Counter(test.values()) == dict.fromkeys(range(K), 2)
    # Not the first of each class: the name decides.
    first = {k: min(name for name, label in listed["val"].items() if label == k) for k in range(K)}
    assert any(first[label] != name for name, label in val.items())
    splits, names, _ = open_lists(name, tmp_path / "inat", tmp_path / "inat")
    assert np.bincount(splits["train"].labels).tolist() == COUNTS
    assert names[:3] == ["Plantae 0", "Fungi 1", "Plantae 2"]
    assert splits["val"].image(0).shape == (3, 9, 9)


def test_the_lists_of_the_literature_do_without_json(root, tmp_path):
    listed = {"train": rows_of_json(root / "train2018.json"), "val": rows_of_json(root / "val2018.json")}
    prepare(root)
    expected = {split: rows(root, split) for split in ("train", "val", "test")}
    other = tmp_path / "other"
    other.mkdir()
    (root / "train_val2018").rename(other / "train_val2018")
    for split, labels in listed.items():
        text = "".join(f"{name} {label}\n" for name, label in labels.items())
        (other / f"iNaturalist18_{split}.txt").write_text(text)
    _, prepared = prepare(other)
    assert {split: rows(other, split) for split in expected} == expected
    assert prepared.origin["train"] == "iNaturalist18_train.txt"
    assert (other / "classes.txt").read_text() == (root / "classes.txt").read_text()
    (other / "iNaturalist18_val.txt").write_text("train_val2018/Plantae/0/x.jpg 1\n")
    with pytest.raises(DataProblem, match=r"iNaturalist18_val\.txt: 'train_val2018/Plantae/0/x\.jpg 1' is not"):
        prepare(other)


def rows_of_json(path):
    content = json.loads(path.read_text())
    category = {one["image_id"]: one["category_id"] for one in content["annotations"]}
    return {image["file_name"]: category[image["id"]] for image in content["images"]}


def test_the_published_counts_are_those_it_makes():
    facts = PUBLISHED["inaturalist2018"]
    assert facts.images == {"train": 437_513, "val": 8_142, "test": 2 * 8_142}
    assert facts.classes * 3 == 24_426


def test_torchvisions_layout_gives_the_same_split(root, tmp_path):
    prepare(root)
    other = shutil.copytree(root, tmp_path / "other")
    for path in other.glob("*.txt"):
        path.unlink()
    (other / "train_val2018").rename(other / "2018")
    prepare(other)
    for split in ("train", "val", "test"):
        renamed = {name.replace("2018/", "train_val2018/", 1): label for name, label in rows(other, split).items()}
        assert renamed == rows(root, split)
    open_lists("inaturalist2018", other, other)


def test_species_by_name(root):
    content = [{"id": k, "name": f"Genus  species{k}", "kingdom": "Plantae"} for k in reversed(range(K))]
    (root / "categories.json").write_text(json.dumps(content))
    _, prepared = prepare(root)
    assert prepared.warnings == []
    assert open_lists("x", root, root)[1] == [f"Genus species{k}" for k in range(K)]
    (root / "categories.json").write_text(json.dumps(content[1:]))
    with pytest.raises(DataProblem, match=r"categories\.json: lacks 1 categories, such as 7"):
        prepare(root)
    (root / "categories.json").write_text("[1]")
    with pytest.raises(DataProblem, match=r"categories\.json: is not a list of categories"):
        prepare(root)


def test_a_second_call_changes_nothing(root, tmp_path):
    _, first = prepare(root)
    assert "categories.json is missing" in first.warnings[0]
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert prepare(root)[1].lists_written == []
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    (root / "val.txt").unlink()
    assert prepare(root)[1].lists_written == ["val.txt"]
    prepare(root, lists=tmp_path / "lists")
    assert (tmp_path / "lists/val.txt").read_bytes() == (root / "val.txt").read_bytes()


@pytest.mark.parametrize(
    ("which", "name", "count"), [("3", "inaturalist2018-open3", 3), ("fungi", "inaturalist2018-open-fungi", 4)]
)
def test_classes_set_aside_make_a_set_of_their_own(root, tmp_path, which, name, count):
    found, prepared = prepare(root, which)
    folder = tmp_path / name
    assert (found, prepared.root, prepared.classes) == (name, folder, K - count)
    assert not (root / "train.txt").exists()
    open_, open_val = rows(folder, "open"), rows(folder, "open_val")
    categories = [{int(file.split("/")[2]) for file in split} for split in (open_, open_val)]
    assert not categories[0] & categories[1]
    aside = categories[0] | categories[1]
    assert len(aside) == count
    assert (len(open_) + len(open_val), len(categories[1])) == (3 * count, 1)
    if which == "fungi":
        assert aside == {1, 3, 5, 7}
    for split in ("train", "val", "test"):
        known = {int(file.split("/")[2]): label for file, label in rows(folder, split).items()}
        assert known == {category: label for label, category in enumerate(sorted(set(range(K)) - aside))}
    planned = plan("dme", name, [], 0)[-1].link.recipe
    assert (planned.data.name, planned.data.root, planned.data.lists) == (name, str(root), str(folder))
    assert planned.train == plan("dme", "inaturalist2018", [], 0)[-1].link.recipe.train
    assert "open" in open_lists(name, root, folder)[0]
    assert prepare(root, which)[1].lists_written == []


@pytest.mark.parametrize("which", ["1", "0", str(K - 1), str(10**9)])
def test_too_few_or_too_many_set_aside(root, which):
    with pytest.raises(UsageProblem, match="open test and open validation need one class each"):
        prepare(root, which)


def test_a_supercategory_that_is_not_there(root, tmp_path):
    with pytest.raises(UsageProblem, match=r"no supercategory 'Fung'; did you mean 'Fungi'\?"):
        prepare(root, "Fung")
    with pytest.raises(UsageProblem, match=r"--lists: .*inaturalist2018-open3"):
        prepare(root, "3", tmp_path)


def edited(root, file, change):
    content = json.loads((root / file).read_text())
    change(content)
    (root / file).write_text(json.dumps(content))


def _cut(root):
    (root / "train2018.json").write_bytes((root / "train2018.json").read_bytes()[:-9])


def _test_file(root):
    edited(root, "val2018.json", lambda c: c.pop("annotations"))


def _other_year(root):
    write_json(root / "train2018.json", COUNTS, 0, folder="train_val2019")


def _part(root):
    write_json(root / "train2018.json", [*COUNTS[:-1], 1], 0)


def _other_classes(root):
    write_json(root / "train2018.json", [*COUNTS[:-2], COUNTS[-2] + COUNTS[-1]], 0)


def _uneven(root):
    write_json(root / "val2018.json", [2, 4, *[3] * (K - 2)], 1000)


def _the_same(root):
    (root / "val2018.json").write_bytes(b"[]")


def _twice(root):
    edited(root, "val2018.json", lambda c: c["annotations"].append(c["annotations"][0]))


def _no_image(root):
    edited(root, "val2018.json", lambda c: c["images"].pop())


def _outside(root):
    edited(root, "train2018.json", lambda c: c["images"][0].update(file_name="train_val2018/../../x.jpg"))


def _line_break(root):
    edited(root, "train2018.json", lambda c: c["images"][0].update(file_name="train_val2018/a\nb.jpg"))


def _wrong_number(root):
    edited(root, "train2018.json", lambda c: c["annotations"][0].update(category_id="many"))


def _no_json(root):
    (root / "train2018.json").unlink()


def _no_images(root):
    shutil.rmtree(root / "train_val2018")


def _no_folder(root):
    shutil.rmtree(root)


def _half(root):
    shutil.rmtree(root / "train_val2018/Fungi/7")
    shutil.rmtree(root / "train_val2018/Plantae/2")
    (root / f"train_val2018/Plantae/4/{1000 + 3 * 4:08x}.jpg").unlink()  # of val2018.json
    (root / f"train_val2018/Plantae/0/{0:08x}.jpg").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, r"train2018\.json: is cut short or not JSON .*unpack it again"),
        (_test_file, r"val2018\.json: is not iNaturalist's file \(no 'annotations'\); is it test2018\.json"),
        (
            _other_year,
            r"train2018\.json: lists train_val2019/.*, not images of train_val2018/; is it from another year\?",
        ),
        (_part, r"train2018\.json lists 28 images, not 33: from another year, or incomplete"),
        (_other_classes, r"train2018\.json has images of 7 categories, 0 to 6, not of 0 to 7"),
        (_uneven, r"val2018\.json should have 3 images per class, but not so for 2, such as 0"),
        (_the_same, r"val2018\.json: is not iNaturalist's file"),
        (_twice, r"val2018\.json: 24 images but 25 annotations of 24"),
        (_no_image, r"val2018\.json: is not iNaturalist's file \(KeyError"),
        (_outside, r"'train_val2018/\.\./\.\./x\.jpg' is not an image path"),
        (_line_break, r"is not an image path"),
        (_wrong_number, r"train2018\.json: is not iNaturalist's file \(ValueError"),
        (_no_json, r"no train2018\.json; unpack https://.*/train2018\.json\.tar\.gz here"),
        (_no_images, r"no images in train_val2018/ or 2018/; unpack https://.*/train_val2018\.tar\.gz"),
        (_no_folder, r"no such folder; give --root"),
        (
            _half,
            r"train2018\.json: 15 of 33 images missing: no folder train_val2018/Fungi/7, "
            r"train_val2018/Plantae/2\n"
            r".*train2018\.json: 1 of 33 images empty: train_val2018/Plantae/0/.*\n"
            r".*val2018\.json: 7 of 24 images missing: no folder .*; train_val2018/Plantae/4 lacks 1 \(",
        ),
    ],
)
def test_what_is_refused(root, damage, message):
    damage(root)
    with pytest.raises(DataProblem, match=f"(?s){message}"):
        prepare(root)
    assert not list(root.glob("*.txt"))


def test_the_folder_below_is_not_the_root(root):
    with pytest.raises(
        DataProblem, match="holds the images themselves; give the folder that contains it as train_val2018/"
    ):
        prepare(root / "train_val2018")


def test_a_list_of_another_origin_stays(root):
    (root / "test.txt").write_text("x.jpg 0\n")
    with pytest.raises(DataProblem, match=r"test\.txt already there with other content"):
        prepare(root)
    assert not (root / "train.txt").exists()


def test_by_command(root):
    done = CliRunner().invoke(app, ["data", "prepare", "inaturalist2018", "--open-classes", "3", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["dataset"], report["classes"]) == ("inaturalist2018-open3", K - 3)
    assert done.stderr.rstrip().endswith("oltr run dme --dataset inaturalist2018-open3")
    done = CliRunner().invoke(app, ["data", "prepare", "inaturalist2018", "-q"])
    assert "one image per class of val2018.json" in done.stdout
