"""Steps of the optimizer from several batches: the mean over all their images, also where an epoch ends early."""

from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from oltr_cli.recipe.specs import TrainSpec
from oltr_cli.training.updates import Updates, updates_per_epoch

BATCH, RATE = 4, 0.1


def data(batches):
    x = torch.randn(batches, BATCH, 3, generator=torch.Generator().manual_seed(0))
    return x, x.sum(dim=2, keepdim=True).sin()


def epoch(accumulate, batches):
    """Weights after each batch, and how often the schedule was stepped."""
    torch.manual_seed(0)
    network, taken = nn.Linear(3, 1), []
    train = TrainSpec(accumulate=accumulate)
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    updates = Updates(train, optimizer, SimpleNamespace(step=lambda: taken.append(1)), Accelerator(cpu=True), batches)
    history = [network.weight.detach().clone()]
    for number, (x, y) in enumerate(zip(*data(batches), strict=True)):
        updates.backward((network(x) - y).square().mean(), number)
        updates.step(number, network, None)
        history.append(network.weight.detach().clone())
        assert updates.complete(number + 1) == (not torch.equal(history[-1], history[-2]))
    return history, len(taken)


@pytest.mark.parametrize(("size", "batches"), [(2, 4), (2, 5), (3, 5), (8, 5), (1, 3)])
def test_a_step_takes_the_mean_over_the_images_of_its_batches(size, batches):
    found, steps = epoch(size, batches)
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    x, y = data(batches)
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    for first in range(0, batches, size):
        optimizer.zero_grad()
        part = slice(first, first + size)  # the last one may be shorter
        (network(x[part].flatten(0, 1)) - y[part].flatten(0, 1)).square().mean().backward()
        optimizer.step()
        torch.testing.assert_close(found[min(first + size, batches)], network.weight.detach())
    assert steps == updates_per_epoch(TrainSpec(accumulate=size), batches) == -(-batches // size)


def test_a_step_of_one_batch_is_todays():
    assert TrainSpec(accumulate=1) == TrainSpec()
    found, steps = epoch(None, 3)
    again, _ = epoch(1, 3)
    assert steps == 3
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
