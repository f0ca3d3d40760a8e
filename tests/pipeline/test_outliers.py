"""Methods that train on outliers, as runs: what they need, that they resume exactly, and what they refuse."""

import json

import numpy as np
import pytest
import torch

from oltr_cli.base.display import Display
from oltr_cli.data.lists.list_file import read_list
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.methods.outlier_exposure import OutlierExposure
from oltr_cli.methods.plain import Plain
from oltr_cli.pipeline import make
from oltr_cli.planning.plan import plan
from oltr_cli.planning.registry import list_methods
from oltr_cli.runs.trained_on import keys_of, trained_on
from oltr_cli.tables.paper import load_table
from oltr_cli.tables.rows import table_rows
from oltr_cli.training import engine
from tests.helpers.finished_runs import environment
from tests.helpers.group import run_together
from tests.helpers.in_process import oltr_here
from tests.helpers.open_lists import add_open_list
from tests.helpers.outcomes import assert_equal, outcome_of
from tests.helpers.tiny import TINY_RECIPE, Oltr, make_tiny_dataset

METHODS = ("outlier-exposure", "outlier-class")


@pytest.fixture
def home(tmp_path):
    patch = environment(tmp_path)
    patch.setenv("OLTR_CACHE", str(tmp_path / "store"))
    root = make_tiny_dataset(tmp_path / "data" / "tiny")
    add_open_list(root, "open_train", (30, 31))
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE)
    yield tmp_path
    patch.undo()


