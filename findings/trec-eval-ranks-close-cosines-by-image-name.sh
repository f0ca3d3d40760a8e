#!/usr/bin/env bash
# Expected: mean average precision of a retrieval of individuals depends on the scores; renaming images changes nothing, and
# float64 cosines are compared as such.
# Happens: trec_eval, here as pytrec_eval, keeps scores in float32 and sorts equal ones by name, the last in the alphabet
# first. Cosines near 1 may differ by less than float32 can tell, 6e-8, and then the ranking is that of the names: with
# folders as names zebras are found with 1.0 and antelopes with 0.17, in truth 1.0 each. Scores that are all the same, as
# of a collapsed network, get the same numbers. A query that the run leaves out, such as a rejected image, isn't counted
# as missed: the mean is over the others. Hand over minus the rank as the score, and count the missing ones yourself.
# Seen with pytrec-eval-terrier 0.5.11, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet pytrec-eval-terrier==0.5.11 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import numpy as np
import pytrec_eval

kinds = ["antelope", "bison", "camel", "giraffe", "lynx", "zebra"]
gallery = [f"{kind}/1.jpg" for kind in kinds]
wanted = {kind: {f"{kind}/1.jpg": 1} for kind in kinds}
evaluator = pytrec_eval.RelevanceEvaluator(wanted, {"map"})


def precision(name, right, wrong):
    """Average precision by query, each with the score ``right`` for its own image and ``wrong`` for the others."""
    run = {kind: {image: right if kind in image else wrong for image in gallery} for kind in kinds}
    found = {kind: round(row["map"], 2) for kind, row in evaluator.evaluate(run).items()}
    print(f"{name:28}", found)
    return list(found.values())


far = precision("cosines 0.9 and 0.5", 0.9, 0.5)
near = precision("cosines 1 - 1e-9, 1 - 2e-9", 1 - 1e-9, 1 - 2e-9)
same = precision("all equal", 0.5, 0.5)
some = evaluator.evaluate({kind: {f"{kind}/1.jpg": 1.0} for kind in kinds[:2]})
print("queries counted when four of six are left out:", sorted(some), "mean", np.mean([row["map"] for row in some.values()]))
assert 1 - 1e-9 > 1 - 2e-9 and far == [1.0] * 6, "different scores are ranked otherwise now"
assert near == same == [0.17, 0.2, 0.25, 0.33, 0.5, 1.0], "close scores are ranked otherwise now"
assert sorted(some) == kinds[:2], "queries that are left out are counted now"
PY

# Output seen:
# cosines 0.9 and 0.5          {'antelope': 1.0, 'bison': 1.0, 'camel': 1.0, 'giraffe': 1.0, 'lynx': 1.0, 'zebra': 1.0}
# cosines 1 - 1e-9, 1 - 2e-9   {'antelope': 0.17, 'bison': 0.2, 'camel': 0.25, 'giraffe': 0.33, 'lynx': 0.5, 'zebra': 1.0}
# all equal                    {'antelope': 0.17, 'bison': 0.2, 'camel': 0.25, 'giraffe': 0.33, 'lynx': 0.5, 'zebra': 1.0}
# queries counted when four of six are left out: ['antelope', 'bison'] mean 1.0
