#!/usr/bin/env bash
# Expected: an image that SMOTE makes up lies between two images of the rare class, pixel by pixel; bytes in, bytes out.
# Happens: handed uint8 pixels, imbalanced-learn subtracts neighbours in uint8, so every negative difference wraps around
# by 256, and the new "images" have pixels that are brighter or darker than any of the class. The dtype stays uint8 and
# nothing warns. The same numbers as float32 are interpolated rightly. So the tail of a long-tailed set, which has the
# fewest real images, is filled up with noise. Cast pixels to float before oversampling, and round afterwards.
# Seen with imbalanced-learn 0.14.2, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet imbalanced-learn==0.14.2 scikit-learn==1.9.1 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import numpy as np
from imblearn.over_sampling import SMOTE

rng = np.random.default_rng(0)
head = rng.integers(40, 80, (60, 16), dtype=np.uint8)    # 60 images of 4 x 4 pixels
tail = rng.integers(100, 161, (6, 16), dtype=np.uint8)   # 6 images, every pixel between 100 and 160
x, y = np.concatenate([head, tail]), np.repeat([0, 1], [60, 6])


def outside(pixels):
    made, _ = SMOTE(k_neighbors=3, random_state=0).fit_resample(pixels, y)
    new = made[len(x):].astype(float)
    wrong = (new < tail.min(0) - 1) | (new > tail.max(0) + 1)
    print(f"{str(made.dtype):8} {len(new)} new images, pixels from {new.min():.0f} to {new.max():.0f},",
          f"{100 * wrong.mean():.0f} % of them outside the range of the class")
    return wrong.mean()


print(f"the rare class itself: pixels from {tail.min()} to {tail.max()}")
assert outside(x.astype(np.float32)) == 0, "floats are no longer interpolated between neighbours"
assert outside(x) > 0.2, "uint8 is interpolated rightly now"
PY

# Output seen:
# the rare class itself: pixels from 100 to 159
# float32  54 new images, pixels from 100 to 159, 0 % of them outside the range of the class
# uint8    54 new images, pixels from 1 to 255, 42 % of them outside the range of the class
