"""Processes that share a batch have the loss and the gradients of one process that has all of it."""

import pytest
import torch
from torch import distributed, nn
from torch.nn import functional as F

from oltr_cli.data.feed.mixing import Mixing
from oltr_cli.errors import UsageProblem
from oltr_cli.method import Setup
from oltr_cli.planning.described import described
from oltr_cli.planning.registry import list_methods, load_method
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.training.loss import Loss
from oltr_cli.training.shares import Shares, share_norms
from tests.helpers.group import in_group

pytestmark = pytest.mark.skipif(not distributed.is_available(), reason="this torch has no distributed support")

COUNTS = (40, 9, 3, 1)
ROWS = 7  # of a batch: no number of processes divides it
TRAINED = [
    name
    for name, info in list_methods().items()
    if info.kind == "method" and info.trains and not info.adapts_blocks and not described(name).on_features
]


def batch(outliers):
    images = torch.randn(ROWS, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images += torch.arange(ROWS)[:, None, None, None] / 3  # no share has the mean of the batch
    return images, torch.tensor([0, 0, 1, 2, 3, 0, -1 if outliers else 1])


def make(name):
    cls = load_method(name)
    torch.manual_seed(0)
    method = cls(Setup(BackboneSpec(name="resnet10", stem="small", width=8), 16, COUNTS, cls.Params())).train()
    method.progress = 0.9
    return method


def outcome(name, shares, mixing=None):
    """Loss terms, gradients and statistics after one batch, of which this process has ``shares``."""
    method = make(name)
    images, labels = batch(method.uses_outliers)
    loss = Loss(method, "images", shares)
    if shares is not None:
        share_norms(method.backbone, shares)
        images, labels = images[shares.own], labels[shares.own]
        loss = nn.parallel.DistributedDataParallel(loss, find_unused_parameters=True)
    torch.manual_seed(1)
    terms = loss(images, labels, mixing)
    torch.stack(list(terms.values())).sum().backward()
    gradients = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}
    return {
        "terms": {n: term.detach() for n, term in terms.items()},
        "gradients": gradients,
        "buffers": dict(method.named_buffers()),
    }


def outcomes(rank, world, cases):
    return [outcome(name, Shares(ROWS, rank, world), mixing and Mixing(*mixing)) for name, mixing in cases]


MIXED = (0.7, torch.tensor([6, 0, 5, 1, 2, 4, 3]), (2, 3, 9, 12))
CASES = [*((name, None) for name in TRAINED), *((name, MIXED) for name in TRAINED if described(name).mixes)]


@pytest.mark.parametrize("world", [2, 3])
def test_every_loss_and_its_gradients_are_those_of_the_whole_batch(world, tmp_path):
    found = in_group(outcomes, world, tmp_path / "group", CASES)
    for number, (name, mixing) in enumerate(CASES):
        wanted = outcome(name, None, mixing and Mixing(*mixing))
        for rank in range(world):
            torch.testing.assert_close(
                found[rank][number], wanted, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
            )


def masks(rank, world):
    """What dropout keeps of the backbone's features of each row, and of each row's logits."""
    method, shares, seen = make("plain"), Shares(8, rank, world), []
    method.backbone.compute_pooled = lambda images: F.dropout(images.new_ones(len(images), 64))

    def terms(images, labels):
        seen.append(method.backbone(images))
        seen.append(F.dropout(torch.ones(8, 64)))
        return {"x": seen[0].sum() * method.classifier.weight.sum()}

    method.training_loss = terms
    torch.manual_seed(3)
    Loss(method, "images", shares)(torch.ones(4, 3, 16, 16), torch.zeros(4, dtype=torch.int64))
    return seen


def test_dropout_is_drawn_for_each_row_and_alike_in_all_processes(tmp_path):
    (features, logits), (same_features, same_logits) = in_group(masks, 2, tmp_path / "group")
    assert torch.equal(features, same_features)
    assert torch.equal(logits, same_logits)
    assert not torch.equal(features[:4], features[4:])


def test_timm_norms_keep_what_follows_them_and_unknown_ones_are_refused():
    class BatchNormAct2d(nn.BatchNorm2d):
        drop, act = nn.Identity(), nn.ReLU()

    class Own(nn.BatchNorm2d):
        pass

    method = make("plain")
    method.backbone.bn1 = BatchNormAct2d(8)
    share_norms(method.backbone, Shares(ROWS, 0, 2))
    assert list(method.state_dict()) == list(make("plain").state_dict())
    for norm in (Own(8), nn.BatchNorm2d(8, affine=False), nn.BatchNorm2d(8, track_running_stats=False)):
        method.backbone.bn1 = norm
        with pytest.raises(UsageProblem, match="several processes cannot share the backbone's bn1, a batch norm"):
            share_norms(method.backbone, Shares(ROWS, 0, 2))
