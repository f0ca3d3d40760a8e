#!/usr/bin/env bash
# Expected: the memory layout of a tensor decides how fast torch computes, and the last digit of a sum at most.
# Happens: on a CPU, nn.BatchNorm2d in training is far less exact for a channels_last batch than for a contiguous one. The
# error of the outputs against float64 grows with the number of values of a channel in the first layout and stays at
# rounding in the second: at 128 images of 32 x 32 it is over 100 times as large, at 32 images of 112 x 112 over 600 times.
# Networks are moved to channels_last because it is faster; with the same data and weights they then train to other
# numbers, and several processes that share a batch do not end in the numbers of one.
# Seen with torch 2.14.1, Python 3.11.7, on x86-64.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.14.1 numpy
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import torch

torch.set_num_threads(1)
for shape, least in (((8, 16, 8, 8), 1), ((128, 32, 32, 32), 50), ((32, 8, 112, 112), 100)):
    torch.manual_seed(0)
    images = torch.randn(shape) * 2 + 1
    exact = images.double()
    mean, variance = exact.mean((0, 2, 3), keepdim=True), exact.var((0, 2, 3), unbiased=False, keepdim=True)
    exact = (exact - mean) / (variance + 1e-5).sqrt()
    error = {}
    for name, layout in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last)):
        norm = torch.nn.BatchNorm2d(shape[1]).train()
        error[name] = (norm(images.to(memory_format=layout)).double() - exact).abs().max().item()
    print(shape, ", ".join(f"{name} {value:.0e}" for name, value in error.items()))
    assert error["contiguous"] < 2e-6, "contiguous is no longer exact to rounding"
    assert error["channels_last"] > least * error["contiguous"], "channels_last is as exact now"
PY

# Output seen:
# (8, 16, 8, 8) contiguous 3e-07, channels_last 8e-07
# (128, 32, 32, 32) contiguous 5e-07, channels_last 8e-05
# (32, 8, 112, 112) contiguous 6e-07, channels_last 4e-04
