#!/usr/bin/env bash
# Expected: MixUp and CutMix mix each image with one drawn from the batch, so in a batch of 4 images of each of 32 classes 2.4 %
# of the images meet their own class.
# Happens: torchvision.transforms.v2 mixes each image with the one before it in the batch, never with a random one. Class-aware
# samplers list the images of a class one after the other: three quarters of the images are mixed with their own class, and
# their labels stay as they were. timm 1.0.31 mixes with the reversed batch: there no image meets its class in this batch,
# and class c always meets the same other class. Shuffle within batches first.
# Seen with torchvision 0.29.1, timm 1.0.31, torch 2.14.1, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import numpy as np
import torch
from timm.data import Mixup
from torchvision.transforms import v2

torch.manual_seed(0)
np.random.seed(0)
classes, each = 32, 4
labels = torch.arange(classes).repeat_interleave(each)
images = torch.rand(len(labels), 3, 32, 32)


def alone(soft):
    """The share of images whose label is still that of one class."""
    return float(((soft > 0).sum(1) == 1).double().mean())


ways = {"MixUp": v2.MixUp(num_classes=classes), "CutMix": v2.CutMix(num_classes=classes)}
shuffled = torch.randperm(len(labels))
for name, way in ways.items():
    drawn = [way(images, labels)[1] for _ in range(20)]
    after = alone(way(images[shuffled], labels[shuffled])[1])
    print(f"{name}: {np.mean([alone(soft) for soft in drawn]):.1%} meet their own class, shuffled first {after:.1%}")
    assert all(alone(soft) >= 0.75 for soft in drawn)
    assert after < 0.1
timm = [Mixup(mixup_alpha=1.0, label_smoothing=0.0, num_classes=classes)(images, labels)[1] for _ in range(20)]
partners = {int(row.nonzero().flatten()[-1]) for soft in timm for row in soft[:each]}
print(f"timm: {np.mean([alone(soft) for soft in timm]):.1%}; class 0 meets class {sorted(partners)} in 20 of 20 batches")
assert all(alone(soft) == 0 for soft in timm) and partners == {classes - 1}
PY

# Output seen:
# MixUp: 75.0% meet their own class, shuffled first 1.6%
# CutMix: 75.0% meet their own class, shuffled first 1.6%
# timm: 0.0%; class 0 meets class [31] in 20 of 20 batches
