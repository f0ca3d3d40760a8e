"""Outlier exposure and outlier class: the equations sample by sample, in float64."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from oltr_cli.conformance import methods as method_conformance
from oltr_cli.method import Setup
from oltr_cli.methods._outliers import mean_over
from oltr_cli.methods.outlier_class import OutlierClass
from oltr_cli.methods.outlier_exposure import OutlierExposure
from oltr_cli.networks.weights import inherit_state
from oltr_cli.planning.described import described, described_chain
from oltr_cli.planning.resolve import resolve_chain
from oltr_cli.recipe.specs import BackboneSpec

COUNTS = (120, 30, 5, 1)
LABELS = torch.tensor([0, -1, 0, 1, -1, 2, -1, 3])  # anywhere in the batch
METHODS = {"outlier-exposure": OutlierExposure, "outlier-class": OutlierClass}


def make(cls, **params):
    torch.manual_seed(0)
    backbone = BackboneSpec(name="resnet10", stem="small", width=8)
    return cls(Setup(backbone, 16, COUNTS, cls.Params(**params))).double().eval()


def images():
    draw = torch.Generator().manual_seed(1)
    return 3 * torch.randn(len(LABELS), 3, 16, 16, generator=draw, dtype=torch.float64)


def rows(method):
    """The logits of ``images``, and those of the outlier class or None, as lists."""
    with torch.no_grad():
        v = method.backbone(images())
        last = method.outlier(v)[:, 0].tolist() if isinstance(method, OutlierClass) else [None] * len(LABELS)
        return list(zip(method.classifier(v).tolist(), last, strict=True))


def logsumexp(row):
    return math.log(sum(map(math.exp, row)))


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_outlier_exposure_equals_the_formula(weight):
    method = make(OutlierExposure, **{"lambda": weight})
    known, away = [], []
    for (row, _), label in zip(rows(method), LABELS.tolist(), strict=True):
        if label < 0:
            away.append(logsumexp(row) - sum(row) / len(row))
        else:
            known.append(logsumexp(row) - row[label])
    terms = method.training_loss(images(), LABELS)
    assert terms["cross_entropy"].item() == pytest.approx(np.mean(known), rel=1e-12)
    assert terms["outliers"].item() == pytest.approx(weight * np.mean(away), rel=1e-12)


def test_its_term_is_lowest_where_all_classes_are_equally_probable():
    """It is the cross-entropy to the uniform distribution, less log K: the source's form."""
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    away = logits.logsumexp(1) - logits.mean(1)
    uniform = -(logits.log_softmax(1) / 7).sum(1)
    torch.testing.assert_close(away, uniform)
    assert (away > math.log(7)).all()
    assert (torch.full((7,), 2.5).logsumexp(0) - 2.5).item() == pytest.approx(math.log(7))


@pytest.mark.parametrize("weight", [0.0, 0.05, 1.0])
def test_outlier_class_equals_the_formula(weight):
    method = make(OutlierClass, **{"lambda": weight})
    known, outliers = [], []
    for (row, last), label in zip(rows(method), LABELS.tolist(), strict=True):
        ce = logsumexp([*row, last])
        (outliers if label < 0 else known).append(ce - (last if label < 0 else row[label]))
    terms = method.training_loss(images(), LABELS)
    assert terms["cross_entropy"].item() == pytest.approx(np.mean(known), rel=1e-12)
    assert terms["outliers"].item() == pytest.approx(weight * np.mean(outliers), rel=1e-12)


@pytest.mark.parametrize("tau", [0.0, 1.0, 1.7])
def test_outlier_class_scores_without_the_prior_and_is_sure_of_what_is_no_outlier(tau):
    method = make(OutlierClass, tau=tau)
    with torch.no_grad():
        scores = method(images())
    prior = [n / sum(COUNTS) for n in COUNTS]
    for (row, last), logits, confidence in zip(rows(method), scores.logits, scores.confidence, strict=True):
        adjusted = [f - tau * math.log(p) for f, p in zip(row, prior, strict=True)]
        assert logits.tolist() == pytest.approx(adjusted, rel=1e-5)
        p_outlier = math.exp(last - logsumexp([*adjusted, last]))  # of [π, 1], log 1 = 0
        assert confidence.item() == pytest.approx(1 - p_outlier, rel=1e-5)


def test_its_confidence_is_exact_where_the_outlier_class_is_almost_certain():
    method = make(OutlierClass)
    with torch.no_grad():
        method.outlier.bias.fill_(60.0)
        first = method(images()).confidence
        method.outlier.bias.fill_(59.0)
        second = method(images()).confidence
    assert (first > 0).all()
    torch.testing.assert_close(second / first, torch.full_like(first, math.e), rtol=1e-3, atol=0)


@pytest.mark.parametrize("cls", METHODS.values())
def test_no_gradient_of_the_cross_entropy_comes_from_outliers(cls):
    method = make(cls)
    pixels = images().requires_grad_()
    (gradient,) = torch.autograd.grad(method.training_loss(pixels, LABELS)["cross_entropy"], pixels)
    assert not gradient[LABELS == -1].any()
    assert gradient[LABELS >= 0].flatten(1).any(1).all()
    (gradient,) = torch.autograd.grad(method.training_loss(pixels, LABELS)["outliers"], pixels)
    assert not gradient[LABELS >= 0].any()
    assert gradient[LABELS == -1].flatten(1).any(1).all()


def test_the_mean_over_no_row_is_0_with_a_gradient():
    values = torch.ones(3, requires_grad=True)
    mean = mean_over(values, torch.zeros(3, dtype=torch.bool))
    mean.backward()
    assert mean.item() == 0
    assert values.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", METHODS)
def test_plains_weights_are_taken_over_and_images_come_as_they_are(name):
    plain = method_conformance.build("plain", seed=1).state_dict()
    method = method_conformance.build(name, seed=2)
    inherit_state(method, plain, method.renames)
    taken = method.state_dict()
    assert all(torch.equal(taken[key], value) for key, value in plain.items())
    assert set(taken) - set(plain) == ({"outlier.weight", "outlier.bias"} if name == "outlier-class" else set())
    recipe = Path(__file__).parents[2] / "recipes" / "imagenet-lt.toml"
    assert resolve_chain(recipe, described_chain(name), [])[-1].recipe.train.sampler == "instance"
    assert described(name).uses_outliers
    assert not described("plain").uses_outliers
