"""Mistakes in an added file: one line that names file and line, a run recorded as failed, and no traceback."""

import json
from itertools import count

import pytest

from tests.helpers.in_process import oltr_here

NUMBERS = count()  # a module is imported once: each text has a file name of its own
METHOD = """
import torch
from torch.nn import functional as F
from oltr_cli.method import LinearMethod, Scores


class Mine(LinearMethod):
    def training_loss(self, images, labels):
        return {"a": F.cross_entropy(self.classifier(self.backbone(images)).float(), labels)}
"""
LOSS = '{"a": F.cross_entropy(self.classifier(self.backbone(images)).float(), labels)}'
DETECTOR = """
import numpy as np
from oltr_cli.detector import Detector


class Mine(Detector):
    reads = ("logits",)

    def confidence(self, block):
        return block.logits.max(axis=1)
"""
BACKBONE = """
from torch import nn
from oltr_cli.networks.backbones import Backbone


class Mine(Backbone):
    def __init__(self, spec):
        super().__init__(spec)
        self.layer = nn.Conv2d(3, 6, 8, stride=8)
        self.map_channels = 6

    def compute_map(self, images):
        return self.layer(images)

    def map_size(self, image_size):
        return image_size // 8, image_size // 8
"""


@pytest.fixture
def ran(tmp_path, tiny_data, tiny_recipe, no_files):
    """``oltr run`` of something added, for one epoch: exit code and the last line of stderr."""

    def run(text, name, *words, **environment):
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        words = [word.replace("NAME", name.replace("_", "-")) for word in words]
        sets = [*("--set", "train.epochs=1"), *("--workers", 0, "--no-track", "--device", "cpu")]
        folders = {"OLTR_RUNS": str(tmp_path / "runs"), "OLTR_DATA": str(tiny_data)}
        code, _, said = oltr_here(
            "run", *words, "--recipe", tiny_recipe, "--methods-from", file, *sets, **folders, **environment
        )
        return code, said, file, sorted((tmp_path / "runs").glob("tiny/*/*/result.json"))

    return run


def line_of(text, part):
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (f"return {LOSS}", "raise ValueError('my mistake')", "in training_loss: ValueError: my mistake"),
        (f"return {LOSS}", "raise SystemExit(3)", "in training_loss: SystemExit: 3"),
        (f"return {LOSS}", "open('/no/such/file')", "in training_loss: FileNotFoundError"),
        (
            "    def training",
            "    def __init__(self, setup):\n        raise RuntimeError('no')\n\n    def training",
            "no",
        ),
        (LOSS, "[images.sum()]", "Mine.training_loss: returns a list, not a dict"),
        (LOSS, "{}", "Mine.training_loss: returns no term"),
        (LOSS, '{"a": 1.0}', "returns a float as term 'a', not a scalar tensor"),
        ("labels)}", 'labels, reduction="none")}', "returns a tensor of shape (8,) as term 'a', not a scalar"),
        (LOSS, '{"a": torch.zeros(())}', "returns only terms without a gradient"),
        (f"return {LOSS}", f"return {LOSS}\n\n    def forward(self, images):\n        return 1", "a int, not Scores"),
        (
            f"return {LOSS}",
            f"return {LOSS}\n\n    def forward(self, images):\n        v = self.backbone(images)\n"
            "        return Scores.from_logits(self.classifier(v)[:, :2], v)",
            "as logits, not a tensor of shape (",
        ),
        (f"return {LOSS}", f"return {LOSS}\n\n    def parts(self):\n        return []", "a list, not a dict of param"),
    ],
)
def test_a_mistake_in_a_method(ran, old, new, says):
    assert old in METHOD
    text = METHOD.replace(old, new)
    code, said, file, results = ran(text, f"method_{next(NUMBERS)}", "NAME")
    last = said.splitlines()[-1]
    assert (code, "Traceback" in said) == (1, False), said
    assert last.startswith(f"error: {file}, line ")
    assert says in last
    (outcome,) = [json.loads(path.read_text()) for path in results]
    assert outcome["status"] == "failed"
    assert f"error: {outcome['error']}" == last


