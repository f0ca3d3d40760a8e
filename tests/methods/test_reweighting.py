"""Focal, cost-sensitive, balanced softmax, logit adjustment and LDAM-DRW: the equations sample by sample."""

import math
from pathlib import Path

import pytest
import torch

from oltr_cli.conformance import methods as method_conformance
from oltr_cli.method import Setup
from oltr_cli.methods._class_weights import class_balanced_weights
from oltr_cli.methods.balanced_softmax import BalancedSoftmax
from oltr_cli.methods.cost_sensitive import CostSensitive, cost_weights
from oltr_cli.methods.focal import Focal, focal_loss
from oltr_cli.methods.ldam_drw import LDAMDRW, ldam_margins
from oltr_cli.methods.logit_adjustment import LogitAdjustment
from oltr_cli.networks.weights import inherit_state
from oltr_cli.planning.described import described_chain
from oltr_cli.planning.resolve import resolve_chain
from oltr_cli.recipe.specs import BackboneSpec

COUNTS = (120, 30, 5, 1)
LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 3, 0])
K = len(COUNTS)


def make(cls, **params):
    torch.manual_seed(0)
    backbone = BackboneSpec(name="resnet10", stem="small", width=8)
    return cls(Setup(backbone, 16, COUNTS, cls.Params(**params))).eval()


def images():
    return torch.randn(len(LABELS), 3, 16, 16, generator=torch.Generator().manual_seed(1))


def raw_logits(method):
    """What the network says of ``images``, before any adjustment, as lists."""
    with torch.no_grad():
        return method.classifier(method.backbone(images())).tolist()


def cross_entropy(row, label):
    return math.log(sum(math.exp(z - row[label]) for z in row))


def only_term(method):
    terms = method.training_loss(images(), LABELS)
    assert len(terms) == 1
    return next(iter(terms.values())).item()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_equals_the_formula(gamma):
    method = make(Focal, gamma=gamma)
    expected = 0.0
    for row, y in zip(raw_logits(method), LABELS.tolist(), strict=True):
        p = math.exp(-cross_entropy(row, y))
        expected -= (1 - p) ** gamma * math.log(p) / len(LABELS)
    assert only_term(method) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_gradient_passes_through_the_factor(gamma):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(6, K, generator=g, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    assert torch.autograd.gradcheck(lambda z: focal_loss(z, labels, gamma), (logits,))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("height", [1e-4, 30.0, 200.0, 3e4])
def test_focal_is_finite_for_sure_and_for_hopeless_samples(gamma, height):
    logits = torch.zeros(2, K)
    logits[:, 0] = height
    logits.requires_grad_()
    for labels in (torch.tensor([0, 0]), torch.tensor([1, 1])):
        value = focal_loss(logits, labels, gamma)
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.isfinite()
        assert gradient.isfinite().all()
    assert focal_loss(logits.half(), labels, gamma).dtype == torch.float32


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_cost_sensitive_equals_the_formula(gamma):
    weights = [(min(COUNTS) / n) ** gamma for n in COUNTS]
    weights = [w * K / sum(weights) for w in weights]
    assert cost_weights(COUNTS, gamma).tolist() == pytest.approx(weights, rel=1e-6)
    method = make(CostSensitive, gamma=gamma)
    rows = zip(raw_logits(method), LABELS.tolist(), strict=True)
    expected = sum(weights[y] * cross_entropy(row, y) for row, y in rows) / len(LABELS)
    assert only_term(method) == pytest.approx(expected, rel=1e-6)


def test_balanced_softmax_equals_the_formula():
    method = make(BalancedSoftmax)
    expected = 0.0
    for row, y in zip(raw_logits(method), LABELS.tolist(), strict=True):
        whole = sum(n * math.exp(z) for n, z in zip(COUNTS, row, strict=True))
        expected -= math.log(COUNTS[y] * math.exp(row[y]) / whole) / len(LABELS)
    assert only_term(method) == pytest.approx(expected, rel=1e-6)
    assert method(images()).logits.tolist() == raw_logits(method)


@pytest.mark.parametrize("tau", [0.0, 1.0, 1.7])
def test_logit_adjustment_takes_the_prior_out_once(tau):
    prior = [n / sum(COUNTS) for n in COUNTS]
    shift = torch.tensor([tau * math.log(p) for p in prior], dtype=torch.float64)
    post_hoc, loss = make(LogitAdjustment, tau=tau), make(LogitAdjustment, form="loss", tau=tau)
    raw = torch.tensor(raw_logits(post_hoc), dtype=torch.float64)
    assert raw_logits(loss) == raw.tolist()
    with torch.no_grad():
        assert post_hoc(images()).logits.numpy() == pytest.approx((raw - shift).numpy(), rel=1e-5, abs=1e-6)
        assert loss(images()).logits.tolist() == raw.tolist()
    for method, logits in ((post_hoc, raw), (loss, raw + shift)):
        expected = sum(cross_entropy(r, y) for r, y in zip(logits.tolist(), LABELS.tolist(), strict=True))
        assert only_term(method) == pytest.approx(expected / len(LABELS), rel=1e-6)


def test_logit_adjusted_loss_at_tau_1_is_balanced_softmax():
    assert only_term(make(LogitAdjustment, form="loss")) == pytest.approx(only_term(make(BalancedSoftmax)), rel=1e-6)


def test_ldam_margins_follow_the_fourth_root():
    margins = ldam_margins(COUNTS, 0.5)
    assert margins.tolist() == pytest.approx([0.5 * (1 / n) ** 0.25 for n in COUNTS], rel=1e-6)
    assert ldam_margins((16, 81), 0.3).tolist() == pytest.approx([0.3, 0.2], rel=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999, 1 - 1e-12])
