"""The loss of mixed images: that of both labels, with one pass through the backbone."""

import pytest
import torch

from oltr_cli.data.feed.mixing import Mixing
from oltr_cli.method import Setup
from oltr_cli.planning.described import described
from oltr_cli.planning.registry import list_methods, load_method
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.training.loss import Loss

COUNTS = (40, 9, 3, 1)
MIXING = Mixing(0.7, torch.tensor([3, 0, 5, 1, 2, 4]), (2, 3, 9, 12))
TRAINED = [name for name, info in list_methods().items() if info.kind != "detector"]
MIXED = [name for name in TRAINED if described(name).mixes]


def batch():
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return images, torch.tensor([0, 0, 1, 2, 3, 0])


def make(name):
    cls = load_method(name)
    torch.manual_seed(0)
    spec = BackboneSpec(name="resnet10", stem="small", width=8)
    method = cls(Setup(spec, 16, COUNTS, cls.Params())).train()
    method.progress = 0.9
    return method


def gradients(method, terms):
    method.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    return {name: p.grad for name, p in method.named_parameters()}


def test_methods_that_mix_are_those_with_a_mean_over_images():
    alone = ["balanced-softmax", "class-balanced", "cost-sensitive", "focal", "ldam-drw", "logit-adjustment", "plain"]
    assert sorted(MIXED) == alone


@pytest.mark.parametrize("name", MIXED)
def test_it_is_the_weighted_sum_for_both_labels(name):
    images, labels = batch()
    method = make(name)
    mixed = MIXING.images(images)
    whole = [method.training_loss(mixed, y) for y in (labels, MIXING.labels(labels))]
    wanted = {term: 0.7 * whole[0][term] + 0.3 * whole[1][term] for term in whole[0]}
    wanted_gradients = gradients(method, wanted)
    terms = Loss(method, "images")(images, labels, MIXING)
    assert terms.keys() == wanted.keys()
    torch.testing.assert_close(terms, wanted)
    torch.testing.assert_close(gradients(method, terms), wanted_gradients)


@pytest.mark.parametrize("name", MIXED)
def test_the_backbone_runs_once_and_nothing_else_changes(name):
    images, labels = batch()
    once, mixed = make(name), make(name)
    calls = []
    mixed.backbone.conv1.register_forward_hook(lambda *_: calls.append(1))
    Loss(mixed, "images")(images, labels, MIXING)
    assert len(calls) == 1
    Loss(once, "images")(MIXING.images(images), labels)
    for (key, one), other in zip(once.state_dict().items(), mixed.state_dict().values(), strict=True):
        assert torch.equal(one, other), key  # statistics of batch norm among them


def test_a_method_of_the_map_gets_the_map(monkeypatch):
    images, labels = batch()
    method = make("plain").eval()
    pooled = Loss(method, "images")(images, labels, MIXING)
    seen = []
    loss = method.training_loss
    monkeypatch.setattr(method, "training_loss", lambda x, y: seen.append(x.shape) or loss(x, y))
    monkeypatch.setattr(type(method), "needs_map", True)
    torch.testing.assert_close(Loss(method, "images")(images, labels, MIXING), pooled)
    assert seen == [(6, 64, 2, 2)] * 2
