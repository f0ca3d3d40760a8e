#!/usr/bin/env bash
# Expected: image.save(file, exif=exif) reads the Exif object that it is given and leaves it alone.
# Happens: Pillow's AVIF writer takes the orientation out of the caller's object (the AVIF has it as a rotation of its
# own). Whatever is saved with the same object afterwards, a thumbnail or a second copy, has lost the tag and lies on its
# side; written in the other order, all is well. Written as bytes (exif.tobytes()) it is well too. Shrinking a set of
# photographs into AVIF and JPEG copies so yields sideways JPEG images, and perceptual hashes that don't match.
# Seen with pillow 13.0.0, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet pillow==13.0.0 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import io

import numpy as np
from PIL import Image, ImageOps

pixels = np.zeros((64, 96, 3), np.uint8)
pixels[:32] = (255, 0, 0)    # stored: red above; upright, after a quarter turn clockwise: red on the right
image = Image.fromarray(pixels)


def upright_sizes(formats, as_bytes=False):
    exif = Image.Exif()
    exif[0x0112] = 6    # Orientation: turn by 90 degrees clockwise to see it upright
    sizes = {}
    for name in formats:
        file = io.BytesIO()
        image.save(file, name, exif=exif.tobytes() if as_bytes else exif)
        sizes[name] = ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue()))).size
    print(f"{' then '.join(formats)}{', given as bytes' if as_bytes else ''}: upright sizes {sizes};",
          f"tag left in the Exif object: {exif.get(0x0112)}")
    return sizes, exif.get(0x0112)


good = {"AVIF": (64, 96), "JPEG": (64, 96)}
assert upright_sizes(("JPEG", "AVIF")) == (good, None), "saving JPEG first is otherwise now"
assert upright_sizes(("AVIF", "JPEG"), as_bytes=True) == (good, 6), "saving bytes is otherwise now"
sizes, tag = upright_sizes(("AVIF", "JPEG"))
assert sizes == {"AVIF": (64, 96), "JPEG": (96, 64)} and tag is None, "saving AVIF leaves the Exif object alone now"
PY

# Output seen:
# JPEG then AVIF: upright sizes {'JPEG': (64, 96), 'AVIF': (64, 96)}; tag left in the Exif object: None
# AVIF then JPEG, given as bytes: upright sizes {'AVIF': (64, 96), 'JPEG': (64, 96)}; tag left in the Exif object: 6
# AVIF then JPEG: upright sizes {'AVIF': (64, 96), 'JPEG': (96, 64)}; tag left in the Exif object: None
