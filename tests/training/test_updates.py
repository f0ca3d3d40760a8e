"""Steps of the optimizer from several batches: the mean over all their images, also where an epoch ends early."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from oltr_cli.recipe.train import TrainSpec
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


_TWO_PROCESSES = """
import sys, torch, torch.distributed as dist
from types import SimpleNamespace
from accelerate import Accelerator
from torch.nn.parallel import DistributedDataParallel
from oltr_cli.recipe.train import TrainSpec
from oltr_cli.training.updates import Updates
from tests.training.test_updates import RATE, data

accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
torch.manual_seed(0)
network = torch.nn.Linear(3, 1)
model, exchanged = accelerator.prepare_model(network), []
assert isinstance(model, DistributedDataParallel)

def count(state, bucket):
    exchanged.append(1)
    total = dist.all_reduce(bucket.buffer() / 2, async_op=True).get_future()
    return total.then(lambda future: future.value()[0])

model.register_comm_hook(None, count)
optimizer = torch.optim.SGD(network.parameters(), RATE)
updates = Updates(TrainSpec(accumulate=2), optimizer, SimpleNamespace(step=lambda: None), accelerator, 5)
share = slice(2 * accelerator.process_index, 2 * accelerator.process_index + 2)
for number, (x, y) in enumerate(zip(*data(5), strict=True)):
    with updates.apart(model, number):
        updates.backward((model(x[share]) - y[share]).square().mean(), number)
    updates.step(number, network, None)
if accelerator.is_main_process:
    torch.save({"weight": network.weight.detach(), "exchanged": len(exchanged)}, sys.argv[1])
# Otherwise the first one that ends may abort the other.
accelerator.wait_for_everyone()
accelerator.end_training()
"""


def test_two_processes_exchange_gradients_once_a_step_and_get_the_weights_of_one(tmp_path):
    script, result = tmp_path / "two.py", tmp_path / "two.pt"
    script.write_text(_TWO_PROCESSES)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), str(result)]
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *launch], env=env, cwd=root, timeout=240, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = torch.load(result, weights_only=True)
    assert found["exchanged"] == 3, "five batches make three steps"
    history, _ = epoch(2, 5)
    torch.testing.assert_close(found["weight"], history[-1])


def test_a_step_of_one_batch_is_todays():
    assert TrainSpec(accumulate=1) == TrainSpec()
    found, steps = epoch(None, 3)
    again, _ = epoch(1, 3)
    assert steps == 3
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


class _TwoBiases(nn.Module):
    """Their gradients are one tensor, which torch gives both of them for a batch of one."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return (x + self.a.view(1, 3)) + (x + self.b.view(1, 3))


@pytest.mark.parametrize("changed", [{"accumulate": 2}, {"clip_norm": 0.5}], ids=str)
def test_gradients_of_two_parameters_are_apart(changed):
    network, x = _TwoBiases(), torch.tensor([[1.0, 2.0, 3.0]])
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    updates = Updates(TrainSpec(**changed), optimizer, SimpleNamespace(step=lambda: None), Accelerator(cpu=True), 2)
    for number in range(updates.size):
        updates.backward((network(torch.zeros(1, 3)) * x).sum(), number)
        updates.step(number, network, None)
    wanted = x[0] if "accumulate" in changed else x[0] * 0.5 / (2 * x.square().sum()).sqrt()
    for p in network.parameters():
        torch.testing.assert_close(p.detach(), -RATE * wanted)


def test_gradients_that_come_with_a_later_batch_are_apart():
    network, wanted = _TwoBiases(), torch.tensor([1.0, 2.0, 3.0])
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    train = TrainSpec(accumulate=3)
    updates = Updates(train, optimizer, SimpleNamespace(step=lambda: None), Accelerator(cpu=True), 3)
    other = torch.zeros((), requires_grad=True)
    for number, loss in enumerate([lambda: 0 * other, *[lambda: (network(torch.zeros(1, 3)) * wanted).sum()] * 2]):
        updates.backward(loss(), number)
        updates.step(number, network, None)
    for p in network.parameters():
        torch.testing.assert_close(p.detach(), -RATE * wanted * 2 / 3)
