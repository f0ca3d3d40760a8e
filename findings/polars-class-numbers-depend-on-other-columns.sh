#!/usr/bin/env bash
# Expected: numbers of classes made with cast(Categorical) and to_physical() go from 0 to K-1 in each column, in the order
# in which classes appear, as those of pandas' factorize, and are the same in every program that reads the same table.
# Happens: polars keeps one list of categories for the whole process, so a class has the number under which its name came
# up first anywhere: in a column of cameras, in another table. Numbers then begin above 0, have gaps, and change with
# what ran before; when no categorical column is left in memory, they begin anew. Saved as labels, they belong to other
# classes in the next program, and a network with K outputs gets labels above K. Use Enum(sorted(classes)), whose numbers
# are the places in its list.
# Seen with polars 2.1.0, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet polars==2.1.0
venv/bin/python -W ignore - <<'PY'
import polars


def numbers(kind, names=("ant", "fox", "wolf")):
    return dict(zip(names, polars.Series(names).cast(kind).to_physical().to_list()))


alone = numbers(polars.Categorical)
print("in a new process:", alone)
cameras = polars.Series(["pond", "wolf den", "fox", "pond"]).cast(polars.Categorical)
beside = numbers(polars.Categorical)
print("beside a column of cameras, one of which is called fox:", beside)
print("  with Enum:", numbers(polars.Enum(["ant", "fox", "wolf"])))
del cameras
after, other = numbers(polars.Categorical), numbers(polars.Categorical, ("wolf", "ant"))
print("after that column is gone:", after, " a second table, of wolf and ant:", other)
assert alone == after == {"ant": 0, "fox": 1, "wolf": 2} and other == {"wolf": 0, "ant": 1}, "numbers begin otherwise now"
assert beside == {"ant": 3, "fox": 2, "wolf": 4}, "other columns no longer matter"
assert numbers(polars.Enum(["ant", "fox", "wolf"])) == alone, "numbers of an Enum are not places in its list now"
PY

# Output seen:
# in a new process: {'ant': 0, 'fox': 1, 'wolf': 2}
# beside a column of cameras, one of which is called fox: {'ant': 3, 'fox': 2, 'wolf': 4}
#   with Enum: {'ant': 0, 'fox': 1, 'wolf': 2}
# after that column is gone: {'ant': 0, 'fox': 1, 'wolf': 2}  a second table, of wolf and ant: {'wolf': 0, 'ant': 1}
