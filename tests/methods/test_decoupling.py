"""cRT, τ-normalisation and LWS against their formulas, and on a long tail that plain's classifier forgets."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from oltr_cli.methods.crt import CRT
from oltr_cli.methods.lws import LWS
from oltr_cli.methods.tau_norm import GRID, TauNorm
from oltr_cli.networks.weights import inherit_state
from tests.helpers.frozen_features import TAIL, TEST, TRAIN, VAL, D, K, accuracy, build, fit, gaussians


@pytest.fixture(scope="module")
def plain():
    """plain's classifier: instance-balanced, so that the head's weights are long and the tail is forgotten."""
    torch.manual_seed(0)
    classifier = nn.Linear(D, K)
    optimizer = torch.optim.SGD(classifier.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    g = torch.Generator().manual_seed(0)
    for _ in range(60):
        rows = torch.randint(len(TRAIN.labels), (128,), generator=g)
        optimizer.zero_grad()
        F.cross_entropy(classifier(TRAIN.features[rows]), TRAIN.labels[rows]).backward()
        optimizer.step()
    state = {f"classifier.{name}": value for name, value in classifier.state_dict().items()}
    prediction = classifier(TEST.features).argmax(dim=1)
    hits = np.array([(prediction[TEST.labels == k] == k).float().mean().item() for k in range(K)])
    return state, hits


def after(plain, cls, **params):
    """The method as it begins: plain's weights taken over, both splits seen."""
    method = build(cls, **params)
    inherit_state(method, plain[0], cls.renames)
    method.eval().prepare_features(TRAIN, VAL)
    return method


def test_plain_forgets_the_tail(plain):
    """Otherwise the tests below would show nothing."""
    assert plain[1][:4].mean() > 0.9
    assert plain[1][TAIL].mean() < 0.4


def test_crt_starts_anew_and_finds_the_tail(plain):
    method = after(plain, CRT)
    fresh = build(CRT)
    assert torch.equal(method.retrained.weight, fresh.retrained.weight)  # plain's classifier was not taken over
    losses = fit(method, TRAIN)
    assert np.mean(losses[-20:]) < 0.2 * np.mean(losses[:5])
    assert accuracy(method)[TAIL].mean() > plain[1][TAIL].mean() + 0.3
    assert accuracy(method).mean() > 0.85


def test_crt_loss_and_scores_by_hand():
    method = build(CRT).double()
    w, b = method.retrained.weight.detach().numpy(), method.retrained.bias.detach().numpy()
    z, labels = TEST.features[:5].double(), TEST.labels[:5]
    logits = np.array([[sum(w[c] * v) + b[c] for c in range(K)] for v in z.numpy()])
    expected = np.mean([math.log(sum(np.exp(row))) - row[y] for row, y in zip(logits, labels.tolist(), strict=True)])
    assert method.feature_loss(z, labels)["cross_entropy"].item() == pytest.approx(expected, rel=1e-6)
    scores = method.score_features(z)
    assert scores.logits.detach().numpy() == pytest.approx(logits, rel=1e-5, abs=1e-6)
    assert scores.confidence.detach().numpy() == pytest.approx(
        np.exp(logits).max(axis=1) / np.exp(logits).sum(axis=1), rel=1e-5
    )
    assert torch.equal(scores.features, z)


def test_lws_begins_as_plain_and_learns_factors_alone(plain):
    method = after(plain, LWS)
    linear = TEST.features @ plain[0]["classifier.weight"].T + plain[0]["classifier.bias"]
    torch.testing.assert_close(method.score_features(TEST.features).logits, linear)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    fit(method, TRAIN)
    moved = [name for name, value in method.state_dict().items() if not torch.equal(value, before[name])]
    assert moved == ["factors"]
    scaled = linear * method.factors.detach()
    torch.testing.assert_close(method.score_features(TEST.features).logits.detach(), scaled)
    assert accuracy(method)[TAIL].mean() > plain[1][TAIL].mean() + 0.1


