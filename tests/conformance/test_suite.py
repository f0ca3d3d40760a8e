"""Every method at hand, by name, through the conformance suite; and a bad one, which must not pass."""

import pytest
import torch

from oltr_cli.conformance import checks_of
from oltr_cli.conformance import detectors as detector_conformance
from oltr_cli.conformance import methods as method_conformance
from oltr_cli.detector import LogitDetector
from oltr_cli.method import Scores
from oltr_cli.methods.plain import Plain
from oltr_cli.planning.registry import list_methods
from oltr_cli.recipe.specs import MethodParams


@pytest.mark.parametrize(
    ("name", "check"),
    [pytest.param(name, one, id=f"{name}-{one.__name__}") for name in list_methods() for one in checks_of(name)],
)
def test_method(name, check):
    check(name)


class _NotFinite(Plain):
    def training_loss(self, images, labels):
        return {"cross_entropy": super().training_loss(images, labels)["cross_entropy"] * float("nan")}


class _BatchDependent(Plain):
    def forward(self, images):
        scores = super().forward(images)
        return type(scores)(scores.logits - scores.logits.mean(0), scores.confidence, scores.features)


class _LeavesOut(Plain):
    def parts(self):
        return {"features": list(self.backbone.parameters())}


class _NotSaved(Plain):
    def __init__(self, setup):
        super().__init__(setup)
        self.offset = torch.randn(setup.num_classes)

    def forward(self, images):
        scores = super().forward(images)
        return type(scores)(scores.logits + self.offset, scores.confidence, scores.features)


class _NeedsTheMap(Plain):
    """Looks at the cells of the map, and says that it does not, once ``largest`` is on."""

    class Params(MethodParams):
        largest: bool = False

    def forward(self, images):
        if not self.setup.params.largest:
            return super().forward(images)
        f = self.backbone.feature_map(images).amax((2, 3))
        return Scores.from_logits(self.classifier(f), f)


class _PoolsAnew(_NeedsTheMap):
    needs_map = True

    def forward(self, images):
        v = images.mean((2, 3)) if self.backbone.inputs == "maps" else self.backbone(images) + 1
        return Scores.from_logits(self.classifier(v), v)


@pytest.mark.parametrize(
    ("cls", "failing"),
    [
        (_NotFinite, method_conformance.check_learns_without_trouble),
        (_BatchDependent, method_conformance.check_scores_do_not_depend_on_the_batch),
        (_LeavesOut, method_conformance.check_every_parameter_has_one_part),
        (_NotSaved, method_conformance.check_saving_and_loading_changes_nothing),
        (_PoolsAnew, method_conformance.check_needs_map_says_what_is_needed),
    ],
)
def test_the_suite_catches(monkeypatch, cls, failing):
    monkeypatch.setattr(method_conformance, "method_chain", lambda name: [(name, cls)])
    with pytest.raises(AssertionError):
        failing("bad")


class _ByNumpy(LogitDetector):
    def from_logits(self, logits):
        return torch.from_numpy(logits.numpy().max(axis=1))


class _AsksTheLogits(LogitDetector):
    def from_logits(self, logits):
        return logits.amax(dim=1) if logits.sum() > 0 else logits.mean(dim=1)


class _Coarse(LogitDetector):
    """Says something else in float32."""

    def from_logits(self, logits):
        return logits.amax(dim=1) + (1e10 + logits.amin(dim=1) - 1e10)


@pytest.mark.parametrize("cls", [_ByNumpy, _AsksTheLogits, _Coarse])
def test_the_suite_catches_a_formula_that_cannot_be_exported(monkeypatch, cls):
    monkeypatch.setattr(detector_conformance, "load_detector", lambda name: cls)
    with pytest.raises(AssertionError):
        detector_conformance.check_a_formula_of_logits_can_be_exported("bad")


def test_the_suite_tries_every_choice_of_parameters(monkeypatch):
    monkeypatch.setattr(method_conformance, "method_chain", lambda name: [(name, _NeedsTheMap)])
    assert [p.largest for p in method_conformance.choices(_NeedsTheMap.Params)] == [False, True]
    with pytest.raises(RuntimeError, match="needs_map must be true"):
        method_conformance.check_needs_map_says_what_is_needed("bad")
