"""Features of a pre-trained backbone: kept once for all runs, resumed after a kill, and what a run is scored from."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch

from oltr_cli.base.display import Display
from oltr_cli.base.machine import make_accelerator
from oltr_cli.data.feed.opening import open_dataset
from oltr_cli.data.store.features import find_features
from oltr_cli.errors import DataProblem, NotFinite, OltrError, UsageProblem
from oltr_cli.pipeline.make import run_method
from oltr_cli.pipeline.networks import NetworkScores
from oltr_cli.planning.plan import plan
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training import engine, frozen, scoring
from oltr_cli.training.feature_file import FeatureFile
from oltr_cli.training.frozen import frozen_features
from oltr_cli.training.scoring import score_split
from oltr_cli.training.task import Task, load_best
from tests.helpers.tiny import TINY_RECIPE

QUIET = Display(True)
N = {"train": 45, "val": 15, "test": 20, "open": 10, "open_val": 4}
ALL = sum(N.values())


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """plain on tiny with a frozen test_efficientnet of timm, whose weights are in a file."""
    folder = tmp_path_factory.mktemp("pretrained")
    torch.manual_seed(0)
    torch.save(timm.create_model("test_efficientnet").state_dict(), folder / "weights.pth")
    backbone = f'[backbone]\nname = "timm/test_efficientnet"\nweights = "{folder / "weights.pth"}"\n[train]\n'
    before, _, after = TINY_RECIPE.partition("[backbone]")
    text = before.replace("16", "32") + backbone + "freeze_backbone = true\n[stage1]" + after.partition("[stage1]")[2]
    (folder / "frozen.toml").write_text(text)
    return folder / "frozen.toml"


@pytest.fixture
def home(tmp_path, own_tiny_data, monkeypatch):
    """Runs, data and cache of this test alone."""
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OLTR_DATA", str(own_tiny_data))
    monkeypatch.setenv("OLTR_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def extracted(monkeypatch):
    """The number of images that went through the backbone to be kept, in ``extracted[0]``."""
    count = [0]
    append = FeatureFile.append

    def counting(self, end, indices, values):
        count[0] += end - self.end
        append(self, end, indices, values)

    monkeypatch.setattr(FeatureFile, "append", counting)
    return count


def run(recipe, method="plain", *sets, seed=0):
    return run_method(method, str(recipe), list(sets), seed, device="cpu", track=False, workers=0, display=QUIET)


def task_of(recipe, *sets, display=QUIET):
    (p,) = plan("plain", str(recipe), list(sets), 0)
    return Task(p.run, p.link, p.cls, open_dataset(p.link.recipe.data), None, make_accelerator("cpu"), 0, display)


def method_of(task):
    """The method with the weights that it starts from, with nothing extracted."""
    method = engine.build_method(task.cls, task.recipe, task.dataset.class_counts, task.run.seed)
    engine.first_weights(task, method, quiet=True)
    return method


def test_what_no_run_has_trained_is_extracted_once(home, recipe, extracted):
    run(recipe)
    assert extracted[0] == ALL  # every split, for training and scores
    run(recipe, seed=1)
    run(recipe, "plain", "train.lr.classifier=0.2")
    run(recipe, "balanced-softmax")
    run(recipe, "dme")  # maps of train and val
    assert extracted[0] == ALL + N["train"] + N["val"]
    assert list((home / "runs").rglob("frozen")) == []
    (folder,) = find_features()
    assert (folder.dataset, folder.backbone) == ("tiny", "timm/test_efficientnet")
    assert len(list(folder.path.glob("*/features.npy"))) == len(N) + 2


def test_the_home_is_the_run_that_trained_the_backbone(home, recipe, extracted):
    trained = run(recipe, "balanced-softmax", "plain.train.freeze_backbone=false", "train.epochs=1")
    (folder,) = (home / "runs").rglob("frozen")
    assert f"{folder.parent.parent.name}/{folder.parent.name}" == trained.starts_from.removeprefix("tiny/")
    assert find_features() == []
    count = extracted[0]
    run(recipe, "balanced-softmax", "plain.train.freeze_backbone=false", "train.epochs=2")
    assert extracted[0] == count


def test_another_picture_or_place_is_another_key(home, recipe, extracted, monkeypatch):
    task = task_of(recipe)
    frozen_features(task, method_of(task), "val")
    shutil.copy(home / "data/tiny/val/c0/0.png", home / "data/tiny/val/c1/0.png")
    frozen_features(task, method_of(task), "val")
    assert extracted[0] == 2 * N["val"]
    shutil.copytree(home / "data", home / "elsewhere")
    monkeypatch.setenv("OLTR_DATA", str(home / "elsewhere"))
    task = task_of(recipe)
    frozen_features(task, method_of(task), "val")
    assert extracted[0] == 3 * N["val"]


def test_scores_are_those_from_images_bit_for_bit(home, recipe, monkeypatch):
    monkeypatch.setattr("oltr_cli.training.task.MOST_FAILED", 0.5)
    for module in (frozen, scoring):
        monkeypatch.setattr(module, "BATCH", 16)
    (home / "data/tiny/train/c0/3.png").write_bytes(b"no image")
    for method in ("plain", "balanced-softmax"):
        run(recipe, method, "backbone.fc=12")  # which is trained, and no part of what is kept
        planned = plan(method, str(recipe), ["backbone.fc=12"], 0)
        p, task = planned[-1], task_of(recipe)
        NetworkScores(planned, task.dataset, task.accelerator, QUIET, 0).training(p)
        network = load_best(p.run, p.cls, p.link.recipe, task.dataset.class_counts)
        for split, count in N.items():
            saved = SavedScores.load(p.run.scores(split))
            spec = p.link.recipe.data
            skip = split == "train"
            images = score_split(network, task.dataset.splits[split], spec, task.accelerator, 0, skip_undecodable=skip)
            assert len(saved) == count - skip
            for name, array in vars(images).items():
                np.testing.assert_array_equal(getattr(saved, name), array, err_msg=f"{method} {split} {name}")


KILLED = """
import os, signal, sys
from oltr_cli.training import frozen
from oltr_cli.training.feature_file import FeatureFile
from tests.training.test_pretrained_frozen import run
frozen.BATCH = 8
append = FeatureFile.append
def dying(self, end, indices, values):
    if self.end == 16:
        self._file.write(b"half of a block")
        self._file.flush()
        self._blocks.write(b"[16, 24, [")
        self._blocks.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, end, indices, values)
