"""Scores from features alone: what ``oltr add-class`` rescores saved features with."""

import pytest

from oltr_cli.conformance.methods import build, check_scores_follow_from_features
from oltr_cli.planning.registry import list_methods, load_method

METHODS = [name for name, info in list_methods().items() if info.kind == "method" and info.origin == "built-in"]
TAKING = [name for name in METHODS if not load_method(name).no_new_class]


def test_which_methods_take_a_new_class():
    assert set(METHODS) - set(TAKING) == {"fslwf", "metamodelnet", "model-regression"}


def test_lift_keeps_the_width_of_its_adapters_whatever_the_number_of_classes():
    method = build("lift")
    assert method.params_for_more_classes().bottleneck == method.width == method.adapters[0].down.out_features


def test_a_forward_of_its_own_is_noticed(monkeypatch):
    cls = load_method("balanced-softmax")
    plain = cls.forward

    def forward(self, images):
        scores = plain(self, images)
        return type(scores).from_logits(2 * scores.logits, scores.features)

    monkeypatch.setattr(cls, "forward", forward)
    with pytest.raises(AssertionError, match="score_features gives other logits than forward"):
        check_scores_follow_from_features("balanced-softmax")
    monkeypatch.setattr(cls, "no_new_class", "its logits are twice as large")
    check_scores_follow_from_features("balanced-softmax")
