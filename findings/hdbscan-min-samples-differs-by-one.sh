#!/usr/bin/env bash
# Expected: scikit-learn's HDBSCAN took over the algorithm and parameter names of the package hdbscan, so min_samples=3 means
# the same in both.
# Happens: scikit-learn counts a point as its own first neighbour, the package doesn't: min_samples=n of the package is
# n + 1 of scikit-learn, up to ties. With the same number scikit-learn smooths less: other clusters and other noise. And
# rows with NaN or infinity are noise (-1) for the package, but have labels of their own (-3, -2) in scikit-learn, so
# "label == -1" doesn't count them and "label < 0" must be asked. Who groups rejected images into candidates for new
# classes finds other ones.
# Seen with hdbscan 0.8.44, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet hdbscan==0.8.44 scikit-learn==1.9.1 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import hdbscan
import numpy as np
import sklearn.cluster
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

centres = [[0, 0], [6, 0], [0, 6], [6, 6]]
x, _ = make_blobs(n_samples=[200, 60, 15, 6], centers=centres, cluster_std=1.0, random_state=1)


def package(n):
    return hdbscan.HDBSCAN(min_cluster_size=5, min_samples=n).fit_predict(x)


def scikit(n):
    return sklearn.cluster.HDBSCAN(min_cluster_size=5, min_samples=n, copy=True).fit_predict(x)


def told(labels):
    return f"{labels.max() + 1} clusters, {np.sum(labels == -1)} noise"


for n in (3, 10):
    a, b, c = package(n), scikit(n), scikit(n + 1)
    print(f"hdbscan {n}: {told(a)}; scikit-learn {n}: {told(b)}; scikit-learn {n + 1}: {told(c)}")
    same, next_one = adjusted_rand_score(a, b), adjusted_rand_score(a, c)
    print(f"  agreement (adjusted Rand index) with the same number {same:.4f}, with one more {next_one:.4f}")
    assert same < next_one and next_one > 0.999, "min_samples counts the same in both now"
    assert told(a) != told(b), "the same min_samples finds the same clusters and noise now"
odd = x.copy()
odd[0], odd[1] = np.nan, np.inf
labels = [m(min_cluster_size=5).fit(odd).labels_[:2].tolist() for m in (hdbscan.HDBSCAN, sklearn.cluster.HDBSCAN)]
print("labels of a row of NaN and one of infinity: hdbscan", labels[0], "scikit-learn", labels[1])
assert labels == [[-1, -1], [-3, -2]], "rows that are not finite have other labels now"
PY

# Output seen:
# hdbscan 3: 4 clusters, 2 noise; scikit-learn 3: 4 clusters, 0 noise; scikit-learn 4: 4 clusters, 3 noise
#   agreement (adjusted Rand index) with the same number 0.9895, with one more 0.9992
# hdbscan 10: 3 clusters, 15 noise; scikit-learn 10: 3 clusters, 13 noise; scikit-learn 11: 3 clusters, 15 noise
#   agreement (adjusted Rand index) with the same number 0.9929, with one more 1.0000
# labels of a row of NaN and one of infinity: hdbscan [-1, -1] scikit-learn [-3, -2]
