#!/usr/bin/env bash
# Expected: torch's cross entropy with class weights is the same number for labels 0, 2, 1 and for the same labels as one-hot
# rows, as it is without weights.
# Happens: for class numbers the mean is over the weights of the batch, for rows of probabilities over the images. So with
# rows the scale of a batch depends on its classes: here a batch of the head alone has a tenth of the loss, one with a
# rare image more. Whoever turns on mixup or cutmix (torchvision's v2.MixUp gives such rows) changes the step of every
# batch, and with it the learning rate that was tuned. With numbers, weights have no effect at all in batches of one image
# or one class, not even with accumulated gradients.
# Multiply per-image losses by weights of your own (reduction="none") and divide by one constant.
# Seen with torch 2.14.1, torchvision 0.29.1, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.14.1 torchvision==0.29.1 numpy
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import torch
from torch.nn.functional import one_hot
from torchvision.transforms import v2

torch.manual_seed(0)
weights = torch.tensor([0.1, 1.0, 10.0])  # 1 / frequency of a head, a middle and a tail class
loss, plain = torch.nn.CrossEntropyLoss(weights), torch.nn.CrossEntropyLoss()
logits = torch.randn(8, 3)
batches = {"head alone": [0] * 8, "one of tail": [0] * 7 + [2], "one image of head": [0], "one image of tail": [2]}
seen = {}
for name, classes in batches.items():
    labels, some = torch.tensor(classes), logits[: len(classes)]
    rows = one_hot(labels, 3).float()
    seen[name] = [round(float(f(some, y)), 3) for f, y in ((loss, labels), (loss, rows), (plain, labels), (plain, rows))]
    print("{:18} weighted: numbers {:.3f}, one-hot {:.3f}; without weights: {:.3f}, {:.3f}".format(name, *seen[name]))
_, mixed = v2.MixUp(alpha=0.2, num_classes=3)(torch.rand(8, 3, 4, 4), torch.tensor(batches["one of tail"]))
print("labels after v2.MixUp:", mixed.dtype, tuple(mixed.shape))
assert all(row[2] == row[3] for row in seen.values()), "without weights, one-hot labels differ too"
assert abs(seen["head alone"][1] / seen["head alone"][0] - 0.1) < 0.01, "a batch of the head weighs otherwise now"
assert seen["one of tail"][1] / seen["one of tail"][0] > 1.2, "a batch with a rare image weighs otherwise now"
for name in ("one image of head", "one image of tail"):
    assert seen[name][0] == seen[name][2], "the weight of a single image counts now"
assert mixed.shape == (8, 3) and mixed.is_floating_point(), "v2.MixUp gives other labels now"
PY

# Output seen:
# head alone         weighted: numbers 1.379, one-hot 0.138; without weights: 1.379, 1.379
# one of tail        weighted: numbers 2.426, one-hot 3.245; without weights: 1.617, 1.617
# one image of head  weighted: numbers 1.476, one-hot 0.148; without weights: 1.476, 1.476
# one image of tail  weighted: numbers 0.600, one-hot 6.003; without weights: 0.600, 0.600
# labels after v2.MixUp: torch.float32 (8, 3)
