"""`oltr data prepare cifar100-lt` and `cifar10-lt`: counts, draws, shared images, and a name for each factor."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.display import Display
from oltr_cli.data.inspect.published import PUBLISHED
from oltr_cli.data.lists.lists import open_lists, read_list
from oltr_cli.data.prepare import cifar_folders
from oltr_cli.data.prepare.cifar import prepare_cifar100
from oltr_cli.data.prepare.cifar_folders import CIFAR10, CIFAR100
from oltr_cli.data.prepare.cifar_lt import dataset_name, exponential_counts, prepare_cifar_lt
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.planning.plan import plan
from tests.helpers.cifar_files import contents, listed, noise, python2, python3, save

QUIET = Display(quiet=True)
CLASSES = ["ant", "bee", "maple_tree", "oak_tree"]
FEW = replace(CIFAR100, classes=len(CLASSES), per_class={"train": 100, "test": 12}, val_per_class=2)
COUNTS = [100, 21, 4, 1]  # factor 100


@pytest.fixture
def home(tmp_path, monkeypatch):
    """$OLTR_DATA with a small CIFAR-100 in class folders."""
    monkeypatch.setenv("OLTR_DATA", str(tmp_path))
    save(tmp_path / "one.png", noise(np.random.default_rng(0)))
    for split, count in FEW.per_class.items():
        for name in CLASSES:
            (tmp_path / "cifar100" / split / name).mkdir(parents=True)
            for i in range(count):
                (tmp_path / "cifar100" / split / name / f"{name}_{i:03}.png").hardlink_to(tmp_path / "one.png")
    return tmp_path


@pytest.fixture
def foreign(tmp_path):
    rng = np.random.default_rng(1)
    for i in range(20):
        save(tmp_path / "tiny/val" / f"n{i % 4}" / f"val_{i}.png", noise(rng, 64, 64))
    return tmp_path / "tiny"


def prepare(imbalance=100, root=None, foreign=None):
    return prepare_cifar_lt(FEW, imbalance, root, foreign, QUIET)


@pytest.mark.parametrize(
    ("classes", "most", "factor", "total"),
    [
        (100, 500, 100, 10_847),
        (100, 500, 50, 12_608),
        (100, 500, 10, 19_573),
        (10, 5000, 100, 12_406),
        (10, 5000, 10, 20_431),
    ],
)
def test_the_totals_of_the_literature(classes, most, factor, total):
    counts = exponential_counts(classes, most, factor)
    assert sum(counts) == total
    assert (counts[0], counts[-1]) == (most, most // factor)
    # As Cao et al. publish it: img_max * (imb_factor ** (cls_idx / (cls_num - 1.0))) with imb_factor = 0.01 for 100.
    assert counts == [int(most * ((1 / factor) ** (i / (classes - 1.0)))) for i in range(classes)]


def test_what_is_held_to_be_published():
    for cifar in (CIFAR100, CIFAR10):
        counts = exponential_counts(cifar.classes, cifar.per_class["train"], 100)
        facts = PUBLISHED[dataset_name(cifar, 100)]
        assert facts.images["train"] == sum(counts)
        assert facts.per_class == (min(counts), max(counts))
        shots = [sum(n > 100 for n in counts), sum(20 <= n <= 100 for n in counts), sum(n < 20 for n in counts)]
        assert facts.shots == tuple(shots)
        assert facts.images["val"] == cifar.val_per_class * cifar.classes


@pytest.mark.parametrize("factor", [0.5, 0, -1, 501, float("nan"), float("inf")])
def test_factors_without_a_set(factor):
    with pytest.raises(UsageProblem, match=r"--imbalance .* between 1 and 500"):
        exponential_counts(100, 500, factor)


def test_a_tail_over_the_order_of_the_labels(home):
    name, prepared = prepare()
    folder = home / "cifar100-lt"
    assert (name, prepared.root) == ("cifar100-lt", folder)
    assert prepared.counts == {"train": sum(COUNTS), "val": 8, "test": 40}
    splits, names, _ = open_lists(name, folder, folder)
    assert names == CLASSES
    assert np.bincount(splits["train"].labels).tolist() == COUNTS
    for split in ("train", "val", "test"):
        assert all(CLASSES[label] == file.split("/")[1] for file, label in listed(folder, split).items())
    every = [file for split in splits.values() for file in split.names]
    assert len(set(every)) == len(every)
    assert splits["train"].image(0).shape == (3, 32, 32)
    assert "no open images, so no open-set evaluation" in prepared.warnings[0]


def test_validation_is_that_of_the_balanced_set(home, foreign):
    balanced = prepare_small_balanced(home, foreign)
    prepare(foreign=foreign)
    for split in ("val", "test", "open", "open_val"):
        assert (home / f"cifar100-lt/{split}.txt").read_bytes() == (balanced / f"{split}.txt").read_bytes()


def prepare_small_balanced(home, foreign):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oltr_cli.data.prepare.cifar.CIFAR100", FEW)
        prepare_cifar100(home / "cifar100", foreign, QUIET)
    return home / "cifar100"


def test_no_image_is_written_twice_or_touched(home, foreign):
    before = contents(home / "cifar100")
    prepare(foreign=foreign)
    assert contents(home / "cifar100") == before
    folder = home / "cifar100-lt"
    assert {path.name for path in folder.iterdir() if path.is_symlink()} == {"train", "test"}
    assert not (folder / "open").is_symlink()
    lists = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.txt")}
    _, again = prepare(foreign=foreign)
    assert (again.lists_written, again.images_written) == ([], {"open": 0})
    _, again = prepare()
    assert (again.lists_written, again.images_written, again.warnings) == ([], {}, [])
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.txt")} == lists


@pytest.mark.parametrize("first", ["balanced", "long-tailed"])
def test_open_images_are_shared(home, foreign, first):
    if first == "balanced":
        prepare_small_balanced(home, foreign)
        source = home / "cifar100"
    else:
        prepare(foreign=foreign)
        source = home / "cifar100-lt"
    _, prepared = prepare(50)
    assert (prepared.counts["open"], prepared.counts["open_val"]) == (18, 2)
    assert prepared.images_written == {}
    link = home / "cifar100-lt-if50/open"
    assert link.is_symlink()
    assert link.resolve() == source / "open"
    open_lists("x", home / "cifar100-lt-if50", home / "cifar100-lt-if50")


def test_every_factor_is_a_dataset_of_its_own(home):
    name, _ = prepare(12.5)
    assert name == "cifar100-lt-if12.5"
    train = read_list(home / name / "train.txt")[1]
    assert np.bincount(train).tolist() == [100, 43, 18, 8]
    runs = {recipe: plan("plain", recipe, [], 0)[-1] for recipe in ("cifar100-lt", name)}
    assert runs[name].link.recipe.data.name == name
    assert runs[name].link.hash != runs["cifar100-lt"].link.hash
    one, other = (run.link.recipe.as_toml() for run in runs.values())
    assert {**one, "data": {**one["data"], "name": name}} == other
    assert not (home / "cifar100-lt").exists()
    assert prepare(100.0)[0] == "cifar100-lt"
    assert not (home / "cifar100-lt/recipe.toml").exists()


def test_unseen_classes_are_the_open_ones_and_the_others_keep_their_images(home):
    _, whole = prepare_cifar_lt(FEW, 100, None, None, QUIET)
    name, prepared = prepare_cifar_lt(FEW, 100, None, None, QUIET, unseen=2)
    assert name == "cifar100-lt-unseen2"
    lists = {split: listed(prepared.root, split) for split in ("train", "val", "test", "open", "open_val")}
    assert (prepared.root / "classes.txt").read_text().split() == ["ant", "maple_tree"]  # the second and the fourth go
    kept = [file for file in listed(whole.root, "train") if file.split("/")[1] in ("ant", "maple_tree")]
    assert list(lists["train"]) == kept
    assert list(lists["train"].values()) == [0] * COUNTS[0] + [1] * COUNTS[2]
    assert {file.split("/")[1] for file in lists["open"]} == {"bee"}
    assert {file.split("/")[1] for file in lists["open_val"]} == {"oak_tree"}
    assert {*lists["open"].values(), *lists["open_val"].values()} == {-1}
    assert len(lists["open"]) == len(lists["open_val"]) == FEW.per_class["test"]
    (planned,) = plan("plain", name, [], seed=0)
    assert planned.run.path.parent.parent.name == name


@pytest.mark.parametrize("unseen", [-2, 1, 3, 4])
def test_numbers_of_unseen_classes_that_leave_no_set(home, unseen):
    with pytest.raises(UsageProblem, match="--unseen"):
        prepare_cifar_lt(FEW, 100, None, None, QUIET, unseen=unseen)


def test_open_images_and_unseen_classes_are_not_both_given(home, foreign):
    with pytest.raises(UsageProblem, match="--open and --unseen"):
        prepare_cifar_lt(FEW, 100, None, foreign, QUIET, unseen=2)


def test_a_recipe_that_somebody_changed_stays(home):
    name, _ = prepare(50)
    recipe = home / name / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 10", "epochs = 11"))
    assert prepare(50)[1].lists_written == []
    assert plan("dme", name, [], 0)[-1].epochs == 11


def test_a_larger_factor_takes_a_part_of_the_images(home):
    prepare(100)
    prepare(10)
    small, large = (set(listed(home / name, "train")) for name in ("cifar100-lt", "cifar100-lt-if10"))
    assert small < large


def test_draws_follow_from_the_names(home):
    prepare()
    other = shutil.copytree(home / "cifar100", home / "elsewhere")
    for path in other.rglob("*.png"):
        with Image.open(path) as image:
            image.save(path.with_suffix(".bmp"))
        path.unlink()
    shutil.rmtree(home / "cifar100-lt")
    prepare(100, other)
    drawn = {name.removesuffix(".bmp") for name in listed(home / "cifar100-lt", "train")}
    shutil.rmtree(home / "cifar100-lt")
    prepare(100, home / "cifar100")
    assert drawn == {name.removesuffix(".png") for name in listed(home / "cifar100-lt", "train")}


def test_the_links_move_with_the_folder_they_lie_in(home, tmp_path):
    prepare()
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("cifar100", "cifar100-lt"):
        (home / name).rename(moved / name)
    assert len(list((moved / "cifar100-lt/train/ant").iterdir())) == 100


def test_images_elsewhere_and_images_that_were_moved(home, tmp_path):
    away = tmp_path / "some where"
    (home / "cifar100").rename(away)
    with pytest.raises(DataProblem, match=r"cifar100: no train/<class>/ .*cifar-100-python\.tar\.gz"):
        prepare()
    prepare(root=away)
    assert prepare()[1].lists_written == []  # finds them by the link
    away.rename(home / "cifar100")
    assert prepare()[1].lists_written == []
    assert (home / "cifar100-lt/train").resolve() == home / "cifar100/train"


def test_images_in_the_folder_of_the_lists(home):
    (home / "cifar100").rename(home / "cifar100-lt")
    prepare()
    assert not (home / "cifar100-lt/train").is_symlink()
    prepare(50)
    assert (home / "cifar100-lt-if50/test").resolve() == home / "cifar100-lt/test"


def test_what_is_refused(home, foreign):
    prepare(foreign=foreign)
    other = shutil.copytree(home / "cifar100", home / "other")
    with pytest.raises(DataProblem, match=r"cifar100-lt/train: already exists and is not .*other/train"):
        prepare(root=other)
    for place in ("cifar100/test", "cifar100-lt", "cifar100-lt/open"):
        with pytest.raises(DataProblem, match="give only the originals"):
            prepare(foreign=home / place)
    (home / "cifar100-lt/val.txt").write_text("test/ant/ant_000.png 0\n")
    with pytest.raises(DataProblem, match=r"val\.txt already there with other content"):
        prepare()
    (home / "cifar100/train/bee/bee_007.png").unlink()
    with pytest.raises(DataProblem, match=r"100 images per class, but: bee 99"):
        prepare(10)
    assert not (home / "cifar100-lt-if10").exists()


def test_cifar10_from_torchvisions_download(tmp_path, monkeypatch):
    """Five batches, whose names may come again from one to the next."""
    monkeypatch.setenv("OLTR_DATA", str(tmp_path))
    cifar = replace(CIFAR10, classes=3, per_class={"train": 10, "test": 4}, val_per_class=1)
    names, folder, rng = ["airplane", "bird", "cat"], tmp_path / "cifar10/cifar-10-batches-py", np.random.default_rng(0)
    folder.mkdir(parents=True)
    pixels = {}
    for file, count in [*((f"data_batch_{i}", 6) for i in range(1, 6)), ("test_batch", 12)]:
        labels = [i % 3 for i in range(count)]
        pixels[file] = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        held = {"data": pixels[file], "labels": labels, "filenames": [f"x_s_{i:06}.png" for i in range(count)]}
        (folder / file).write_bytes((python2 if "data" in file else python3)(held))
    (folder / "batches.meta").write_bytes(python2({"label_names": names, "num_vis": 3072}))
    name, prepared = prepare_cifar_lt(cifar, 10, None, None, QUIET)
    assert name == "cifar10-lt-if10"
    assert prepared.images_written == {"train": 30, "test": 12}
    assert prepared.counts == {"train": 10 + 3 + 1, "val": 3, "test": 9}
    for split, files in (("train", [f for f in pixels if "data" in f]), ("test", ["test_batch"])):
        for label, folder_name in enumerate(names):
            found = [np.asarray(Image.open(p)) for p in (tmp_path / "cifar10" / split / folder_name).iterdir()]
            wanted = [row for f in files for row in pixels[f][label::3]]
            assert {image.transpose(2, 0, 1).tobytes() for image in found} == {row.tobytes() for row in wanted}
            assert len(found) == len(wanted)
    (folder / "data_batch_3").unlink()
    shutil.rmtree(tmp_path / "cifar10/train")
    with pytest.raises(DataProblem, match=r"data_batch_3: no such file"):
        prepare_cifar_lt(cifar, 10, tmp_path / "cifar10", None, QUIET)


def test_by_command(home, monkeypatch):
    monkeypatch.setattr(cifar_folders, "CIFAR100", FEW)
    arguments = ["data", "prepare", "cifar100-lt", "--imbalance", "50"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "cifar100-lt-if50: 4 classes" in done.stdout
    assert "100 to 2 images per class: imbalance factor 50" in done.stdout
    assert done.stderr.rstrip().endswith("oltr run dme --dataset cifar100-lt-if50")
    report = json.loads(CliRunner().invoke(app, [*arguments, "--json", "-q"]).stdout)
    assert (report["dataset"], report["lists_written"]) == ("cifar100-lt-if50", [])
    for name in ("cifar100-lt", "cifar10-lt"):
        assert plan("dme", name, [], 0)[-1].link.recipe.data.name == name
