#!/usr/bin/env bash
# Expected: autorank, which compares methods over data sets, refuses a table in which a run is missing (NaN), leaves that
# data set out for all, or ranks the missing run last; a p-value that is NaN is no evidence.
# Happens: each method's mean rank is over the data sets where it has a number, and the critical distance is that of all of
# them. A method that ended on 4 of 12 data sets, and was good there, ranks first. Bartlett's and Friedman's p-values are
# NaN, and the report reads: "We reject the null hypothesis (p=nan)", "all other differences are significant". No warning.
# Methods that run out of memory on the largest data sets, or overflow on the longest tails, are the ones that gain.
# Drop or fill incomplete rows before.
# Seen with autorank 1.3.0, pandas 3.1.1, scipy 1.17.1, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet autorank==1.3.0 pandas==3.1.1 scipy==1.17.1 numpy==2.4.6
export OMP_NUM_THREADS=1 MPLCONFIGDIR="$T/matplotlib"
venv/bin/python - <<'PY'
import contextlib
import io
import math
import warnings

import autorank
import numpy as np
import pandas as pd

rng = np.random.default_rng(0)
table = pd.DataFrame(rng.normal(0.6, 0.1, (12, 1)) + rng.normal(0, 0.01, (12, 3)) + [0, 0.02, 0.04], columns=list("abc"))
table["failing"] = [*(table.max(axis=1)[:4] + 0.01), *[np.nan] * 8]  # the best of 4 data sets, no result on 8


def ranked(name, data):
    with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stdout(io.StringIO()) as report:
        warnings.simplefilter("always")
        result = autorank.autorank(data, alpha=0.05, verbose=False)
        autorank.create_report(result)
    ranks = {str(method): round(float(rank), 2) for method, rank in result.rankdf["meanrank"].items()}
    told = [line for line in report.getvalue().splitlines() if "(p=nan) of the" in line or "other differences" in line]
    print(f"{name}: mean ranks {ranks}, p = {result.pvalue:.4f}, {len(warned)} warnings")
    for line in told:
        print(f"  {line[:64]} ... {line[-72:]}")
    return ranks, result.pvalue, told


ranks, p, told = ranked("failed runs as NaN", table)
filled, *_ = ranked("failed runs as 0", table.fillna(0))
assert min(ranks, key=ranks.get) == "failing" and ranks["failing"] == 1, "a method that failed is ranked otherwise now"
assert math.isnan(p) and any(line.startswith("We reject the null hypothesis (p=nan)") for line in told), told
assert filled["failing"] > 2, "runs filled with 0 are ranked otherwise now"
PY

# Output seen:
# failed runs as NaN: mean ranks {'a': 3.17, 'b': 2.5, 'c': 1.33, 'failing': 1.0}, p = nan, 0 warnings
#   We reject the null hypothesis (p=nan) of the Friedman test that  ... lly significant difference between the median values of the populations.
#   Based on the post-hoc Nemenyi test, we assume that there are no  ...  a and b; b and c; c and failing. All other differences are significant.
# failed runs as 0: mean ranks {'a': 3.17, 'failing': 3.0, 'b': 2.5, 'c': 1.33}, p = 0.0020, 0 warnings
#   Based on the post-hoc Nemenyi test, we assume that there are no  ... oups: a, failing, and b; b and c. All other differences are significant.
