#!/usr/bin/env bash
# Expected: libmr's w_score, the probability OpenMax weighs classes with, doesn't depend on the unit of the distances: the same
# distances and the same query, all of them divided by 1000, have the same score.
# Happens: fit_high moves the tail so that it begins at 1, whatever the unit, and then fits a Weibull distribution. In small
# numbers that is an offset far above the spread, in large ones none at all: a query below the tail scores 0.24, 0.11 or 0.00.
# So euclid/200 (as in OpenMax's own code), plain Euclidean and cosine distances give other rejections, and normalising
# features changes OpenMax beyond what the ranking of distances says. Two classes whose distances differ in size are not
# comparable either. Two more traps: a tail without spread scores -9999, which is no probability, and fitting says nothing.
# Seen with libmr 0.1.9 (built with Cython 3.3.1, wants a C++ compiler), numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.4.6 cython==3.3.1 setuptools==84.2.1 wheel==0.48.0
venv/bin/pip install --quiet --no-build-isolation libmr==0.1.9
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import libmr
import numpy as np

distances = np.random.default_rng(0).gamma(3, 1, 200)
queries = np.array([4.0, 5.0, 6.0, 8.0])
tail = np.sort(distances)[-20:]
print(f"the 20 largest of 200 distances lie between {tail[0]:.2f} and {tail[-1]:.2f}; queries {queries}")
scores = {}
for unit in (0.001, 1.0, 1000.0):
    model = libmr.MR()
    model.fit_high(distances * unit, 20)
    scores[unit] = model.w_score_vector(queries * unit)
    print(f"distances times {unit:<6g} -> w_score {scores[unit].round(3)}")
flat = libmr.MR()
flat.fit_high(np.full(20, 3.0), 20)
print("a tail of 20 equal distances: valid", flat.is_valid, "score", flat.w_score(3.0))
assert np.ptp([s[0] for s in scores.values()]) > 0.1, "the unit no longer matters below the tail"
assert np.ptp([s[2] for s in scores.values()]) > 0.1, "the unit no longer matters inside the tail"
assert flat.w_score(3.0) == -9999, "a tail without spread has another score now"
PY

# Output seen:
# the 20 largest of 200 distances lie between 5.16 and 10.33; queries [4. 5. 6. 8.]
# distances times 0.001  -> w_score [0.148 0.242 0.382 0.765]
# distances times 1      -> w_score [0.    0.114 0.396 0.854]
# distances times 1000   -> w_score [0.    0.    0.5   0.865]
# a tail of 20 equal distances: valid False score -9999.0
