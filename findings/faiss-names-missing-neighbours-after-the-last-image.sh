#!/usr/bin/env bash
# Expected: an index of 798 images asked for 10 neighbours gives 10; labels[neighbours] are their classes, and the mean
# distance is small for a known image.
# Happens: an IVF index looks into the nearest cell alone (nprobe = 1), and a cell around a rare class may have fewer than
# 10 images. faiss fills up with the number -1, at distance 3.4e38; in numpy labels[-1] is the class of the last image.
# Lists are mostly sorted by class, so a vote gives rare images the last class: of class 8 none is right here, all are
# called 9. Their mean distance is beyond any threshold, so a k-NN detector rejects known images of the tail. An exact
# index does the same for a query with NaN: a broken image is voted into the last class. Drop neighbours < 0, and raise
# nprobe.
# Seen with faiss-cpu 1.15.1, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet faiss-cpu==1.15.1 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import faiss
import numpy as np

rng = np.random.default_rng(0)
counts = [400, 200, 100, 50, 20, 10, 8, 5, 3, 2]
centres = rng.normal(size=(10, 16)) * 5
labels, asked = np.repeat(np.arange(10), counts), np.repeat(np.arange(10), 20)
train, test = ((centres[y] + rng.normal(size=(len(y), 16))).astype("float32") for y in (labels, asked))
exact = faiss.IndexFlatL2(16)
exact.add(train)
cells = faiss.IndexIVFFlat(faiss.IndexFlatL2(16), 16, 20)
cells.train(train)
cells.add(train)
distances, neighbours = cells.search(test, 10)
filled = neighbours < 0
voted = np.array([np.bincount(row, minlength=10).argmax() for row in labels[neighbours]])
valid = np.array([np.bincount(labels[row[row >= 0]], minlength=10).argmax() for row in neighbours])
for name in (0, 7, 8, 9):
    of = asked == name
    print(f"class {name} ({counts[name]} images): {filled[of].mean():.0%} of the neighbours are -1;",
          f"right {np.mean(voted[of] == name):.0%}, called 9 {np.mean(voted[of] == 9):.0%};",
          f"without the -1 {np.mean(valid[of] == name):.0%}; largest distance {distances[of].max():.3g}")
query = test[:1].copy()
query[0, 0] = np.nan
print("an exact index, a query with NaN:", exact.search(query, 3)[1][0].tolist())
assert not filled[asked == 0].any() and filled[asked == 8].any(), "cells with few images are filled otherwise now"
assert set(neighbours[filled]) == {-1} and distances[filled].min() > 3e38, "missing neighbours are marked otherwise now"
assert np.mean(voted[asked == 8] == 9) > 0.9 and np.mean(valid[asked == 8] == 8) > 0.9, "the vote goes otherwise now"
assert exact.search(query, 3)[1][0].tolist() == [-1, -1, -1], "a query with NaN finds images now"
PY

# Output seen:
# class 0 (400 images): 0% of the neighbours are -1; right 100%, called 9 0%; without the -1 100%; largest distance 26.7
# class 7 (5 images): 50% of the neighbours are -1; right 100%, called 9 0%; without the -1 100%; largest distance 3.4e+38
# class 8 (3 images): 50% of the neighbours are -1; right 0%, called 9 100%; without the -1 100%; largest distance 3.4e+38
# class 9 (2 images): 50% of the neighbours are -1; right 100%, called 9 100%; without the -1 0%; largest distance 3.4e+38
# an exact index, a query with NaN: [-1, -1, -1]
