#!/usr/bin/env bash
# Expected: an image whose confidence is NaN (an overflow, an empty crop) is not accepted by "confidence >= 0.5", as in
# numpy, pandas, pyarrow and SQLite, and is not the best one of a list.
# Happens: for polars, DuckDB and Lance NaN is larger than every number, so the image passes any threshold, and it comes first
# when sorted from the most confident. In DuckDB it matters where the table lies: the same query leaves the image out on
# a pandas frame, because NaN becomes NULL on the way, but not on a Parquet file that polars wrote. Polars' own
# arg_max() passes over NaN, so it names another image than sort() does. Ask for is_nan first.
# Seen with polars 2.1.0, duckdb 2.0.1, pylance 14.0.2, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet polars==2.1.0 duckdb==2.0.1 pylance==14.0.2 pandas==3.1.1 pyarrow==26.0.1 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import sqlite3

import duckdb
import lance
import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.compute

names, confidence = ["sure", "unsure", "broken"], [0.9, 0.2, float("nan")]
columns = {"image": names, "confidence": confidence}
frame, table = pandas.DataFrame(columns), pyarrow.table(columns)
polars.DataFrame(columns).write_parquet("scores.parquet")
lance.write_dataset(table, "scores.lance")
sqlite = sqlite3.connect(":memory:")
sqlite.execute("create table scores (image, confidence)")
sqlite.executemany("insert into scores values (?, ?)", zip(names, confidence))
ASKED = "select image from {} where confidence >= 0.5"
in_polars = polars.read_parquet("scores.parquet")
accepted = {
    "numpy": np.array(names)[np.array(confidence) >= 0.5].tolist(),
    "pandas": frame[frame.confidence >= 0.5].image.tolist(),
    "pyarrow": table.filter(pyarrow.compute.field("confidence") >= 0.5)["image"].to_pylist(),
    "sqlite": [row[0] for row in sqlite.execute(ASKED.format("scores"))],
    "duckdb, pandas frame": [row[0] for row in duckdb.sql(ASKED.format("frame")).fetchall()],
    "duckdb, Parquet file": [row[0] for row in duckdb.sql(ASKED.format("'scores.parquet'")).fetchall()],
    "polars": in_polars.filter(polars.col("confidence") >= 0.5)["image"].to_list(),
    "lance": lance.dataset("scores.lance").to_table(filter="confidence >= 0.5")["image"].to_pylist(),
}
for library, images in accepted.items():
    print(f"{library:20} accepts {images}")
first = in_polars.sort("confidence", descending=True)["image"][0], names[in_polars["confidence"].arg_max()]
print("the most confident of polars: by sort", first[0], " by arg_max", first[1])
lax = [library for library, images in accepted.items() if "broken" in images]
assert lax == ["duckdb, Parquet file", "polars", "lance"], "others accept NaN now"
assert first == ("broken", "sure"), "sort and arg_max treat NaN otherwise now"
PY

# Output seen:
# numpy                accepts ['sure']
# pandas               accepts ['sure']
# pyarrow              accepts ['sure']
# sqlite               accepts ['sure']
# duckdb, pandas frame accepts ['sure']
# duckdb, Parquet file accepts ['sure', 'broken']
# polars               accepts ['sure', 'broken']
# lance                accepts ['sure', 'broken']
# the most confident of polars: by sort broken  by arg_max sure
