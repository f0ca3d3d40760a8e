"""Losses that stay on the device: the same sums, and no step is kept after one that is not finite."""

import math

import pytest
import torch
from torch import nn

from oltr_cli.errors import NotFinite
from oltr_cli.training.task import Progress
from oltr_cli.training.watch import EVERY, LossWatch


def steps(fused, losses, look_at=(), kind="SGD"):
    """Weights after a step for each of ``losses``, the progress, and the watch; the loss is its number times w."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.ones(3))
    groups = [{"params": [weight], "lr": 0.1, "name": "features"}]
    optimizer = getattr(torch.optim, kind)(groups, fused=fused, **({"momentum": 0.9} if kind == "SGD" else {}))
    progress = Progress()
    watch = LossWatch(optimizer, progress, "the run", "train.lr.features (now 0.1)")
    history = []
    for step, factor in enumerate(losses):
        optimizer.zero_grad()
        terms = {"one": factor * weight.sum(), "other": weight.detach().square().sum()}
        sum(terms.values()).backward()
        history.append(weight.detach().clone())
        watch.add(terms, 2, step)
        optimizer.step()
        if step in look_at:
            watch.look(2, step + 1)
    watch.look(2, len(losses))
    return history, progress, weight


@pytest.mark.parametrize("look_at", [(), (3, 4, 30)])
def test_sums_are_those_of_single_steps(look_at):
    losses = [0.1 * math.sin(number) for number in range(2 * EVERY + 7)]
    _, read, weight = steps(None, losses)
    _, lazy, fused_weight = steps(True, losses, look_at)
    torch.testing.assert_close(weight, fused_weight)
    assert read.sums == pytest.approx(lazy.sums, rel=1e-6)


@pytest.mark.parametrize("bad", [0, 5, EVERY - 1, EVERY, EVERY + 3])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_no_step_is_taken_from_the_first_bad_one_on(bad, value, fused, kind, monkeypatch):
    losses = [0.1] * (EVERY + 5)
    losses[bad] = value
    kept = []
    optimizer = getattr(torch.optim, kind)
    step = optimizer.step

    def note(self, *arguments):
        step(self, *arguments)
        kept.append(self.param_groups[0]["params"][0].detach().clone())

    monkeypatch.setattr(optimizer, "step", note)
    message = rf"term 'one' is (nan|-?inf) at epoch 3, step {bad + 1}; .* Lower train\.lr\.features \(now 0\.1\)"
    with pytest.raises(NotFinite, match=message):
        steps(fused, losses, kind=kind)
    assert all(weight.isfinite().all() for weight in kept)
    if fused:
        assert len(kept) >= bad
        assert all(torch.equal(weight, kept[bad]) for weight in kept[bad:])
