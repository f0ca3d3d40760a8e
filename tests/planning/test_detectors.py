"""What a detector is given before it scores: what it asks for, the method's classifier once checked, fitted parts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from oltr_cli.detector import Detector, LinearHead
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.planning.detectors import FitSources, fit_detector, part_classes
from oltr_cli.planning.registry import load_detector
from tests.helpers.linear_scores import build, fitted, head, samples


def refused():
    raise AssertionError("asked for what it does not need")


@pytest.mark.parametrize(
    ("name", "asks"),
    [
        ("energy", ()),
        ("rp-gradnorm", ()),
        ("knn", ("train",)),
        ("kl-matching", ("val",)),
        ("react", ("train", "head")),
        ("combined", ("train", "val")),
    ],
)
def test_nothing_is_computed_that_is_not_needed(name, asks):
    scores = {"train": samples, "val": samples, "head": head}
    asked = []

    def source(what):
        return lambda: asked.append(what) or (scores[what]() if what in asks else refused())

    fit_detector(build(name), FitSources(*(source(what) for what in ("train", "val", "head"))))
    assert set(asked) == set(asks)


@pytest.mark.parametrize("name", ["react", "scale", "fdbd", "nci"])
def test_a_method_without_a_linear_classifier_is_refused(name):
    train, own = samples(), head()
    others = [
        None,
        LinearHead(own.weight, own.bias + np.linspace(-1, 1, 6)),  # as if a forward added something to the logits
        LinearHead(own.weight * 1.3, own.bias),
        LinearHead(own.weight[:, :4], own.bias),
        LinearHead(own.weight * np.nan, own.bias),
    ]
    for other in others:
        sources = FitSources(lambda: train, refused, lambda other=other: other)
        with pytest.raises(
            UsageProblem, match=f"^{name} needs a linear classifier .*; use energy, gen, knn or"
        ) as found:
            fit_detector(build(name), sources)
        assert found.value.exit_code == 2


def test_rounding_of_logits_is_no_other_classifier():
    """A GPU computes them from bfloat16, whose numbers have 8 bits; large files hold float16."""
    train = samples()
    rounded = torch.from_numpy(train.logits).bfloat16().float().numpy()
    assert head().fits(replace(train, logits=rounded))
    assert head().fits(replace(train, logits=train.logits.astype(np.float16)))
    one = train.take(slice(1))
    assert head().fits(one)


def test_a_method_without_a_classifier_is_refused_before_its_training_set_is_scored():
    with pytest.raises(UsageProblem, match=r"^react needs a linear classifier"):
        fit_detector(build("react"), FitSources(refused, refused, lambda: None))


def test_parts_that_were_fitted_are_used_again():
    sources = FitSources(samples, samples, refused)
    first, second = build("combined"), build("combined")
    fit_detector(first, sources)
    fit_detector(second, sources)
    assert [a is b for a, b in zip(first.parts, second.parts, strict=True)] == [True, True]


def test_scores_without_features_are_named():
    sources = FitSources(lambda: replace(samples(), features=None), refused, head)
    with pytest.raises(DataProblem, match=r"^react reads the features, and these scores have none$"):
        fit_detector(build("react"), sources)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ("energie", "^no detector 'energie'; did you mean 'energy'"),
        ("cost-sensitiv", "^no detector 'cost-sensitiv'; known: combined, energy"),  # near to a method alone
        ("energy", "^combined combines different detectors, and energy is named twice$"),
        ("plain", "plain is not a detector"),
        ("odin", "combined reads saved scores, and odin needs the network; name another"),
        ("combined", "combined cannot contain combined, which combines detectors itself"),
    ],
)
def test_what_cannot_be_combined(second, says):
    cls = load_detector("combined")
    with pytest.raises(UsageProblem, match=says):
        part_classes(cls, cls.Params(second=second))


def test_a_detector_without_parts():
    assert part_classes(load_detector("energy"), load_detector("energy").Params()) == []
    assert fitted("energy", samples()).parts == []
    assert Detector.combines(None) == ()
