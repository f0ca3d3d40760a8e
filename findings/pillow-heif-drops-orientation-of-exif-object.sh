#!/usr/bin/env bash
# Expected: a photograph saved as HEIC with image.save(..., exif=exif), as one does for JPEG, PNG, WebP or AVIF, is upright
# when it is opened again with ImageOps.exif_transpose().
# Happens: pillow-heif looks for the orientation in bytes only. Given Pillow's Exif object it writes the tag but no
# rotation; on opening it then sets the tag to 1, since in HEIF the rotation box alone counts. The picture stays on its
# side and nothing says so but info["original_orientation"]. Given exif.tobytes() or image.info["exif"], all is well.
# HEIC files whose orientation other tools (exiftool, phones' editors) wrote only as EXIF open in the same way.
# Seen with pillow-heif 1.8.1, pillow 13.0.0, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet pillow-heif==1.8.1 pillow==13.0.0 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import io

import numpy as np
import pillow_heif
from PIL import Image, ImageOps

pillow_heif.register_heif_opener()
image = Image.fromarray(np.zeros((64, 96, 3), np.uint8))
exif = Image.Exif()
exif[0x0112] = 6    # Orientation: turn by 90 degrees clockwise to see it upright
seen = {}
for name in ("JPEG", "PNG", "WEBP", "HEIF"):
    for how, given in (("object", exif), ("bytes", exif.tobytes())):
        file = io.BytesIO()
        image.save(file, name, exif=given)
        opened = Image.open(io.BytesIO(file.getvalue()))
        upright = ImageOps.exif_transpose(opened)
        seen[name, how] = upright.size
        print(f"{name:4} exif as {how:6} -> tag {opened.getexif().get(0x0112)}, upright size {upright.size},",
              f"original_orientation {opened.info.get('original_orientation')}")
assert exif[0x0112] == 6
assert {size for key, size in seen.items() if key != ("HEIF", "object")} == {(64, 96)}, "another format changed"
assert seen["HEIF", "object"] == (96, 64), "pillow-heif understands an Exif object now"
PY

# Output seen:
# JPEG exif as object -> tag 6, upright size (64, 96), original_orientation None
# JPEG exif as bytes  -> tag 6, upright size (64, 96), original_orientation None
# PNG  exif as object -> tag 6, upright size (64, 96), original_orientation None
# PNG  exif as bytes  -> tag 6, upright size (64, 96), original_orientation None
# WEBP exif as object -> tag 6, upright size (64, 96), original_orientation None
# WEBP exif as bytes  -> tag 6, upright size (64, 96), original_orientation None
# HEIF exif as object -> tag 1, upright size (96, 64), original_orientation 6
# HEIF exif as bytes  -> tag 1, upright size (64, 96), original_orientation 6
