#!/usr/bin/env bash
# Expected: FPR95 of pytorch-ood is the usual number of the papers: the share of unknown images accepted where 95 % of the known
# ones are.
# Happens: pytorch-ood takes unknown images as the positives: its FPR95TPR is the share of known images rejected where 95 %
# of the unknown ones are. AUROC is the same either way, FPR95 is not: for a detector that is sure of a tenth of the
# unknowns it says 0.77, and the usual reading, here by torchmetrics, 0.10; for one that is unsure of a tenth of the known
# images it is the other way round. A row of one and a row of the other in a table can't be compared.
# Its scores must be larger for unknown, so hand over minus the confidence; labels below 0 are unknown.
# Seen with pytorch-ood 0.4.0, torchmetrics 1.9.0, torch 2.14.1, torchvision 0.29.1, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.14.1 torchvision==0.29.1 pytorch-ood==0.4.0 torchmetrics==1.9.0 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import numpy as np
import torch
from pytorch_ood.metrics import OODMetrics
from torchmetrics.functional.classification import binary_auroc, binary_specificity_at_sensitivity

rng = np.random.default_rng(0)
label = torch.cat([torch.zeros(1000), -torch.ones(1000)]).long()
known = rng.uniform(0.5, 1, 1000)
detectors = {
    "sure of a tenth of the unknowns": (known, np.r_[rng.uniform(0, 0.5, 900), rng.uniform(0.8, 1, 100)]),
    "unsure of a tenth of the known": (
        np.r_[rng.uniform(0.5, 1, 900), rng.uniform(0, 0.3, 100)], rng.uniform(0, 0.5, 1000)
    ),
}
rows = {}
for name, (of_known, of_unknown) in detectors.items():
    confidence = torch.from_numpy(np.concatenate([of_known, of_unknown])).float()
    theirs = OODMetrics().update(-confidence, label).compute()
    specificity, _ = binary_specificity_at_sensitivity(confidence, (label >= 0).long(), min_sensitivity=0.95)
    auroc = float(binary_auroc(confidence, (label >= 0).long()))
    rows[name] = theirs["FPR95TPR"], 1 - float(specificity), theirs["AUROC"], auroc
    print(f"{name}: AUROC {theirs['AUROC']:.3f} and {auroc:.3f}; FPR95 by pytorch-ood {rows[name][0]:.3f},",
          f"with known images as positives {rows[name][1]:.3f}")
first, second = rows.values()
assert all(abs(a - b) < 1e-4 for _, _, a, b in rows.values()), "the two AUROC differ"
assert first[0] > 0.7 and first[1] < 0.15, "pytorch-ood takes known images as positives now"
assert first[0] > second[0] and first[1] < second[1], "both readings order the detectors alike now"
PY

# Output seen:
# sure of a tenth of the unknowns: AUROC 0.923 and 0.923; FPR95 by pytorch-ood 0.769, with known images as positives 0.100
# unsure of a tenth of the known: AUROC 0.930 and 0.930; FPR95 by pytorch-ood 0.100, with known images as positives 0.722
