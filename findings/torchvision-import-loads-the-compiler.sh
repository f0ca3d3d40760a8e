#!/usr/bin/env bash
# Expected: torch keeps its compiler (torch._dynamo, which brings sympy) out of "import torch", for it takes long and most
# programs never compile. A library of image transforms leaves it out too.
# Happens: importing anything of torchvision, transforms alone too, imports torchvision.ops.roi_align, which imports
# torch._dynamo: over a thousand modules, and about as much processor time again as torch itself (here 1.7 s after
# 1.8 s). Every short process pays it: one that loads images for training where processes are spawned, a command that
# only crops and resizes, a job of a table. "import torch" alone leaves the compiler out.
# Seen with torchvision 0.29.1, torch 2.14.1, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.14.1 torchvision==0.29.1 numpy
venv/bin/python -W ignore - <<'PY'
import sys
import time

began = time.process_time()
import torch  # noqa: F401

of_torch, before = time.process_time() - began, set(sys.modules)
assert "torch._dynamo" not in before
assert "sympy" not in before

began = time.process_time()
import torchvision.transforms  # noqa: F401

of_torchvision, new = time.process_time() - began, set(sys.modules) - before
print("modules that torchvision.transforms adds:", len(new), "of which torch._dynamo:", "torch._dynamo" in new)
print(f"processor seconds: torch {of_torch:.1f}, torchvision.transforms {of_torchvision:.1f}")
assert {"torch._dynamo", "torch._dynamo.symbolic_convert", "sympy", "torchvision.ops.roi_align"} <= new
assert len(new) > 900
PY

# modules that torchvision.transforms adds: 1079 of which torch._dynamo: True
# processor seconds: torch 1.8, torchvision.transforms 1.7