def run(home, method, *sets, workers=0, start=None):
    ancestor = [] if method == "plain" or start else ["plain.train.epochs=1"]
    planned = plan(method, str(home / "tiny.toml"), ["train.epochs=2", *ancestor, *sets], 0, start)
    display = Display(quiet=True)
    result = make.make_runs(planned, device="cpu", workers=workers, track=False, display=display)
    return planned[-1].run, result


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sets", [(), ("data.store_side=16",), ("train.sampler=class_aware",)])
def test_a_run_that_is_stopped_in_an_epoch_ends_in_the_same_bits(home, monkeypatch, method, sets):
    whole, result = run(home, method, *sets)
    unbroken = outcome_of(whole.path)
    assert {"loss/cross_entropy", "loss/outliers"} <= set(json.loads((whole.path / "metrics.jsonl").open().readline()))
    assert set(result.further_lists) == {"open_train"}
    (home / "runs").rename(home / "whole")
    monkeypatch.setenv("OLTR_CHECKPOINT_MINUTES", "1e-9")
    monkeypatch.setattr("oltr_cli.training.saving.LEAST_BETWEEN", 0)
    step = engine.Training.step

    def killed(training, batch, epoch, number):
        if (training.task.recipe.method, epoch, number) == (method, 1, 3):
            raise KeyboardInterrupt
        return step(training, batch, epoch, number)

    with monkeypatch.context() as patch:
        patch.setattr(engine.Training, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            run(home, method, *sets, workers=1)
    again, _ = run(home, method, *sets)
    assert_equal(outcome_of(again.path), unbroken)


def test_a_store_is_only_a_cache(home, monkeypatch):
    stored, _ = run(home, "outlier-exposure", "data.store_side=16")
    assert list((home / "store").glob("*/*.pixels"))
    (home / "runs").rename(home / "first")
    monkeypatch.setattr("oltr_cli.data.store.split.from_store", lambda dataset, display: dataset)
    unstored, _ = run(home, "outlier-exposure", "data.store_side=16")
    assert_equal(outcome_of(unstored.path), outcome_of(home / "first" / stored.name))


def batches_seen(monkeypatch, cls):
    """The images and labels of each batch whose loss ``cls`` is asked for, in order; the list grows as it trains."""
    loss, seen = cls.training_loss, []

    def watched(method, images, labels):
        seen.append((images.clone(), labels.clone()))
        return loss(method, images, labels)

    monkeypatch.setattr(cls, "training_loss", watched)
    return seen


def test_each_batch_has_outliers_in_its_training_crop(home, monkeypatch):
    """The loss of the first step, from the images that the feed hands over, has as many outliers as known images."""
    seen = batches_seen(monkeypatch, OutlierExposure)
    run(home, "outlier-exposure", "train.outlier_batch_size=5")
    assert len(seen) == 10
    for images, labels in seen:
        assert images.shape == (13, 3, 16, 16)
        assert (labels == -1).sum() == 5
        assert len(torch.unique(images.flatten(1), dim=0)) == 13


def test_no_other_method_gets_an_outlier(home, monkeypatch):
    seen = batches_seen(monkeypatch, Plain)
    _, result = run(home, "plain")
    assert torch.cat([labels for _, labels in seen]).min() == 0
    assert result.further_lists is None


@pytest.mark.parametrize("method", METHODS)
def test_without_outliers_one_line_says_what_to_list(home, method):
    (home / "data" / "tiny" / "open_train.txt").unlink()
    code, out, err = oltr_here("run", method, "--recipe", home / "tiny.toml", "--device", "cpu", "--workers", 0)
    assert (code, out) == (3, "")
    assert f"error: {method}: trains on outliers, and 'tiny' has none; list images of classes that are neither" in err
    assert "open_train.txt" in err
    assert not list((home / "runs").glob("*/*/*/last.pt"))  # before plain is trained


def test_a_search_says_the_same(home):
    (home / "data" / "tiny" / "open_train.txt").unlink()
    words = ("tune", "outlier-class", "--recipe", home / "tiny.toml", "--trials", 1, "--device", "cpu", "--workers", 0)
    run(home, "plain", "train.epochs=3")
    code, _, err = oltr_here(*words)
    assert code == 3
    assert "trains on outliers" in err
    add_open_list(home / "data" / "tiny", "open_train", (30, 31))
    code, _, err = oltr_here(*words)
    assert code == 0, err


SMALL_GLYPHS = {
    "data.glyphs": "known_classes=3 open_classes=2 open_val_classes=1 image_size=16 tail_max=9 val_per_class=1",
    "data": "image_size=16 eval_resize=16",
    "backbone": "width=4",
    "train": "epochs=1 batch_size=8",
    "plain.train": "epochs=1",
}


def test_the_built_in_set_has_its_own(home, monkeypatch):
    """Signs that are no letters, drawn beside the other splits; repeated, the run is there without a warning."""
    seen = batches_seen(monkeypatch, OutlierExposure)
    sets = [f"--set={table}.{key}" for table, keys in SMALL_GLYPHS.items() for key in keys.split()]
    command = ("run", "outlier-exposure", *sets, "--device", "cpu", "--workers", 0, "--json")
    code, out, err = oltr_here(*command)
    assert code == 0, err
    result = json.loads(out)
    assert list(result["further_lists"]) == ["open_train"]
    assert seen
    assert all((labels == -1).sum() == 8 for _, labels in seen)
    code, again, err = oltr_here(*command)
    assert (code, json.loads(again)) == (0, result)
    assert "outliers" not in err
    code, out, err = oltr_here("data", "check", "glyphs-lt", "--json")
    assert code == 0, err
    assert json.loads(out)["splits"]["open_train"]["images"] == 750


def test_a_frozen_backbone_is_refused(home):
    with pytest.raises(UsageProblem, match=r"outlier-class: trains on images of outliers.*train\.freeze_backbone"):
        run(home, "outlier-class", "train.freeze_backbone=true")
    assert not list((home / "runs").glob("*/*/*/last.pt"))


ON_FEATURES = '''"""Outliers among features."""

from oltr_cli.methods.crt import CRT


class OnFeatures(CRT):
    uses_outliers = True
'''


def test_a_method_on_features_is_refused(home):
    file = home / "on_features.py"
    file.write_text(ON_FEATURES)
    words = ("run", "on-features", "--methods-from", file, "--recipe", home / "tiny.toml", "--workers", 0)
    code, _, err = oltr_here(*words)
    assert code == 2
    assert "on-features: a method on saved features cannot use outliers" in err


def test_an_interrupted_run_refuses_other_outliers_and_a_finished_one_says_so(home, monkeypatch, capsys):
    finish = engine.Training._finish_epoch

    def killed(training):
        row = finish(training)
        if training.task.recipe.method == "outlier-class":
            raise KeyboardInterrupt
        return row

    with monkeypatch.context() as patch:
        patch.setattr(engine.Training, "_finish_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            run(home, "outlier-class")
    root = home / "data" / "tiny"
    before = (root / "open_train.txt").read_text()
    add_open_list(root, "open_train", (30,))
    with pytest.raises(DataProblem, match=r"last\.pt: was trained with other image lists of 'tiny'; restore them"):
        run(home, "outlier-class")
    (root / "open_train.txt").write_text(before)
    made, result = run(home, "outlier-class")
    capsys.readouterr()
    run(home, "outlier-class")
    assert "outliers" not in capsys.readouterr().err
    (root / "open_train.txt").write_text(before.partition("\n")[2])
    assert run(home, "outlier-class")[1] == result
    said = " ".join(capsys.readouterr().err.split())
    assert f"the list of outliers has changed since {made.name}, which keeps its result" in said
    assert f"oltr rm {made.name}" in said


def test_an_outlier_that_cannot_be_decoded_is_replaced_by_another_and_named(home, monkeypatch):
    monkeypatch.setattr("oltr_cli.training.task.MOST_FAILED", 0.1)
    root = home / "data" / "tiny"
    (root / "open_train" / "c30" / "1.png").write_bytes(b"?")
    _, result = run(home, "outlier-exposure")
    assert result.undecodable == ["open_train/c30/1.png"]
    for file in (root / "open_train").glob("*/*.png"):
        file.write_bytes(b"?")
    with pytest.raises(DataProblem, match=r"no other outlier image can be decoded either"):
        run(home, "outlier-class")


def test_outliers_count_as_seen(home):
    """``--from`` must not test on them."""
    made, _ = run(home, "outlier-exposure")
    root = home / "data" / "tiny"
    names = read_list(root / "open_train.txt")[0]
    assert np.isin(keys_of(f"{root.resolve()}/{name}" for name in names), trained_on(made.path)).all()
    plain, _ = run(home, "plain", "train.epochs=1")
    assert not np.isin(keys_of(f"{root.resolve()}/{name}" for name in names), trained_on(plain.path)).any()
    (root / "open_train.txt").rename(root / "open_far.txt")
    add_open_list(root, "open_train", (40,))
    with pytest.raises(DataProblem, match=r"was trained on 8 images of open_far"):
        run(home, "outlier-exposure", start=made)


def test_tables_list_them_once_they_have_runs():
    needing = {name for name, info in list_methods().items() if info.uses_outliers}
    assert set(METHODS) <= needing
    table = load_table("3a")
    assert table.other_methods == "all"
    assert not needing & {row.method for row in table_rows(table, [])}
    assert "outlier-class" in {row.method for row in table_rows(table, ["outlier-class"])}
    assert [row.method for row in table_rows(table, [], ["outlier-exposure"])] == ["outlier-exposure"]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch was built without distributed support")
def test_two_processes_make_one_run(home):
    oltr = Oltr(home / "runs", home / "data")
    result = run_together(oltr, 2, "outlier-class", "--recipe", home / "tiny.toml", "--device", "cpu")
    assert result["status"] == "done"
