#!/usr/bin/env bash
# Expected: with both weight= and label_smoothing=0.1, torch's cross entropy smooths each label by 0.1 and then weighs the
# image by its class; its best prediction for an image of a known class is that class, with a probability near 0.9.
# Happens: the weights apply to the smoothed part class by class: for an image of a common class, each rare class counts
# 0.1 / K times its own weight. With weights of 1 / frequency that is more than the label itself as soon as the imbalance
# exceeds about 9 K. Then the loss is least where images of the commonest class are called the rarest: here a network of
# separable classes has 0 % of the two head classes right, and with either setting alone everything. It looks like
# weights that work (the tail is found), or like a head that needs more training. Smooth labels and weigh images
# yourself, or leave out one of both.
# Seen with torch 2.14.1, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.14.1 numpy
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import torch
from torch.nn.functional import one_hot

torch.set_num_threads(1)
counts = torch.tensor([2000, 900, 400, 180, 80, 35, 16, 10])  # 8 classes, imbalance 200
labels = torch.repeat_interleave(torch.arange(8), counts)
images = one_hot(labels).float()  # every class has one image, seen as often as counts says
weights = counts.sum() / 8 / counts.float()


def trained(name, **settings):
    layer = torch.nn.Linear(8, 8, bias=False)
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=500, line_search_fn="strong_wolfe")
    loss = torch.nn.CrossEntropyLoss(**settings)

    def closure():
        optimizer.zero_grad()
        value = loss(layer(images), labels)
        value.backward()
        return value

    optimizer.step(closure)
    probability = layer(torch.eye(8)).softmax(1)
    right = (probability.argmax(1) == torch.arange(8)).tolist()
    print(f"{name:24} head image: p(head) {probability[0, 0]:.2f}, p(rarest) {probability[0, 7]:.2f};",
          "classes right, head to tail:", " ".join("no" if not r else "yes" for r in right))
    return right


assert all(trained("label smoothing", label_smoothing=0.1)), "smoothing alone is wrong too"
assert all(trained("class weights", weight=weights)), "weights alone are wrong too"
both = trained("label smoothing, weights", weight=weights, label_smoothing=0.1)
assert both == [False, False, True, True, True, True, True, True], "with both, other classes are right now"
PY

# Output seen:
# label smoothing          head image: p(head) 0.91, p(rarest) 0.01; classes right, head to tail: yes yes yes yes yes yes yes yes
# class weights            head image: p(head) 1.00, p(rarest) 0.00; classes right, head to tail: yes yes yes yes yes yes yes yes
# label smoothing, weights head image: p(head) 0.15, p(rarest) 0.40; classes right, head to tail: no no yes yes yes yes yes yes
