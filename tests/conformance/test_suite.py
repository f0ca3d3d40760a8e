"""Every method, detector and backbone at hand, by name, through the conformance suite; and bad ones, which must not."""

import pytest
import torch
from torch import nn

from oltr_cli.conformance import checks_of
from oltr_cli.conformance import detectors as detector_conformance
from oltr_cli.conformance import methods as method_conformance
from oltr_cli.detector import LogitDetector
from oltr_cli.method import Scores
from oltr_cli.methods.outlier_exposure import OutlierExposure
from oltr_cli.methods.plain import Plain
from oltr_cli.networks.backbones import Backbone
from oltr_cli.planning.registry import list_methods
from oltr_cli.recipe.backbones import BACKBONES
from oltr_cli.recipe.specs import BackboneSpec, MethodParams

TIMM = ("timm/test_vit", "timm/test_efficientnet", "timm/test_convnext")
NAMES = [*list_methods(), *(name for name in BACKBONES.find() if name != "timm/NAME"), *TIMM]


@pytest.mark.parametrize(
    ("name", "check"),
    [pytest.param(name, one, id=f"{name}-{one.__name__}") for name in NAMES for one in checks_of(name)],
)
def test_all_at_hand(name, check):
    check(name)


class _NotFinite(Plain):
    def training_loss(self, images, labels):
        return {"cross_entropy": super().training_loss(images, labels)["cross_entropy"] * float("nan")}


class _BatchDependent(Plain):
    def forward(self, images):
        scores = super().forward(images)
        return type(scores)(scores.logits - scores.logits.mean(0), scores.confidence, scores.features)


class _Probabilities(Plain):
    def forward(self, images):
        scores = super().forward(images)
        return type(scores)(scores.logits.softmax(dim=1), scores.confidence, scores.features)


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


class _IgnoresOutliers(Plain):
    uses_outliers = True

    def training_loss(self, images, labels):
        return super().training_loss(images[labels >= 0], labels[labels >= 0])


class _CannotDoWithout(OutlierExposure):
    def training_loss(self, images, labels):
        logits = self.classifier(self.backbone(images))
        away = logits.logsumexp(1) - logits.mean(1)
        return {"ce": nn.functional.cross_entropy(logits, labels, ignore_index=-1), "oe": away[labels < 0].mean()}


@pytest.mark.parametrize(
    ("cls", "failing"),
    [
        (_IgnoresOutliers, method_conformance.check_outliers_matter_and_may_be_absent),
        (_CannotDoWithout, method_conformance.check_outliers_matter_and_may_be_absent),
        (_NotFinite, method_conformance.check_learns_without_trouble),
        (_BatchDependent, method_conformance.check_scores_do_not_depend_on_the_batch),
        (_Probabilities, method_conformance.check_scores_have_the_right_form),
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


class _Distances(Plain):
    """Distances to weights, as ``distances`` computes them."""

    distances = staticmethod(torch.cdist)

    def forward(self, images):
        v = self.backbone(images)
        return Scores.from_logits(-self.distances(v, self.classifier.weight), v)


class _ByProduct(_Distances):
    @staticmethod
    def distances(x, c):
        return x.square().sum(1, keepdim=True) - 2 * x @ c.T + c.square().sum(1)


def test_the_suite_catches_a_method_that_cannot_be_exported(monkeypatch):
    monkeypatch.setattr(method_conformance, "method_chain", lambda name: [(name, _Distances)])
    with pytest.raises(AssertionError, match=r"holds only for .* <= 25.*torch\.cdist.*x @ c\.T"):
        method_conformance.check_it_can_be_exported("bad")
    monkeypatch.setattr(method_conformance, "method_chain", lambda name: [(name, _ByProduct)])
    method_conformance.check_it_can_be_exported("good")


def test_a_format_that_is_not_installed_is_left_out_with_a_warning(monkeypatch):
    monkeypatch.setattr("oltr_cli.inference.export_formats.importlib.util.find_spec", lambda package: None)
    with pytest.warns(UserWarning, match="plain was not exported to onnx: --to onnx needs onnx and onnxscript"):
        method_conformance.check_it_can_be_exported("plain")


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


class _Net(Backbone):
    """A good one: each cell of the map is 8 pixels wide."""

    def __init__(self, spec):
        super().__init__(spec)
        self.map_channels = 6
        self.layer = nn.Sequential(nn.Conv2d(3, 6, 8, stride=8), nn.BatchNorm2d(6), nn.ReLU())

    def compute_map(self, images):
        return self.layer(images)

    def map_size(self, image_size):
        return image_size // 8, image_size // 8


class _RoundsUp(_Net):
    def map_size(self, image_size):
        return -(-image_size // 8), -(-image_size // 8)


class _Dropout(_Net):
    def compute_map(self, images):
        return nn.functional.dropout(self.layer(images), 0.5, self.training)


class _OwnForward(_Net):
    def forward(self, images):
        return self.pool(self.feature_map(images)) + images.mean()


class _Unsaved(_Net):
    def __init__(self, spec):
        super().__init__(spec)
        self.offset = torch.randn(6, 1, 1)

    def compute_map(self, images):
        return self.layer(images) + self.offset


class _Unused(_Net):
    def __init__(self, spec):
        super().__init__(spec)
        self.spare = nn.Linear(2, 2)


class _Untorched(_Net):
    count = 0

    def __init__(self, spec):
        super().__init__(spec)
        type(self).count += 1
        nn.init.constant_(self.layer[0].bias, self.count)


class _PerBatch(_Net):
    def compute_map(self, images):
        return self.layer(images - images.mean())


@pytest.mark.parametrize(
    ("cls", "failing"),
    [
        (_Net, None),
        (_RoundsUp, "check_shapes_are_those_it_states"),
        (_PerBatch, "check_features_do_not_depend_on_the_batch"),
        (_OwnForward, "check_taking_gives_the_same_features"),
        (_Dropout, "check_training_differs_in_batch_norm_alone"),
        (_Unused, "check_training_differs_in_batch_norm_alone"),
        (_Unsaved, "check_saving_and_loading_changes_nothing"),
        (_Untorched, "check_same_seed_same_weights"),
    ],
)
def test_the_suite_catches_a_backbone(monkeypatch, cls, failing):
    monkeypatch.setattr("oltr_cli.networks.backbones.load_backbone", lambda spec: cls)
    for check in checks_of("resnet10"):
        if check.__name__ == failing:
            with pytest.raises(AssertionError):
                check("resnet10")
            break
        if failing is None:
            check("resnet10")
    else:
        assert failing is None


TRAINED = [name for name, info in list_methods().items() if info.kind == "method"]


@pytest.mark.parametrize("backbone", TIMM)
@pytest.mark.parametrize("name", TRAINED)
def test_every_method_on_models_of_timm(monkeypatch, name, backbone):
    monkeypatch.setattr(method_conformance, "BACKBONE", BackboneSpec(name=backbone))
    monkeypatch.setattr(method_conformance, "IMAGE_SIZE", 32)
    for check in (
        method_conformance.check_learns_without_trouble,
        method_conformance.check_scores_have_the_right_form,
        method_conformance.check_every_parameter_has_one_part,
        method_conformance.check_saving_and_loading_changes_nothing,
        method_conformance.check_needs_map_says_what_is_needed,
    ):
        check(name)
