#!/usr/bin/env bash
# Expected: each parameter has a gradient of its own. Two backward passes without zero_grad give the sum of both, as
# gradient accumulation does, and clip_grad_norm_ scales each gradient once.
# Happens: two parameters that reach one sum through views, with nothing to broadcast over (a batch of one), get the same
# memory for .grad. The first pass is right; the second adds to both what belongs to either, so two passes give three
# times the gradient of one, and clipping to the norm c gives c² / norm, since both are scaled twice. There is no warning.
# With a batch of two, or without the views, all is right. Whoever writes a norm with weight.view(1, C, 1, 1) and
# bias.view(1, C, 1, 1), in two branches that are added, trains on wrong gradients where a process has one image.
# Seen with torch 2.14.1, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.14.1 numpy
venv/bin/python -W ignore - <<'PY'
import torch


def gradients(passes, batch=1, views=True):
    a, b = torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(3))
    weights = torch.tensor([1.0, 2.0, 3.0]) / batch
    for _ in range(passes):
        x = torch.zeros(batch, 3)
        first, second = (a.view(1, 3), b.view(1, 3)) if views else (a, b)
        (((x + first) + (x + second)) * weights).sum().backward()
    return a, b


for passes, batch, views in ((1, 1, True), (2, 1, True), (2, 2, True), (2, 1, False)):
    a, b = gradients(passes, batch, views)
    print(f"passes {passes}, batch {batch}, views {views}:", a.grad.tolist(), b.grad.tolist())
    assert (a.grad.data_ptr() == b.grad.data_ptr()) == (batch == 1 and views)
    factor = 3 if (passes, batch, views) == (2, 1, True) else passes
    assert a.grad.tolist() == b.grad.tolist() == [factor * g for g in (1.0, 2.0, 3.0)]

a, b = gradients(1)
norm = torch.nn.utils.clip_grad_norm_([a, b], 1.0).item()
left = torch.cat([a.grad, b.grad]).norm().item()
print(f"norm {norm:.3f} clipped to 1: {left:.3f}")
assert abs(left - 1 / norm) < 1e-5
PY

# Output seen:
# passes 1, batch 1, views True: [1.0, 2.0, 3.0] [1.0, 2.0, 3.0]
# passes 2, batch 1, views True: [3.0, 6.0, 9.0] [3.0, 6.0, 9.0]
# passes 2, batch 2, views True: [2.0, 4.0, 6.0] [2.0, 4.0, 6.0]
# passes 2, batch 1, views False: [2.0, 4.0, 6.0] [2.0, 4.0, 6.0]
# norm 5.292 clipped to 1: 0.189
