"""Mixup and CutMix: as torchvision mixes with the same λ, and drawn from a key alone."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import v2

from oltr_cli.data.feed.mixing import Mixing, cut_box, draw_mixing
from oltr_cli.recipe.train import TrainSpec

SIDE, ROWS = 12, 6


def batch():
    images = torch.randn(ROWS, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return images.to(memory_format=torch.channels_last), torch.tensor([0, 1, 2, 3, 0, 1])


def soft(mixing, labels):
    """Both labels as probabilities (B, 4)."""
    own, other = (F.one_hot(y, 4).float() for y in (labels, mixing.labels(labels)))
    return mixing.share * own + (1 - mixing.share) * other


def neighbours():
    """The pairs of torchvision."""
    return torch.arange(ROWS).roll(1)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mixup_mixes_as_torchvision_does(share, monkeypatch):
    images, labels = batch()
    theirs = v2.MixUp(num_classes=4)
    monkeypatch.setattr(theirs, "make_params", lambda _: {"lam": share})
    wanted, wanted_labels = theirs(images, labels)
    mixing = Mixing(share, neighbours(), None)
    before = images.clone()
    mixed = mixing.images(images)
    torch.testing.assert_close(mixed, wanted)
    torch.testing.assert_close(soft(mixing, labels), wanted_labels)
    assert torch.equal(images, before)
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.55, 0.999, 1.0])
@pytest.mark.parametrize("place", [(0, 0), (5, 7), (11, 3), (11, 11)])
def test_cutmix_cuts_and_weighs_as_torchvision_does(share, place, monkeypatch):
    images, labels = batch()
    theirs = v2.CutMix(num_classes=4)
    monkeypatch.setattr(theirs._dist, "sample", lambda _: torch.tensor([share], dtype=torch.float64))
    places = iter([place[1], place[0]])  # the column first
    monkeypatch.setattr(torch, "randint", lambda _, size: torch.tensor([next(places)]))
    wanted, wanted_labels = theirs(images, labels)
    box = cut_box(share, *place, SIDE)
    area = (box[2] - box[0]) * (box[3] - box[1])
    mixing = Mixing(1 - area / SIDE**2, neighbours(), box)
    mixed = mixing.images(images)
    assert torch.equal(mixed, wanted)
    torch.testing.assert_close(soft(mixing, labels), wanted_labels)
    assert mixed.is_contiguous(memory_format=torch.channels_last)


def draws(number=400, rows=ROWS, **keys):
    train = TrainSpec(**keys)
    return [draw_mixing(train, (3, "mixing", 1, step), rows, SIDE) for step in range(number)]


def test_without_a_key_nothing_is_mixed():
    assert draws(3) == draws(3, mixup=0, cutmix=0) == [None] * 3


def test_both_keys_share_the_batches_by_a_coin():
    assert all(m.box is None for m in draws(mixup=0.2))
    assert all(m.box is not None for m in draws(cutmix=1.0))
    cut = sum(m.box is not None for m in draws(mixup=0.2, cutmix=1.0))
    assert 160 < cut < 240  # four standard deviations around a half of 400


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha):
    shares = np.array([m.share for m in draws(4000, mixup=alpha)])
    variance = 1 / (4 * (2 * alpha + 1))
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(variance, rel=0.1)


def test_a_cut_images_share_is_the_area_that_is_left():
    for mixing in draws(cutmix=1.0):
        top, left, bottom, right = mixing.box
        images = torch.stack([torch.full((1, SIDE, SIDE), float(row)) for row in range(ROWS)])
        own = (mixing.images(images) == images).flatten(1).float().mean(dim=1)
        moved = mixing.partner != torch.arange(ROWS)
        torch.testing.assert_close(own[moved], torch.full((int(moved.sum()),), mixing.share))
        assert 0 <= top <= bottom <= SIDE
        assert 0 <= left <= right <= SIDE


def test_pairs_are_a_permutation_and_everything_follows_from_the_key():
    first, again = draws(20, mixup=0.4, cutmix=1.0), draws(20, mixup=0.4, cutmix=1.0)
    for one, other in zip(first, again, strict=True):
        assert sorted(one.partner.tolist()) == [*range(ROWS)]
        assert (one.share, one.box, one.partner.tolist()) == (other.share, other.box, other.partner.tolist())
    assert len({one.share for one in first}) > 10
    assert len({tuple(one.partner.tolist()) for one in first}) > 10
    # Another process with another share of the batch has the same λ and box.
    shorter = draws(20, rows=ROWS - 1, mixup=0.4, cutmix=1.0)
    assert [(m.share, m.box) for m in shorter] == [(m.share, m.box) for m in first]
