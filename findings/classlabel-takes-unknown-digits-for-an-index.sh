#!/usr/bin/env bash
# Expected: ClassLabel.str2int() and a cast to ClassLabel refuse a string that is no class name.
# Happens: a string that is no name but looks like a number is taken as a class index. With classes named by numbers from 1
# (folders 1 ... K, taxon or identity numbers) the string "0" becomes class 0, which is the class named "1", and "-1"
# passes as "no label"; " 2" is the class named "2", whose index is 1. So lists with another numbering, or with
# an extra background class 0, go in without an error and their images land in a wrong class.
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
names = ClassLabel(names=["1", "2", "3"])
seen = {}
for text in ("1", "3", " 2", "0", "-1", "4", "fox"):
    try:
        seen[text] = names.str2int(text)
        meant = names.int2str(seen[text]) if seen[text] >= 0 else None
        print(f"{text!r:6} -> index {seen[text]}, which is the class named {meant!r}")
    except ValueError as error:
        print(f"{text!r:6} -> ValueError: {error}")
column = Dataset.from_dict({"label": ["1", "0", "3"]}).cast_column("label", names)["label"][:]
print("a column 1, 0, 3 cast to these classes:", column)
assert seen == {"1": 0, "3": 2, " 2": 1, "0": 0, "-1": -1}, "strings that are no class names are treated otherwise"
assert column == [0, 0, 2], "the cast treats '0' otherwise"
PY

# Output seen:
# '1'    -> index 0, which is the class named '1'
# '3'    -> index 2, which is the class named '3'
# ' 2'   -> index 1, which is the class named '2'
# '0'    -> index 0, which is the class named '1'
# '-1'   -> index -1, which is the class named None
# '4'    -> ValueError: Invalid string class label 4
# 'fox'  -> ValueError: Invalid string class label fox
# a column 1, 0, 3 cast to these classes: [0, 0, 2]
