#!/usr/bin/env bash
# Expected: a usearch index with dtype="i8" and the Euclidean metric (l2sq) stores features coarsely, and its distances are
# those of the float index up to that rounding.
# Happens: floats are scaled to length 127, each vector by itself, before they become bytes. So the index knows directions
# alone: a feature and ten times that feature are the same, at distance 0, and the nearest neighbour of a vector may be
# one far away. Features of unknown images are often shorter than those of known ones: a k-NN detector on such an index
# doesn't see that. No error, no warning. Use f16 or f32 for Euclidean distances.
# And a search of several queries fills rows that have fewer than k neighbours with key 0, which may be an image: only
# .counts and a distance of NaN tell.
# Seen with usearch 2.26.6, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet usearch==2.26.6 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import numpy as np
from usearch.index import Index

features = np.array([[1, 0, 0, 0], [1, 0.4, 0, 0], [10, 0, 0, 0]], "float32")  # keys 1, 2, 3
queries = np.array([[1, 0, 0, 0], [9, 4, 0, 0]], "float32")
nearest = {}
for kind in ("f32", "f16", "i8"):
    index = Index(ndim=4, metric="l2sq", dtype=kind)
    index.add(np.array([1, 2, 3]), features)
    found = index.search(queries, 4)
    print(f"{kind}: neighbours of (9, 4, 0, 0): {found.keys[1].tolist()} at {found.distances[1].round(1).tolist()},",
          f"counts {found.counts.tolist()}")
    pair = index.pairwise_distance(1, 3)
    print(f"  distance between (1, 0, 0, 0) and (10, 0, 0, 0): {float(pair):.1f}")
    nearest[kind] = int(found.keys[1][0]), float(pair), found.keys[1][3]
assert nearest["f32"][:2] == (3, 81.0) and nearest["f16"][:2] == (3, 81.0), "floats are compared otherwise now"
assert nearest["i8"][:2] == (2, 0.0), "bytes keep the length now"
assert all(row[2] == 0 for row in nearest.values()), "rows with fewer neighbours are filled otherwise now"
PY

# Output seen:
# f32: neighbours of (9, 4, 0, 0): [3, 2, 1, 0] at [17.0, 77.0, 80.0, nan], counts [3, 3]
#   distance between (1, 0, 0, 0) and (10, 0, 0, 0): 81.0
# f16: neighbours of (9, 4, 0, 0): [3, 2, 1, 0] at [17.0, 77.0, 80.0, nan], counts [3, 3]
#   distance between (1, 0, 0, 0) and (10, 0, 0, 0): 81.0
# i8: neighbours of (9, 4, 0, 0): [2, 3, 1, 0] at [17.0, 2722.0, 2722.0, nan], counts [3, 3]
#   distance between (1, 0, 0, 0) and (10, 0, 0, 0): 0.0
