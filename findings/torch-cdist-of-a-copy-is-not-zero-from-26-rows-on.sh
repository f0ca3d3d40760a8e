#!/usr/bin/env bash
# Expected: torch.cdist gives 0 for two equal feature vectors, and the distance of two images doesn't depend on how many
# others are in the call.
# Happens: with more than 25 rows on either side cdist goes by a matrix product instead of differences, and rounding of the
# squared lengths remains. Copies are then at distances like 0.02, near copies have other distances than with 25 rows,
# and features with a common offset, as after a ReLU, are hit more: here 0.2 where vectors differ by 32. A threshold for
# duplicates ("distance < 1e-3") finds them in a small trial and misses them in the full set; a k-NN score depends on the
# batch. Subtract the mean first, pass compute_mode="donot_use_mm_for_euclid_dist", or compute in float64.
# Seen with torch 2.14.1, Python 3.11.7, on a CPU.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.14.1 numpy
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import torch

torch.set_num_threads(1)
torch.manual_seed(0)
exact = {"compute_mode": "donot_use_mm_for_euclid_dist"}
seen = {}
for offset in (0, 10):
    features = torch.randn(200, 512) + offset
    near = features[:1] + 0.001 * torch.randn(1, 512)
    for rows in (25, 26, 200):
        own = torch.cdist(features[:rows], features[:rows]).diagonal().max().item()
        seen[offset, rows] = own, torch.cdist(near, features[:rows])[0, 0].item()
        print(f"features about {offset:2}, {rows:3} rows: copies at distances up to {own:.4f},",
              f"a near copy at {seen[offset, rows][1]:.4f}")
    told = torch.cdist(features, features, **exact).diagonal().max().item(), (near - features[0]).norm().item()
    print(f"  by differences: copies at {told[0]:.4f}, the near copy at {told[1]:.4f}")
    assert told[0] == 0 and seen[offset, 25][0] == 0, "differences are no longer exact"
    assert seen[offset, 26][0] > 0.003 and seen[offset, 200][0] > 0.003, "copies are at distance 0 now"
assert abs(seen[10, 25][1] - seen[10, 26][1]) > 0.01, "the near copy is as far with 26 rows as with 25 now"
PY

# Output seen:
# features about  0,  25 rows: copies at distances up to 0.0000, a near copy at 0.0232
# features about  0,  26 rows: copies at distances up to 0.0175, a near copy at 0.0253
# features about  0, 200 rows: copies at distances up to 0.0191, a near copy at 0.0253
#   by differences: copies at 0.0000, the near copy at 0.0232
# features about 10,  25 rows: copies at distances up to 0.0000, a near copy at 0.0230
# features about 10,  26 rows: copies at distances up to 0.1531, a near copy at 0.0000
# features about 10, 200 rows: copies at distances up to 0.1976, a near copy at 0.0000
#   by differences: copies at 0.0000, the near copy at 0.0230