def test_the_line_is_the_one_that_raised_and_its_traceback_can_be_had(ran):
    text = (
        METHOD.replace(LOSS, '{"a": self.helper(images)}') + "\n    def helper(self, images):\n        return 1 / 0\n"
    )
    code, said, file, _ = ran(text, "divides", "NAME")
    where = f"{file}, line {line_of(text, '1 / 0')}, in helper: ZeroDivisionError: division by zero"
    assert said.splitlines()[-1] == f"error: {where}; OLTR_TRACEBACK=1 shows the traceback"
    code, said, file, _ = ran(text, "divides", "NAME", OLTR_TRACEBACK="1")
    assert (code, said.splitlines()[-1]) == (1, f"error: {where}")
    assert "Traceback" in said
    assert "return 1 / 0" in said


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("return block.logits.max(axis=1)", "raise KeyError('nothing')", "in confidence: KeyError: 'nothing'"),
        (
            "block.logits.max(axis=1)",
            "block.logits.max(axis=1).tolist()",
            "returns confidences as a list, not an array",
        ),
        ("block.logits.max(axis=1)", "block.logits", "Mine.confidence: returns confidences of shape ("),
        (
            "    def confidence",
            "    def fit(self, train):\n        raise ValueError('bad fit')\n\n    def confidence",
            "in fit: ValueError: bad fit",
        ),
        (
            "    def confidence",
            "    def judge(self, block):\n        return block.logits\n\n    def confidence",
            "Mine.judge: returns a ndarray, not (prediction, confidence)",
        ),
        (
            "    def confidence",
            "    def report(self):\n        return {'x': np.float32(1)}\n\n    def confidence",
            "Mine.report: does not return a dict of numbers and strings",
        ),
    ],
)
def test_a_mistake_in_a_detector(ran, old, new, says):
    assert old in DETECTOR
    name = f"detector_{next(NUMBERS)}"
    code, said, file, results = ran(DETECTOR.replace(old, new), name, "plain", "--detector", "NAME")
    last = said.splitlines()[-1]
    assert (code, "Traceback" in said) == (1, False), said
    assert last.startswith(f"error: {file}, line ")
    assert says in last
    assert {"done", "failed"} == {json.loads(path.read_text())["status"] for path in results}


def test_a_confidence_that_is_not_finite_is_not_a_finite_result(ran):
    text = DETECTOR.replace("block.logits.max(axis=1)", "block.logits.max(axis=1) * np.nan")
    code, said, _, _ = ran(text, "nan_conf", "plain", "--detector", "nan-conf")
    assert code == 4
    expected = "error: detector nan-conf returns a confidence of NaN or infinity for finite logits"
    assert said.splitlines()[-1] == expected


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("return self.layer(images)", "raise ValueError('no map')", "in compute_map: ValueError: no map"),
        (
            "return self.layer(images)",
            "return self.layer(images).mean((2, 3))",
            "returns a map of shape (8, 6), not (B, 6, h, w)",
        ),
        ("self.map_channels = 6", "self.map_channels = 7", "not (B, 7, h, w)"),
        ("return self.layer(images)", "return [images]", "returns a list, not (B, 6, h, w)"),
        ("return image_size // 8, image_size // 8", "return image_size // 8", "Mine.map_size: returns 2 for images"),
        ("        super().__init__(spec)\n", "", "in __init__: AttributeError"),
    ],
)
def test_a_mistake_in_a_backbone(ran, old, new, says):
    assert old in BACKBONE
    name = f"backbone_{next(NUMBERS)}"
    plain = ("--set", "backbone.name=NAME", "--set", "backbone.stem=imagenet", "--set", "backbone.width=64")
    code, said, file, results = ran(BACKBONE.replace(old, new), name, "plain", *plain)
    last = said.splitlines()[-1]
    assert (code, "Traceback" in said) == (1, False), said
    assert last.startswith(f"error: {file}, line ")
    assert says in last
    assert [json.loads(path.read_text())["status"] for path in results] == ["failed"]


def test_a_run_records_its_files(ran, tmp_path):
    code, said, file, _ = ran(METHOD, "recorded", "NAME")
    assert code == 0, said
    (environment,) = (tmp_path / "runs").glob("tiny/*/*/environment.json")
    assert json.loads(environment.read_text())["added_files"] == {"recorded": str(file)}


def test_a_fault_of_ours_keeps_its_traceback(ran, monkeypatch):
    def broken(*arguments, **options):
        raise ValueError("ours")

    monkeypatch.setattr("oltr_cli.training.engine.build_optimizer", broken)
    code, said, _, _ = ran(METHOD, "good_method", "NAME")
    assert code == 1
    assert "Traceback" in said
    assert "ValueError: ours" in said.splitlines()[-1]
