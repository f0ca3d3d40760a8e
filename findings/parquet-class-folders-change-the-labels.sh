#!/usr/bin/env bash
# Expected: a table of images written with to_parquet(partition_cols=["label"]), a folder for each class, gives the labels
# back that went in.
# Happens: folder names are read by guessing: text labels made of digits come back as integers, "007" as 7, and so don't
# match class names, taxon ids or list files any more; one label that is no number keeps all of them text. Two sorts of
# table can be written but not read back at all: the classes "012" and "12" side by side, and digits next to images that
# have no label yet (None). Both raise errors that don't name the column. Name the type when reading:
# pyarrow.dataset.partitioning(schema, flavor="hive").
# Seen with pandas 2.3.3, pyarrow 26.0.1, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet pandas==2.3.3 pyarrow==26.0.1 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import pandas
import pyarrow as pa
import pyarrow.dataset


def round_trip(folder, labels):
    files = [f"{i}.jpg" for i in range(len(labels))]
    pandas.DataFrame({"file": files, "label": labels}).to_parquet(folder, partition_cols=["label"])
    try:
        back = pandas.read_parquet(folder).sort_values("file")["label"].tolist()
    except ValueError as error:
        back = f"{type(error).__name__}: {error}"
    print(f"{str(labels):26} -> {back}")
    return back


assert round_trip("ids", ["012", "007", "3"]) == [12, 7, 3], "digits stay text now"
assert round_trip("mixed", ["012", "007", "wolf"]) == ["012", "007", "wolf"], "mixed labels are read otherwise"
assert "must be unique" in round_trip("pair", ["012", "12", "3"]), "012 next to 12 can be read now"
assert "with nulls" in round_trip("open", ["7", None, "3"]), "a missing label next to digits can be read now"
text = pyarrow.dataset.partitioning(pa.schema([("label", pa.string())]), flavor="hive")
for folder in ("ids", "pair", "open"):
    told = pyarrow.dataset.dataset(folder, partitioning=text).to_table().sort_by("file")["label"].to_pylist()
    print(f"{folder} with the type named: {told}")
    assert None in told or "012" in told, "naming the type no longer helps"
PY

# Output seen:
# ['012', '007', '3']        -> [12, 7, 3]
# ['012', '007', 'wolf']     -> ['012', '007', 'wolf']
# ['012', '12', '3']         -> ValueError: Categorical categories must be unique
# ['7', None, '3']           -> ArrowInvalid: Cannot yet unify dictionaries with nulls
# ids with the type named: ['012', '007', '3']
# pair with the type named: ['012', '12', '3']
# open with the type named: ['7', None, '3']
