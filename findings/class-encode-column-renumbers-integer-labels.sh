#!/usr/bin/env bash
# Expected: class_encode_column("label") on labels that are class numbers already, 0 ... 11, names the classes and keeps the
# numbers.
# Happens: the numbers are turned into text and sorted as text: 0, 1, 10, 11, 2, ... So from the third class on every label
# changes: 2 becomes 4 and 10 becomes 2. Below eleven classes all is well as long as each of them has an image: of the
# labels 0, 2, 3 the last becomes 2. Two splits of a long-tailed set that lack different classes are numbered
# differently, and a network trained elsewhere on the same numbers is mostly wrong on them. The names tell, but nothing
# warns. Use cast_column with ClassLabel(num_classes=K).
# Seen with datasets 5.2.0, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet datasets==5.2.0
export OMP_NUM_THREADS=1
export HF_HOME="$T/hf" HF_HUB_OFFLINE=1
venv/bin/python -W ignore - <<'PY'
import datasets
from datasets import ClassLabel, Dataset

datasets.disable_progress_bars()


def encoded(labels):
    column = Dataset.from_dict({"label": labels}).class_encode_column("label")
    print(f"{labels} -> {column['label'][:]}, names {column.features['label'].names}")
    return column["label"][:]


twelve = encoded(list(range(12)))
train, test = encoded([0, 1, 2, 3]), encoded([0, 2, 3])
cast = Dataset.from_dict({"label": [0, 2, 11]}).cast_column("label", ClassLabel(num_classes=12))["label"][:]
print("0, 2, 11 cast to ClassLabel(num_classes=12):", cast)
assert twelve == [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3], "integer labels are numbered otherwise now"
assert train == [0, 1, 2, 3] and test == [0, 1, 2], "labels with a gap are numbered otherwise now"
assert cast == [0, 2, 11], "cast_column changes numbers now"
PY

# Output seen:
# [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] -> [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3], names ['0', '1', '10', '11', '2', '3', '4', '5', '6', '7', '8', '9']
# [0, 1, 2, 3] -> [0, 1, 2, 3], names ['0', '1', '2', '3']
# [0, 2, 3] -> [0, 1, 2], names ['0', '2', '3']
# 0, 2, 11 cast to ClassLabel(num_classes=12): [0, 2, 11]