def test_class_balanced_weights_equal_the_formula(beta):
    effective = [sum(beta**i for i in range(n)) for n in COUNTS]  # (1 − β^n) / (1 − β)
    mean = sum(1 / e for e in effective) / K
    assert class_balanced_weights(COUNTS, beta).tolist() == pytest.approx([1 / e / mean for e in effective], rel=1e-6)


@pytest.mark.parametrize(("progress", "weighted"), [(0.0, False), (0.79, False), (0.8, True), (0.999, True)])
def test_ldam_equals_the_formula_and_defers_the_weights(progress, weighted):
    method = make(LDAMDRW)
    method.progress = progress
    w = method.classifier.weight.detach().double()
    v = method.backbone(images()).detach().double()
    margins, balanced = [0.5 * n**-0.25 for n in COUNTS], class_balanced_weights(COUNTS).tolist()
    total = whole = 0.0
    for x, y in zip(v, LABELS.tolist(), strict=True):
        row = [(x @ w[c] / (x.norm() * w[c].norm())).item() - (margins[y] if c == y else 0) for c in range(K)]
        weight = balanced[y] if weighted else 1.0
        total += weight * cross_entropy([30 * z for z in row], y)
        whole += weight
    assert only_term(method) == pytest.approx(total / whole, rel=1e-6)


def test_ldam_has_no_margin_at_test_time_and_ignores_lengths():
    method = make(LDAMDRW, scale=10.0)
    logits = method(images()).logits
    w, v = method.classifier.weight, method.backbone(images())
    cosine = torch.nn.functional.cosine_similarity(v[:, None], w[None], dim=2)
    torch.testing.assert_close(logits, 10 * cosine, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        w *= torch.tensor([0.1, 1.0, 10.0, 100.0])[:, None]
    torch.testing.assert_close(method(images()).logits, logits, rtol=1e-5, atol=1e-5)


def test_ldam_stays_finite_for_a_zero_feature():
    method = make(LDAMDRW)
    v = torch.zeros(2, method.backbone.feature_dim, requires_grad=True)
    method.classifier(v).square().sum().backward()
    assert v.grad.isfinite().all()
    assert method.classifier.weight.grad.isfinite().all()


TRAINED_ON_IMAGES = ["balanced-softmax", "cost-sensitive", "focal", "ldam-drw", "lifted", "logit-adjustment", "range"]


@pytest.mark.parametrize("name", TRAINED_ON_IMAGES)
def test_plain_weights_are_taken_over(name):
    """All of plain's weights, but that a cosine head has no bias; whatever the method itself began with."""
    plain = method_conformance.build("plain", seed=1).state_dict()
    method = method_conformance.build(name, seed=2)
    assert not torch.equal(method.state_dict()["classifier.weight"], plain["classifier.weight"])
    inherit_state(method, plain, method.renames)
    taken = method.state_dict()
    assert set(plain) - set(taken) == ({"classifier.bias"} if name == "ldam-drw" else set())
    for key, value in taken.items():
        assert torch.equal(value, plain[key]), key


@pytest.mark.parametrize("name", TRAINED_ON_IMAGES)
def test_methods_that_correct_for_the_prior_see_images_as_they_come(name):
    recipe = Path(__file__).parents[2] / "recipes" / "imagenet-lt.toml"
    sampler = resolve_chain(recipe, described_chain(name), [])[-1].recipe.train.sampler
    assert sampler == ("class_aware" if name in ("focal", "lifted", "range") else "instance")
