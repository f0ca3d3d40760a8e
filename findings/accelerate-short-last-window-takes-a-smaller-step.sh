#!/usr/bin/env bash
# Expected: with gradient accumulation, a step's gradient is the mean over the batches of its window, also in the last,
# shorter window of an epoch, which accelerate ends early by itself (sync_with_dataloader).
# Happens: backward() divides every loss by gradient_accumulation_steps, however many batches the window has. With 6
# batches and windows of 4, the last step of each epoch is half as large as it should be; with 5 batches a quarter. The
# images of that window weigh less in every epoch, and nothing is said about it.
# Seen with accelerate 1.15.0, torch 2.14.1, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet accelerate==1.15.0 torch==2.14.1 numpy
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
weight = torch.nn.Linear(1, 1, bias=False)
data = DataLoader(TensorDataset(torch.ones(6, 1)), batch_size=1)
model, optimizer, data = accelerator.prepare(weight, torch.optim.SGD(weight.parameters(), lr=1.0), data)
steps, window = [], 0
for (x,) in data:
    with accelerator.accumulate(model):
        window += 1
        accelerator.backward(model(x).sum())  # the gradient of each batch is 1
        if accelerator.sync_gradients:
            steps.append((window, weight.weight.grad.item()))
            window = 0
        optimizer.step()
        optimizer.zero_grad()
for batches, gradient in steps:
    print(f"a window of {batches} batches, each with gradient 1: the step takes {gradient}")
assert steps == [(4, 1.0), (2, 0.5)], "the last window is treated otherwise"
PY

# Output seen:
# a window of 4 batches, each with gradient 1: the step takes 1.0
# a window of 2 batches, each with gradient 1: the step takes 0.5
