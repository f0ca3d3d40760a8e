#!/usr/bin/env bash
# Expected: hierarchical precision and recall of HiClass compare paths: a node is right where it and its ancestors are
# right, as HiClass' own classifiers tell apart nodes with one name below different parents.
# Happens: the metrics turn each row into a set of names, without levels or parents. With columns genus and epithet, as
# Darwin Core has them, the hare Lepus americanus predicted for the bear Ursus americanus has precision, recall and F1
# of 0.5, though nothing is right; and where a name stands twice in a path (the subspecies Vulpes vulpes vulpes) it counts
# once, so precision and recall of one and the same mistake depend on which of both is the true one.
# Write full names into each column: "Ursus americanus".
# Seen with hiclass 5.0.8, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet hiclass==5.0.8 scikit-learn==1.9.1 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import numpy as np
from hiclass import LocalClassifierPerParentNode
from hiclass.metrics import f1, precision, recall
from sklearn.tree import DecisionTreeClassifier


def scored(true, predicted):
    true, predicted = np.array([true]), np.array([predicted])
    found = [round(float(metric(true, predicted)), 2) for metric in (precision, recall, f1)]
    print(f"true {' / '.join(true[0])}, predicted {' / '.join(predicted[0])}: precision, recall, F1 {found}")
    return found


bear, hare = ["Ursus", "americanus"], ["Lepus", "americanus"]
wrong = scored(bear, hare)
full = scored(["Ursus", "Ursus americanus"], ["Lepus", "Lepus americanus"])
fox, desert_fox = ["Vulpes", "vulpes", "vulpes"], ["Vulpes", "vulpes", "pusilla"]
there, back = scored(fox, desert_fox), scored(desert_fox, fox)
model = LocalClassifierPerParentNode(DecisionTreeClassifier()).fit(np.array([[0.0], [1.0]]), np.array([bear, hare]))
print("a classifier trained on both tells them apart:", model.predict(np.array([[0.0], [1.0]])).tolist() == [bear, hare])
assert wrong == [0.5, 0.5, 0.5] and full == [0, 0, 0], "an epithet of another genus counts otherwise now"
assert there == [0.67, 1.0, 0.8] and back == [1.0, 0.67, 0.8], "a name that stands twice counts otherwise now"
assert model.predict(np.array([[0.0], [1.0]])).tolist() == [bear, hare], "the classifier mixes them up now"
PY

# Output seen:
# true Ursus / americanus, predicted Lepus / americanus: precision, recall, F1 [0.5, 0.5, 0.5]
# true Ursus / Ursus americanus, predicted Lepus / Lepus americanus: precision, recall, F1 [0.0, 0.0, 0.0]
# true Vulpes / vulpes / vulpes, predicted Vulpes / vulpes / pusilla: precision, recall, F1 [0.67, 1.0, 0.8]
# true Vulpes / vulpes / pusilla, predicted Vulpes / vulpes / vulpes: precision, recall, F1 [1.0, 0.67, 0.8]
# a classifier trained on both tells them apart: True
