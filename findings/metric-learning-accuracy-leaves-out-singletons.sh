#!/usr/bin/env bash
# Expected: precision at 1 of pytorch-metric-learning's AccuracyCalculator is the share of all queries whose nearest neighbour
# has their label; per class, it has a number for each class.
# Happens: (1) queries whose class has no other image are left out, not counted as wrong, and nothing says so: with a tail of
# classes of one image, 1.0 stands for a recogniser that finds none of half the images, and per class there are
# numbers of the head classes alone, so the positions in the list are no class numbers. (2) Labels become float32, so
# identity or observation numbers above 16,777,216 that differ by one are one class, and a wrong neighbour counts as right.
# Count the queries with a partner yourself, and renumber labels to 0 ... K-1.
# Seen with pytorch-metric-learning 2.9.0, torch 2.14.1, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.14.1 pytorch-metric-learning==2.9.0 scikit-learn==1.9.1 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

neighbours = CustomKNN(LpDistance(normalize_embeddings=False))


def precision_at_1(embeddings, labels, per_class=False):
    judge = AccuracyCalculator(include=("precision_at_1",), k=1, return_per_class=per_class, knn_func=neighbours)
    return judge.get_accuracy(embeddings, labels)["precision_at_1"]


torch.manual_seed(0)
head = torch.cat([torch.randn(10, 8) * 0.1 + 1, torch.randn(10, 8) * 0.1 - 1])    # classes 20 and 21, ten images each
embeddings = torch.cat([torch.randn(20, 8) * 3, head])                            # classes 0 ... 19, one image each
labels = torch.cat([torch.arange(20), torch.full((10,), 20), torch.full((10,), 21)])
distance = torch.cdist(embeddings, embeddings).fill_diagonal_(float("inf"))
plain = float((labels[distance.argmin(1)] == labels).float().mean())
found = precision_at_1(embeddings, labels)
by_class = precision_at_1(embeddings, labels, per_class=True)
print(f"40 images of 22 classes: nearest neighbours that are right {plain}, precision_at_1 {found}")
print(f"per class: {len(by_class)} numbers for {len(labels.unique())} classes: {by_class}")
assert (plain, found, by_class) == (0.5, 1.0, [1.0, 1.0]), "images without a partner are counted otherwise now"

pairs = torch.tensor([[0.0], [1.0], [9.0], [10.0]])    # each one's neighbour is of the other label
small = precision_at_1(pairs, torch.tensor([0, 1, 0, 1]))
large = precision_at_1(pairs, torch.tensor([0, 1, 0, 1]) + 2**24)
print(f"labels 0 and 1: precision_at_1 {small}; labels {2**24} and {2**24 + 1}: {large}")
assert (small, large) == (0.0, 1.0), "large labels are told apart now"
PY

# Output seen:
# 40 images of 22 classes: nearest neighbours that are right 0.5, precision_at_1 1.0
# per class: 2 numbers for 22 classes: [1.0, 1.0]
# labels 0 and 1: precision_at_1 0.0; labels 16777216 and 16777217: 1.0
