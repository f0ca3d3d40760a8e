"""Heads on the kept features of a frozen backbone: the same as on images, and the features are made once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from oltr_cli.base.display import Display
from oltr_cli.base.machine import make_accelerator
from oltr_cli.conformance import methods as method_conformance
from oltr_cli.data.feed.opening import open_dataset
from oltr_cli.errors import DataProblem, Stopped
from oltr_cli.method import FeatureMethod
from oltr_cli.pipeline.make import run_method
from oltr_cli.planning.plan import plan
from oltr_cli.planning.registry import list_methods, load_method
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training import engine
from oltr_cli.training.engine import train
from oltr_cli.training.feeds import FrozenFeed, ImageFeed, make_feed
from oltr_cli.training.frozen import frozen_features, score_frozen
from oltr_cli.training.task import Task, load_best

FROZEN = "train.freeze_backbone=true"
# An image then goes in whole in training as in evaluation.
UNCHANGED = ["data.crop_scale=[1.0, 1.0]", "data.crop_ratio=[1.0, 1.0]", "data.flip=false"]
ON_IMAGES = [n for n, i in list_methods().items() if i.kind == "method" and i.origin == "built-in"]
ON_IMAGES = [n for n in ON_IMAGES if not (issubclass(load_method(n), FeatureMethod) or load_method(n).adapts_blocks)]


@pytest.fixture(scope="module")
def root(tmp_path_factory, tiny_data, tiny_recipe):
    """A runs folder with a finished plain on tiny."""
    folder = tmp_path_factory.mktemp("frozen") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OLTR_RUNS", str(folder))
        patch.setenv("OLTR_DATA", str(tiny_data))
        run_method("plain", str(tiny_recipe), UNCHANGED, track=False, workers=0, display=Display(True))
    return folder


@pytest.fixture
def task(root, tiny_data, tiny_recipe, tmp_path, monkeypatch):
    """Makes tasks that start from that plain, with nothing kept yet; ``task.parent`` is a copy of it."""
    import shutil

    shutil.copytree(root, tmp_path / "runs")
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OLTR_DATA", str(tiny_data))

    def make(method="dme", *sets, seed=0, data=None):
        if data is not None:
            monkeypatch.setenv("OLTR_DATA", str(data))
        p = plan(method, str(tiny_recipe), [FROZEN, *UNCHANGED, *sets], seed)[-1]
        parent = replace(p.parent, seed=0)
        dataset = open_dataset(p.link.recipe.data)
        return Task(p.run, p.link, p.cls, dataset, parent, make_accelerator("cpu"), 0, Display(True))

    return make


def with_parent(task):
    """The method with the weights that it starts from."""
    return engine.Training(task).method


def with_data(task, **changes):
    """The task with another transform."""
    recipe = task.recipe.model_copy(update={"data": task.recipe.data.model_copy(update=changes)})
    return replace(task, link=replace(task.link, recipe=recipe))


def kept(task):
    return sorted(path for path in task.parent.frozen.iterdir() if path.is_dir())


@pytest.mark.parametrize("method", ["dme", "focal"])
def test_a_head_on_kept_features_is_the_one_on_images(task, method, monkeypatch, tmp_path):
    on_features = task(method)
    rows = train(on_features).history
    first = torch.load(on_features.run.path / "last.pt", weights_only=True)["model"]
    scores = score_frozen(
        load_best(on_features.run, on_features.cls, on_features.recipe, on_features.dataset.class_counts),
        frozen_features(on_features, with_parent(on_features), "test"),
        on_features.accelerator,
    )
    monkeypatch.setattr(engine, "make_feed", lambda task, method: ImageFeed(task))
    on_images = replace(on_features, run=replace(on_features.run, root=tmp_path / "other"))
    others = train(on_images).history
    second = torch.load(on_images.run.path / "last.pt", weights_only=True)["model"]
    assert len(rows) == len(others) == 2
    for row, other in zip(rows, others, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert row["val/closed/overall"] == other["val/closed/overall"]
    moved = 0
    parent = torch.load(on_features.parent.path / "best.pt", weights_only=True)["model"]
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-3, atol=1e-4)
        if name.startswith("backbone."):
            assert torch.equal(tensor, parent[name]), name
        elif tensor.is_floating_point():
            moved += 1
    assert moved
    network = load_best(on_images.run, on_images.cls, on_images.recipe, on_images.dataset.class_counts)
    from oltr_cli.training.scoring import score_split

    test = on_images.dataset.splits["test"]
    by_images = score_split(network, test, on_images.recipe.data, on_images.accelerator, 0)
    np.testing.assert_allclose(scores.confidence, by_images.confidence, rtol=1e-3)
    np.testing.assert_array_equal(scores.labels, by_images.labels)


@pytest.mark.parametrize("name", ON_IMAGES)
def test_every_method_takes_what_is_kept_for_images(name):
    method = method_conformance.build(name)
    data = method_conformance.RandomData(seed=3)
    backbone = method.backbone.eval()
    method.eval()
    with torch.no_grad():
        maps = backbone.feature_map(data.images)
        given = maps if method.needs_map else maps.mean((2, 3), keepdim=True)
        with backbone.taking("maps" if method.needs_map else "pooled"):
            scores, terms = method(given), method.training_loss(given, data.labels)
        torch.testing.assert_close(scores.logits, method(data.images).logits, rtol=1e-4, atol=1e-5)
        for term, value in method.training_loss(data.images, data.labels).items():
            torch.testing.assert_close(terms[term], value, rtol=1e-4, atol=1e-5)
    assert backbone.inputs == "images"


def test_a_method_that_needs_the_map_after_all_is_told(task):
    method = with_parent(task("focal"))
    with method.backbone.taking("pooled"), pytest.raises(RuntimeError, match="needs_map must be true"):
        method.backbone.feature_map(torch.zeros(1, 64, 1, 1))


def test_features_are_made_once_for_all_that_start_from_a_run(task, own_tiny_data):
    first = task("dme", data=own_tiny_data)
    train(first)
    folders = kept(first)
    assert len(folders) == 2  # of train and val
    times = [(folder / "features.npy").stat().st_mtime_ns for folder in folders]
    assert np.load(folders[0] / "features.npy", mmap_mode="r").ndim == 4
    for path in (own_tiny_data / "tiny").rglob("*.png"):
        path.write_bytes(b"")  # no image is decoded from now on
    train(task("dme", "params.lambda=0.5", data=own_tiny_data))
    train(task("dme", seed=1, data=own_tiny_data))
    assert kept(first) == folders
    assert [(folder / "features.npy").stat().st_mtime_ns for folder in folders] == times


def test_what_changes_the_features_changes_their_key(task):
    here = task("focal")
    method = with_parent(here)
    before = kept(here)
    with torch.no_grad():
        method.backbone.conv1.weight[0, 0, 0, 0] += 1e-3
    frozen_features(here, method, "val")
    frozen_features(with_data(here, mean=(0.5, 0.5, 0.5)), method, "val")
    frozen_features(task("dme"), with_parent(task("dme")), "val")
    assert len(set(kept(here)) - set(before)) == 4  # one each of the first two, train and val of the third
    frozen_features(with_data(here, flip=True, crop_scale=(0.5, 1.0), crop_padding=2), method, "val")
    assert len(set(kept(here)) - set(before)) == 4  # augmentation has no part in it


@pytest.mark.parametrize("damage", ["cut", "shape", "gone", "flipped", "no blocks", "not JSON"])
def test_damaged_features_are_made_anew(task, damage):
    here = task("focal")
    method = with_parent(here)
    whole = frozen_features(here, method, "val")
    content, labels = np.array(whole.features), whole.labels
    for folder in kept(here):
        file = folder / "features.npy"
        if damage == "cut":
            file.write_bytes(file.read_bytes()[:-100])
        elif damage == "flipped":
            content_bytes = bytearray(file.read_bytes())
            content_bytes[-2] ^= 0x40  # in the exponent of the last number
            file.write_bytes(content_bytes)
        elif damage == "no blocks":
            (folder / "blocks.jsonl").unlink()
        elif damage == "not JSON":
            (folder / "blocks.jsonl").write_text("[[[\n7\n[0, 1]\n")
        elif damage == "shape":
            np.save(file, np.zeros((2, 3, 1, 1), np.float32))
        else:
            file.unlink()
    again = frozen_features(here, method, "val")
    np.testing.assert_array_equal(again.features, content)
    np.testing.assert_array_equal(again.labels, labels)


def test_a_run_that_was_stopped_ends_in_the_same_bits(task, tmp_path):
    here = task("dme", "train.epochs=3")
    train(here)
    unbroken = torch.load(here.run.path / "last.pt", weights_only=True)["model"]

    def stop(row):
        if row["epoch"] == 2:
            raise Stopped("stopped", 2)

    again = replace(here, run=replace(here.run, root=tmp_path / "again"))
    with pytest.raises(Stopped):
        train(again, stop)
    train(again)
    for name, tensor in torch.load(again.run.path / "last.pt", weights_only=True)["model"].items():
        assert torch.equal(tensor, unbroken[name]), name


def test_an_image_that_cannot_be_decoded_is_left_out_and_told(task, own_tiny_data, monkeypatch):
    monkeypatch.setattr("oltr_cli.training.task.MOST_FAILED", 0.5)
    (own_tiny_data / "tiny" / "train" / "c0" / "3.png").write_bytes(b"no image")
    here = task("focal", data=own_tiny_data)
    progress = train(here)
    assert [here.dataset.splits["train"].names[i] for i in progress.failed] == ["train/c0/3.png"]
    found = frozen_features(here, with_parent(here), "train")
    assert len(found) == 44
    assert found.left_out == [3]
    np.testing.assert_array_equal(np.bincount(found.labels), [23, 12, 6, 2, 1])


def test_a_class_without_an_image_is_named(task, own_tiny_data):
    Image.new("RGB", (20, 20)).save(own_tiny_data / "tiny" / "train" / "c4" / "0.png")
    (own_tiny_data / "tiny" / "train" / "c4" / "0.png").write_bytes(b"no image")
    here = task("focal", data=own_tiny_data)
    with pytest.raises(DataProblem, match="no training image of class 4 can be decoded"):
        train(here)


def test_the_recipe_key_asks_for_it_in_oltr_run(task, tiny_recipe):
    sets = [FROZEN, *UNCHANGED]
    assert isinstance(make_feed(task("dme"), with_parent(task("dme"))), FrozenFeed)
    result = run_method("dme", str(tiny_recipe), sets, track=False, workers=0, display=Display(True))
    run = task("dme").run
    test = SavedScores.load(run.scores("test"))
    assert (test.prediction == test.labels).mean() == pytest.approx(result.metrics["closed/overall"])
    assert not run.frozen.exists()  # they lie with the run that trained the backbone
