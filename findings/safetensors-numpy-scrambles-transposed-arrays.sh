#!/usr/bin/env bash
# Expected: safetensors.numpy saves the values of an array however it lies in memory, as 0.7.0 and numpy.save do, or refuses
# it, as safetensors.torch refuses a tensor that is not contiguous.
# Happens: 0.8.0 writes the bytes as they lie and the shape as it reads, so a transposed or Fortran-ordered array comes
# back with its values in other places; no error, no warning. Principal axes (of PCA, ViM), whitening matrices and transposed
# centroids are such arrays: an open-set detector saved this way loads without complaint and scores noise.
# numpy.ascontiguousarray() first. Seen with safetensors 0.8.0 against 0.7.0, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet safetensors==0.7.0 numpy==2.4.6
cat > save_and_load.py <<'PY'
import numpy as np
import safetensors
import safetensors.numpy

features = np.random.default_rng(0).normal(size=(50, 4)) * [4, 2, 1, 0.5]
axes = np.linalg.svd(features, full_matrices=False)[2][:2].T    # (4, 2), the first two principal axes
back = safetensors.numpy.load(safetensors.numpy.save({'axes': axes}))['axes']
same = np.array_equal(axes, back)
kept = [round(float(np.linalg.norm(features @ a) ** 2 / np.linalg.norm(features) ** 2), 3) for a in (axes, back)]
print(f'safetensors {safetensors.__version__}: same values after loading: {same};',
      f'share of the energy along the axes: saved {kept[0]}, loaded {kept[1]}')
assert same == (safetensors.__version__ == '0.7.0'), 'the behaviour of this version has changed'
PY
venv/bin/python save_and_load.py
venv/bin/pip install --quiet safetensors==0.8.0
venv/bin/python save_and_load.py

# Output seen:
# safetensors 0.7.0: same values after loading: True; share of the energy along the axes: saved 0.929, loaded 0.929
# safetensors 0.8.0: same values after loading: False; share of the energy along the axes: saved 0.929, loaded 0.824
