#!/usr/bin/env bash
# Expected: macro recall, "balanced accuracy", is one number: the mean over classes of the share of their images found.
# Happens: where a class has no test image but is predicted (a tail class after a small split, or "unknown" in a test set
# without unknowns), each library has another. scikit-learn's balanced_accuracy_score leaves the class out; its recall_score
# and imbalanced-learn's sensitivity_score count it as 0; imbalanced-learn's geometric mean is 0 for everything; PyCM
# gives the text "None", and no mean at all. Here: 0.875, 0.583, 0.583, 0 and 'None' for the same 12 predictions.
# Name the classes that are averaged (labels=), or leave out those without images yourself.
# Seen with scikit-learn 1.9.1, imbalanced-learn 0.14.2, pycm 4.6, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet scikit-learn==1.9.1 imbalanced-learn==0.14.2 pycm==4.6 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
from imblearn.metrics import geometric_mean_score, sensitivity_score
from pycm import ConfusionMatrix
from sklearn.metrics import balanced_accuracy_score, recall_score

true = [0] * 8 + [1] * 4
predicted = [0] * 6 + [2] * 2 + [1] * 4    # class 2 has no test image, two images are taken for it
found = {
    "scikit-learn balanced_accuracy_score": balanced_accuracy_score(true, predicted),
    "scikit-learn recall_score, macro": recall_score(true, predicted, average="macro"),
    "scikit-learn recall_score, macro, labels=[0, 1]": recall_score(true, predicted, average="macro", labels=[0, 1]),
    "imbalanced-learn sensitivity_score, macro": sensitivity_score(true, predicted, average="macro"),
    "imbalanced-learn geometric_mean_score": geometric_mean_score(true, predicted),
    "PyCM TPR_Macro": ConfusionMatrix(true, predicted).TPR_Macro,
}
found = {name: value if isinstance(value, str) else round(float(value), 3) for name, value in found.items()}
for name, value in found.items():
    print(f"{name:48} {value!r}")
assert list(found.values()) == [0.875, 0.583, 0.875, 0.583, 0.0, "None"], "the libraries count such a class otherwise now"
PY

# Output seen:
# scikit-learn balanced_accuracy_score             0.875
# scikit-learn recall_score, macro                 0.583
# scikit-learn recall_score, macro, labels=[0, 1]  0.875
# imbalanced-learn sensitivity_score, macro        0.583
# imbalanced-learn geometric_mean_score            0.0
# PyCM TPR_Macro                                   'None'
