"""Heads on saved features, later than the paper: losses and scores against NumPy in float64, and odd class counts."""

import numpy as np
import pytest
import torch

from oltr_cli.method import FeatureSet
from oltr_cli.methods.class_balanced import ClassBalanced
from oltr_cli.methods.cosine_la import CosineLA
from oltr_cli.methods.label_aware_smoothing import LabelAwareSmoothing, smoothing
from oltr_cli.methods.los import LOS
from oltr_cli.methods.marc import MARC
from oltr_cli.methods.maxnorm import MaxNorm
from oltr_cli.methods.ncm import NCM
from tests.helpers.frozen_features import build

COUNTS = (120, 30, 5, 1)
HEADS = [CosineLA, LabelAwareSmoothing, LOS, MARC, MaxNorm]


def features_for(method, seed=0, samples=11):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(samples, method.backbone.feature_dim)).astype(np.float32)


def loss_of(method, z, y):
    terms = method.feature_loss(torch.from_numpy(z), torch.from_numpy(y))
    return sum(term.item() for term in terms.values())


def log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def linear(method, z):
    weight, bias = (p.detach().double().numpy() for p in (method.classifier.weight, method.classifier.bias))
    return z.astype(np.float64) @ weight.T + bias, np.linalg.norm(weight, axis=1)


def balanced(beta=0.9999):
    weights = np.array([(1 - beta) / (1 - beta**n) for n in COUNTS])
    return weights / weights.mean()


LABELS = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3])


def test_los_smooths_the_labels_almost_to_equality():
    method = build(LOS, COUNTS)
    z = features_for(method)
    log_p = log_softmax(linear(method, z)[0])
    target = np.full((11, 4), 0.98 / 4)
    target[np.arange(11), LABELS] += 0.02
    assert loss_of(method, z, LABELS) == pytest.approx(-(target * log_p).sum(axis=1).mean(), rel=1e-5)


def test_label_aware_smoothing_smooths_common_classes_most():
    method = build(LabelAwareSmoothing, COUNTS)
    with torch.no_grad():
        method.factors.copy_(torch.tensor([1.0, 0.5, 2.0, 1.5]))
    z = features_for(method)
    epsilon = np.array([0.1 + 0.3 * np.sin(np.pi * (n - 1) / (2 * 119)) for n in COUNTS])
    log_p = log_softmax(linear(method, z)[0] * np.array([1.0, 0.5, 2.0, 1.5]))
    e = epsilon[LABELS]
    wanted = -((1 - e) * log_p[np.arange(11), LABELS] + e * log_p.mean(axis=1)).mean()
    assert loss_of(method, z, LABELS) == pytest.approx(wanted, rel=1e-5)


def test_smoothing_of_equally_common_classes_is_the_tails():
    torch.testing.assert_close(smoothing((7, 7, 7), 0.4, 0.1), torch.full((3,), 0.1))


def test_marc_learns_a_factor_and_a_margin_of_each_class_only():
    method = build(MARC, COUNTS)
    with torch.no_grad():
        method.factors.copy_(torch.tensor([1.0, 0.5, 2.0, 1.5]))
        method.margins.copy_(torch.tensor([0.1, 0.0, -0.2, 0.3]))
    z = features_for(method)
    f, lengths = linear(method, z)
    logits = f * np.array([1.0, 0.5, 2.0, 1.5]) + np.array([0.1, 0.0, -0.2, 0.3]) * lengths
    np.testing.assert_allclose(method.score_features(torch.from_numpy(z)).logits.detach(), logits, rtol=1e-4, atol=1e-5)
    wanted = -(balanced()[LABELS] * log_softmax(logits)[np.arange(11), LABELS]).sum() / 11
    assert loss_of(method, z, LABELS) == pytest.approx(wanted, rel=1e-5)
    moving = {name for name, p in method.named_parameters() if p.requires_grad and not name.startswith("backbone")}
    assert moving == {"factors", "margins"}


