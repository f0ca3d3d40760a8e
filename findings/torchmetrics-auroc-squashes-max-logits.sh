#!/usr/bin/env bash
# Expected: AUROC depends on the order of the scores alone, so torchmetrics gives the same for a max logit or an energy as
# scikit-learn does.
# Happens: where any score lies outside of 0 ... 1, torchmetrics takes them for logits and puts them through a sigmoid. In
# float32 that is exactly 1 above about 17, so confident scores become ties and the AUROC sinks: 0.83 to 0.65 here. The
# question is asked anew for every batch that update() gets, so a batch that happens to lie within 0 ... 1 is left as it is
# and its scores are ranked against squashed ones: the result depends on how the test set was cut into batches, 0.97 or
# 0.07 here. Softmax confidences are safe. Hand over ranks scaled to 0 ... 1 (float64 alone helps up to about 37).
# Seen with torchmetrics 1.9.0, torch 2.14.1, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.14.1 torchmetrics==1.9.0 scikit-learn==1.9.1 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torchmetrics.classification import BinaryAUROC

rng = np.random.default_rng(0)
known = torch.ones(1000, dtype=torch.long)
known[500:] = 0


def compared(name, scores, batches=1):
    metric = BinaryAUROC()
    for part, labels in zip(scores.chunk(batches), known.chunk(batches)):
        metric.update(part, labels)
    found, right = float(metric.compute()), roc_auc_score(known, scores)
    print(f"{name:40} scikit-learn {right:.4f}  torchmetrics {found:.4f}")
    return right - found


logits = torch.from_numpy(np.concatenate([rng.normal(22, 3, 500), rng.normal(18, 3, 500)]))
assert abs(compared("max logit, float64", logits)) < 1e-4, "float64 is ranked otherwise now"
assert compared("max logit, float32", logits.float()) > 0.1, "large float32 scores keep their order now"
# detector scores near 0: those of known images lie in 0 ... 1, some of unknown ones below 0
scores = torch.from_numpy(np.concatenate([rng.uniform(0.2, 0.45, 500), rng.uniform(-0.5, 0.3, 500)])).float()
assert abs(compared("detector scores, one batch", scores)) < 1e-4, "one batch is ranked otherwise now"
assert compared("detector scores, batches by split", scores, 2) > 0.5, "cutting into batches no longer matters"
PY

# Output seen:
# max logit, float64                       scikit-learn 0.8444  torchmetrics 0.8444
# max logit, float32                       scikit-learn 0.8444  torchmetrics 0.6517
# detector scores, one batch               scikit-learn 0.9719  torchmetrics 0.9719
# detector scores, batches by split        scikit-learn 0.9719  torchmetrics 0.0651
