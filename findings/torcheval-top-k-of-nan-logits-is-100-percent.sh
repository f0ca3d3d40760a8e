#!/usr/bin/env bash
# Expected: top-5 accuracy of a network whose logits have overflowed to NaN is 0, undefined or an error; of one that gives
# all classes the same score it is that of guessing.
# Happens: torcheval counts the classes whose score is larger than that of the label, and takes fewer than k for a hit. No
# number is larger than NaN, and none larger than its equal, so both networks have 100 % for every k from 2 on, and 100 %
# in hit_rate and reciprocal_rank for any k. With k=1 the same function goes by argmax and gives the share of class 0. A
# run that diverges improves in top-5 as more images become NaN, and a checkpoint picked by it is the broken one.
# Check logits for NaN before.
# Seen with torcheval 0.0.7, torch 2.14.1, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.14.1 torcheval==0.0.7 numpy
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import torch
from torcheval.metrics.functional import hit_rate, multiclass_accuracy, reciprocal_rank

torch.manual_seed(0)
labels = torch.arange(10).repeat(40)
guess = torch.randn(400, 10)
half = guess.clone()
half[200:] = torch.nan
cases = {"random scores": guess, "half of them NaN": half, "all NaN": torch.full((400, 10), torch.nan),
         "all equal": torch.zeros(400, 10)}
seen = {}
for name, logits in cases.items():
    top = [multiclass_accuracy(logits, labels, k=k).item() for k in (1, 2, 5)]
    ranks = hit_rate(logits, labels, k=1).mean().item(), reciprocal_rank(logits, labels).mean().item()
    seen[name] = [round(value, 2) for value in (*top, *ranks)]
    print("{:16} top-1 {:.2f}, top-2 {:.2f}, top-5 {:.2f}; hit rate at 1 {:.2f}, reciprocal rank {:.2f}".format(
        name, *seen[name]))
assert 0.4 < seen["random scores"][2] < 0.6 and 0.7 < seen["half of them NaN"][2] < 0.8, "random or half is otherwise now"
assert seen["all NaN"] == seen["all equal"] == [0.1, 1, 1, 1, 1], "NaN or ties are counted otherwise now"
PY

# Output seen:
# random scores    top-1 0.09, top-2 0.22, top-5 0.51; hit rate at 1 0.09, reciprocal rank 0.30
# half of them NaN top-1 0.10, top-2 0.61, top-5 0.77; hit rate at 1 0.56, reciprocal rank 0.65
# all NaN          top-1 0.10, top-2 1.00, top-5 1.00; hit rate at 1 1.00, reciprocal rank 1.00
# all equal        top-1 0.10, top-2 1.00, top-5 1.00; hit rate at 1 1.00, reciprocal rank 1.00