def test_maxnorm_shortens_only_what_is_longer_than_the_limit():
    method = build(MaxNorm, COUNTS, threshold=0.5)
    z = features_for(method)
    with torch.no_grad():
        method.classifier.weight.copy_(
            torch.from_numpy(features_for(method, 1, 4)) * torch.tensor([[1.0], [2], [3], [4]])
        )
    before = method.classifier.weight.detach().double().numpy().copy()
    lengths = np.linalg.norm(before, axis=1)
    limit = lengths.min() + 0.5 * (lengths.max() - lengths.min())
    given = FeatureSet(torch.from_numpy(z), torch.from_numpy(LABELS))
    method.prepare_features(given, given)
    with torch.no_grad():
        method.end_epoch(None)
    wanted = before * np.minimum(1, limit / lengths)[:, None]
    np.testing.assert_allclose(method.classifier.weight.detach(), wanted, rtol=1e-5)
    assert (lengths <= limit).any()
    assert (lengths > limit).any()


def test_cosine_la_begins_at_the_class_means_and_adjusts_only_the_loss():
    method = build(CosineLA, COUNTS)
    z = features_for(method)
    given = FeatureSet(torch.from_numpy(z), torch.from_numpy(LABELS))
    method.prepare_features(given, given)
    means = np.stack([z[c == LABELS].astype(np.float64).mean(axis=0) for c in range(4)])
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    cosines = z / np.linalg.norm(z.astype(np.float64), axis=1, keepdims=True) @ unit.T
    np.testing.assert_allclose(
        method.score_features(torch.from_numpy(z)).logits.detach(), 25 * cosines, rtol=1e-4, atol=1e-4
    )
    prior = np.log(np.array(COUNTS) / sum(COUNTS))
    wanted = -log_softmax(25 * cosines + prior)[np.arange(11), LABELS].mean()
    assert loss_of(method, z, LABELS) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("centre", [False, True])
def test_ncm_takes_the_nearest_mean(metric, centre):
    method = build(NCM, COUNTS, metric=metric, centre=centre)
    z = features_for(method)
    given = FeatureSet(torch.from_numpy(z), torch.from_numpy(LABELS))
    method.prepare_features(given, given)
    x = z.astype(np.float64) - (z.astype(np.float64).mean(axis=0) if centre else 0)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    own = unit if metric == "euclidean" else x
    means = np.stack([own[c == LABELS].mean(axis=0) for c in range(4)])
    if metric == "cosine":
        wanted = unit @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    else:
        wanted = -np.square(unit[:, None] - means).sum(axis=2)
    scores = method.score_features(torch.from_numpy(z))
    np.testing.assert_allclose(scores.logits, wanted, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(scores.confidence, wanted.max(axis=1), rtol=1e-3, atol=1e-4)


def test_a_class_without_a_feature_is_nearest_to_nothing():
    method = build(NCM, COUNTS)
    z = features_for(method)
    given = FeatureSet(torch.from_numpy(z[:10]), torch.from_numpy(LABELS[:10]))  # none of class 3
    method.prepare_features(given, given)
    assert (method.score_features(torch.from_numpy(z)).logits.argmax(dim=1) != 3).all()


def test_class_balanced_divides_by_the_batch():
    method = build(ClassBalanced, COUNTS).eval()
    images = torch.randn(11, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = float(sum(method.training_loss(images, torch.from_numpy(LABELS)).values()))
        logits = method(images).logits.double().numpy()
    wanted = -(balanced()[LABELS] * log_softmax(logits)[np.arange(11), LABELS]).sum() / 11
    assert found == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("cls", HEADS)
@pytest.mark.parametrize("counts", [(9,), (3, 3, 3), (1, 1)])
def test_odd_class_counts(cls, counts):
    method = build(cls, counts)
    z, y = features_for(method, samples=6), np.arange(6) % len(counts)
    given = FeatureSet(torch.from_numpy(z), torch.from_numpy(y))
    method.prepare_features(given, given)
    assert np.isfinite(loss_of(method, z, y))
