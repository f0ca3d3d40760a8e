#!/usr/bin/env bash
# Expected: a detector's score of an image depends on where the classes lie, not on how many images showed it; its docs call
# it half the squared Mahalanobis distance, for D features of a Gaussian class D/2 on average.
# Happens: Mahalanobis of pytorch-ood (and RMD, which is made of it) sums the outer products and does not divide by their
# number: scores are N times too small. Fitted to the same images twice over, every score is half of what it was. With a
# threshold that was chosen with a tenth of the training images, 93.9 % of unknowns pass once all are used, not 0.6 %.
# Order within one fit, and AUROC, are right. Multiply scores by the number of training images.
# Seen with pytorch-ood 0.4.0, torch 2.14.1, torchvision 0.29.1, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.14.1 torchvision==0.29.1 pytorch-ood==0.4.0 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import torch
from pytorch_ood.detector import RMD, Mahalanobis

torch.manual_seed(0)
classes, dim = 4, 8
labels = torch.arange(classes).repeat_interleave(500)
centres = 3 * torch.randn(classes, dim)
features = centres[labels] + torch.randn(len(labels), dim)
new = centres[labels] + torch.randn(len(labels), dim)
unknown = 3 * torch.randn(2000, dim)

once = Mahalanobis(None).fit_features(features, labels)
twice = Mahalanobis(None).fit_features(features.repeat(2, 1), labels.repeat(2))
mean = float(once.predict_features(new).mean())
halved = twice.predict_features(new) / once.predict_features(new)
print(f"mean score {mean:.5f}, expected {dim / 2}; times {len(labels)} images: {mean * len(labels):.2f}")
print(f"fitted to each image twice: {halved.min():.3f} to {halved.max():.3f} of the score")
tenth = Mahalanobis(None).fit_features(features[::10], labels[::10])
tau = tenth.predict_features(new).quantile(0.95)
accepted = [float((one.predict_features(unknown) <= tau).double().mean()) for one in (tenth, once)]
print(f"unknowns below the τ that 95 % of known images pass: {accepted[0]:.1%} with a tenth of the training images, "
      f"{accepted[1]:.1%} with all")
relative = RMD(None).fit_features(features.repeat(2, 1), labels.repeat(2)).predict_features(new)
relative = relative / RMD(None).fit_features(features, labels).predict_features(new)
print(f"RMD, likewise: {relative.median():.3f}")
assert 3.8 < mean * len(labels) < 4.2 and mean < 0.01
assert 0.499 < halved.min() and halved.max() < 0.501 and abs(relative.median() - 0.5) < 0.001
assert accepted[0] < 0.1 and accepted[1] > 0.5
PY
# Output:
# mean score 0.00199, expected 4.0; times 2000 images: 3.97
# fitted to each image twice: 0.500 to 0.500 of the score
# unknowns below the τ that 95 % of known images pass: 0.6% with a tenth of the training images, 93.9% with all
# RMD, likewise: 0.500