def test_lws_gradient_by_hand(plain):
    """∂L/∂f_c = mean over the batch of (p_c − 1[c = y]) · (w_cᵀ z + b_c)."""
    method = after(plain, LWS).double()
    z, labels = TEST.features[:6].double(), TEST.labels[:6]
    method.feature_loss(z, labels)["cross_entropy"].backward()
    linear = method.classifier(z).numpy()
    expected = np.zeros(K)
    for row, y in zip(linear, labels.tolist(), strict=True):
        p = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        for c in range(K):
            expected[c] += (p[c] - (c == y)) * row[c] / len(z)
    # The loss is taken in float32 whatever the weights are.
    assert method.factors.grad.numpy() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert method.classifier.weight.grad is None


def naive_tau(weight, data):
    """The smallest τ of the grid with the best mean of the classes' accuracies, one sample at a time."""
    best, best_accuracy = 0.0, -1.0
    w, labels = weight.double().numpy(), data.labels.tolist()
    for tau in [i / 10 for i in range(21)]:
        scaled = np.array([row / np.linalg.norm(row) ** tau for row in w])
        hits = [int(np.argmax(scaled @ v) == y) for v, y in zip(data.features.double().numpy(), labels, strict=True)]
        mean = np.mean([np.mean([h for h, y in zip(hits, labels, strict=True) if y == k]) for k in set(labels)])
        if mean > best_accuracy + 1e-9:
            best, best_accuracy = tau, mean
    return best


def test_tau_is_the_best_on_validation_and_finds_the_tail(plain):
    method = after(plain, TauNorm)
    expected = naive_tau(plain[0]["classifier.weight"], VAL)
    assert 0 < expected < 2
    assert method.tau.item() == pytest.approx(expected)
    assert accuracy(method)[TAIL].mean() > plain[1][TAIL].mean() + 0.1


def test_tau_weighs_classes_not_samples(plain):
    """A validation split of the head almost alone: by samples τ = 0 would win."""
    skewed = gaussians((200, 200, 100, 100, 2, 2, 2, 2, 2, 2, 2, 0), 4)
    method = build(TauNorm)
    inherit_state(method, plain[0])
    method.prepare_features(TRAIN, skewed)
    assert method.tau.item() == pytest.approx(naive_tau(plain[0]["classifier.weight"], skewed))
    assert method.tau.item() > 0


@pytest.mark.parametrize("tau", [0, 0.7, 2.0])
def test_tau_norm_scores_by_hand(plain, tau):
    method = after(plain, TauNorm, tau=tau)
    assert method.tau.item() == pytest.approx(tau)
    w = plain[0]["classifier.weight"].double().numpy()
    expected = [[w[c] @ v / np.linalg.norm(w[c]) ** tau for c in range(K)] for v in TEST.features[:7].double().numpy()]
    logits = method.score_features(TEST.features[:7]).logits.detach().numpy()
    assert logits == pytest.approx(np.array(expected), rel=1e-4, abs=1e-4)


def test_the_chosen_tau_is_saved(plain):
    chosen = after(plain, TauNorm)
    loaded = build(TauNorm)
    assert loaded.tau.item() != chosen.tau.item()
    loaded.load_state_dict(chosen.state_dict())
    assert torch.equal(loaded.score_features(TEST.features).logits, chosen.score_features(TEST.features).logits)


def test_among_equal_taus_the_smallest_counts():
    """Equally long weights: every τ predicts the same."""
    method = build(TauNorm)
    with torch.no_grad():
        method.classifier.weight.copy_(F.normalize(torch.randn(K, D), dim=1))
    method.prepare_features(TRAIN, VAL)
    assert method.tau.item() == GRID[0] == 0


def test_weights_of_length_zero_stay_finite():
    method = build(TauNorm)
    with torch.no_grad():
        method.classifier.weight[3] = 0
    method.prepare_features(TRAIN, VAL)
    for tau in GRID:
        method.tau.fill_(tau)
        scores = method.score_features(TEST.features)
        assert scores.logits.isfinite().all()
        assert (scores.logits[:, 3] == 0).all()


@pytest.mark.parametrize("tau", [-0.1, 2.1, "test", float("nan")])
def test_tau_outside_its_bounds_is_refused(tau):
    with pytest.raises(ValidationError):
        TauNorm.Params(tau=tau)
    assert TauNorm.Params(tau=1).model_dump(mode="json") == {"tau": 1.0}
    assert TauNorm.Params().model_dump(mode="json") == {"tau": "validation"}