FeatureFile.append = dying
run(sys.argv[1])
"""


class Told(Display):
    def __init__(self):
        super().__init__(True)
        self.lines, self.warnings = [], []

    def say(self, text):
        self.lines.append(text)

    def warn(self, text):
        self.warnings.append(text)


class Counted:
    def __init__(self):
        self.advances = []

    def advance(self, amount=1, per_step=1):
        self.advances.append(amount)


def test_a_killed_extraction_goes_on_where_it_stopped(home, recipe, extracted, monkeypatch):
    killed = subprocess.run([sys.executable, "-c", KILLED, recipe], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    monkeypatch.setattr(frozen, "BATCH", 8)
    bar, display = Counted(), Told()
    task = task_of(recipe, display=display)
    method = method_of(task)
    found = frozen_features(task, method, "train", bar)
    assert extracted[0] == N["train"] - 16
    assert bar.advances[:2] == [16, 8]
    assert sum(bar.advances) == N["train"]
    assert display.warnings == []
    assert any("going on after 16 of 45 images" in line for line in display.lines)
    monkeypatch.setenv("OLTR_CACHE", str(home / "other"))
    whole = frozen_features(task, method, "train")
    assert extracted[0] == 2 * N["train"] - 16
    np.testing.assert_array_equal(found.features, whole.features)
    np.testing.assert_array_equal(found.labels, whole.labels)


def test_only_what_follows_a_damaged_block_is_made_anew(home, recipe, extracted, monkeypatch):
    monkeypatch.setattr(frozen, "BATCH", 8)
    display = Told()
    task = task_of(recipe, display=display)
    method = method_of(task)
    whole = np.array(frozen_features(task, method, "train").features)
    (folder,) = find_features()
    (file,) = folder.path.glob("*/features.npy")
    content = bytearray(file.read_bytes())
    content[-whole[:30].nbytes] ^= 0x40  # in row 15
    file.write_bytes(content)
    again = frozen_features(task, method, "train")
    assert extracted[0] == N["train"] + N["train"] - 8
    assert len(display.warnings) == 1
    assert "is damaged; its features are computed again from image 8 on" in display.warnings[0]
    np.testing.assert_array_equal(again.features, whole)
    np.testing.assert_array_equal(np.load(file), whole)


def test_a_full_disk_is_one_line_and_keeps_what_is_done(home, recipe, extracted, monkeypatch):
    monkeypatch.setattr(frozen, "BATCH", 8)
    append, task = FeatureFile.append, task_of(recipe)
    method = method_of(task)

    def full(self, end, indices, values):
        if self.end == 8:
            raise OSError(28, "No space left on device")
        append(self, end, indices, values)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureFile, "append", full)
        with pytest.raises(OltrError, match=r"cannot write .*No space left"):
            frozen_features(task, method, "val")
    assert extracted[0] == 8
    assert len(frozen_features(task, method, "val")) == N["val"]
    assert extracted[0] == N["val"]


def test_float16_is_half_the_size_and_another_key(home, recipe, extracted):
    task, half = task_of(recipe), task_of(recipe, "train.frozen_precision=float16")
    method = method_of(task)
    whole, rounded = (frozen_features(one, method, "val") for one in (task, half))
    assert extracted[0] == 2 * N["val"]
    assert rounded.features.dtype == np.float16
    np.testing.assert_array_equal(rounded.features, whole.features.astype(np.float16))
    assert rounded.rows(slice(0, 2)).dtype == torch.float32
    (folder,) = find_features()
    small, large = sorted(file.stat().st_size for file in folder.path.glob("*/features.npy"))
    assert large - 128 == 2 * (small - 128)
    assert task.link.hash != half.link.hash
    assert task.link.hash == task_of(recipe, "train.frozen_precision=float32").link.hash
    result = run(recipe, "plain", "train.frozen_precision=float16")
    assert result.metrics["closed/overall"] == pytest.approx(run(recipe).metrics["closed/overall"], abs=0.051)


def test_float16_is_for_a_frozen_backbone(recipe):
    with pytest.raises(UsageProblem, match="set freeze_backbone = true"):
        task_of(recipe, "train.freeze_backbone=false", "train.frozen_precision=float16")


@pytest.mark.parametrize(
    ("value", "sets", "error", "words"),
    [
        (float("nan"), [], NotFinite, "contain NaN or infinity"),
        (1e6, ["train.frozen_precision=float16"], UsageProblem, "too large for train.frozen_precision = float16"),
    ],
)
def test_features_that_cannot_be_stored_are_told(home, recipe, value, sets, error, words, monkeypatch):
    task = task_of(recipe, *sets)
    method = method_of(task)
    monkeypatch.setattr(type(method.backbone), "compute_pooled", lambda self, x: torch.full((len(x), 256), value))
    with pytest.raises(error, match=words):
        frozen_features(task, method, "val")


def test_an_image_that_cannot_be_decoded_stops_all_but_training(home, recipe, monkeypatch):
    monkeypatch.setattr(frozen, "BATCH", 2)
    for name in ("val/c0/0.png", "train/c3/0.png", "train/c3/1.png", "train/c4/0.png"):
        (home / "data/tiny" / name).write_bytes(b"no image")
    task = task_of(recipe)
    with pytest.raises(DataProblem, match=r"val/c0/0\.png"):
        frozen_features(task, method_of(task), "val")
    for _ in range(2):  # computed, and read: the last batches have no image at all
        found = frozen_features(task, method_of(task), "train")
        assert found.left_out == [42, 43, 44]
        assert (len(found), found.features.shape[0]) == (42, 42)
