#!/usr/bin/env bash
# Expected: a 16-bit grey PNG or TIFF (thermal camera traps, microscopes, depth) has the perceptual hash of its 8-bit copy,
# or nearly so; different pictures have different hashes.
# Happens: imagehash converts with convert("L"), and Pillow clips 16-bit greys there instead of scaling them: everything
# above 255 of 65535 becomes white. Every such picture that is not almost black has the same hash, so a search for
# near-duplicates takes all of them for copies of one another and would leave one image of a class. Pillow itself is
# not consistent: a 16-bit RGB PNG is scaled when it is opened. Scale to 8 bits first.
# Seen with ImageHash 4.3.2, pillow 13.0.0, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet ImageHash==4.3.2 pillow==13.0.0 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import io
import struct
import zlib

import imagehash
import numpy as np
from PIL import Image


def picture(seed):
    coarse = np.random.default_rng(seed).integers(2, 256, (8, 8), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)).clip(2)


def png16(values):
    """A PNG of 16 bits: grey for (H, W), RGB for (H, W, 3)."""
    h, w, colours = *values.shape[:2], values.ndim == 3
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", w, h, 16, 2 if colours else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


hashes = {"8-bit grey": [], "16-bit grey": [], "16-bit RGB": []}
for seed in range(20):
    grey = picture(seed)
    deep = grey.astype(np.uint16) * 257    # 0 ... 255 -> 0 ... 65535, the same brightness
    kinds = (Image.fromarray(grey), *(Image.open(io.BytesIO(png16(v))) for v in (deep, np.stack([deep] * 3, -1))))
    for name, image in zip(hashes, kinds):
        hashes[name].append(str(imagehash.phash(image)))
different = {name: len(set(found)) for name, found in hashes.items()}
for name, found in hashes.items():
    print(f"{name:11}: {different[name]:2} different hashes of 20 pictures, the first is {found[0]}")
assert different["8-bit grey"] == different["16-bit RGB"] == 20, "8-bit or RGB pictures are hashed otherwise now"
assert different["16-bit grey"] == 1, "16-bit greys are told apart now"
PY

# Output seen:
# 8-bit grey : 20 different hashes of 20 pictures, the first is c3d8868e2255bce7
# 16-bit grey:  1 different hashes of 20 pictures, the first is 8000000000000000
# 16-bit RGB : 20 different hashes of 20 pictures, the first is c3d8868e2255bce7
