#!/usr/bin/env bash
# Expected: an approximate index (HNSW) misses a neighbour now and then; asked for the nearest neighbour of an image that is in
# it, it gives that image, at distance 0.
# Happens: many copies of one feature vector (empty frames, a placeholder for missing pictures, a burst) hide the rest. With
# 300 copies of one vector added first, hnswlib with its default of 16 links finds none of 100 other images and answers
# each with a copy, at a distance above 0; faiss, also with its default links, misses a quarter. Nothing warns. So a k-NN
# detector takes known images for new ones, and a search for duplicates says there are none. A larger ef helps in part.
# Remove exact copies before the index is built, or search exactly (faiss IndexFlat).
# Seen with hnswlib 0.8.0 (built from source, wants a C++ compiler), faiss-cpu 1.15.1, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet hnswlib==0.8.0 faiss-cpu==1.15.1 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import faiss
import hnswlib
import numpy as np


def found(library, features, asked):
    """Share of the images ``asked`` that come back as their own nearest neighbour."""
    if library == "hnswlib":
        index = hnswlib.Index("l2", features.shape[1])
        index.init_index(len(features), M=16, ef_construction=200, random_seed=1)
        index.set_num_threads(1)
        index.set_ef(50)
        index.add_items(features)
        nearest, _ = index.knn_query(features[asked], 1)
    else:
        index = faiss.IndexHNSWFlat(features.shape[1], 32)
        index.hnsw.efConstruction, index.hnsw.efSearch = 200, 50
        if library == "faiss, exact":
            index = faiss.IndexFlatL2(features.shape[1])
        index.add(features)
        _, nearest = index.search(features[asked], 1)
    return float((nearest[:, 0] == asked).mean())


rng = np.random.default_rng(0)
others = rng.normal(size=(100, 8)).astype("float32")
libraries = ("hnswlib", "faiss", "faiss, exact")
seen = {}
for copies in (0, 10, 300):
    one = np.repeat(rng.normal(size=(1, 8)).astype("float32"), copies, axis=0)
    features, asked = np.concatenate([one, others]), np.arange(copies, copies + 100)
    seen[copies] = {name: found(name, features, asked) for name in libraries}
    print(f"{copies:3} copies and 100 other images; of these find themselves:",
          ", ".join(f"{name} {share:.0%}" for name, share in seen[copies].items()))
assert min(seen[0].values()) > 0.95 and min(seen[10].values()) > 0.95, "a few copies do harm now"
assert seen[300]["hnswlib"] < 0.2, "hnswlib finds images behind many copies now"
assert seen[300]["faiss"] < 0.9, "faiss finds images behind many copies now"
assert seen[300]["faiss, exact"] == 1, "the exact search misses images"
PY

# Output seen:
#   0 copies and 100 other images; of these find themselves: hnswlib 100%, faiss 100%, faiss, exact 100%
#  10 copies and 100 other images; of these find themselves: hnswlib 100%, faiss 100%, faiss, exact 100%
# 300 copies and 100 other images; of these find themselves: hnswlib 0%, faiss 75%, faiss, exact 100%
