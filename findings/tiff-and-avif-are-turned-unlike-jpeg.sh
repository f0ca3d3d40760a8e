#!/usr/bin/env bash
# Expected: a library treats the EXIF orientation alike in all formats: Pillow leaves the pixels as they are stored, and
# OpenCV's imread turns them upright.
# Happens: Pillow turns a TIFF as soon as its pixels are read, and then removes the tag; its size is that of the upright
# picture from the start. Who reads the tag first, as for a JPEG, and turns by it later turns twice, and who swaps width
# and height by the tag gets them wrong. tifffile, behind imageio, doesn't turn. OpenCV 5.0 turns JPEG, PNG and WebP but
# not AVIF, and gives None for a TIFF that lies on its side. So a set of mixed formats is upright or sideways by format.
# In Pillow, call ImageOps.exif_transpose(), and take size and tag of what it returns.
# Seen with pillow 13.0.0, opencv-python-headless 5.0.0.93, imageio 2.38.1, tifffile 2026.3.3, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet pillow==13.0.0 opencv-python-headless==5.0.0.93 imageio==2.38.1 tifffile==2026.3.3 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - 2> /dev/null <<'PY'
import cv2
import imageio.v3
import numpy as np
from PIL import Image, ImageOps

ORIENTATION = 0x0112
stored = np.zeros((20, 40, 3), np.uint8)
stored[:, :20] = 255  # the left half is white; upright, the picture is 20 wide, 40 high and its upper half is white
exif = Image.Exif()
exif[ORIENTATION] = 6


def told(pixels):
    """Whether pixels are upright, or on their side as they are stored."""
    if pixels is None:
        return "none"
    return {(40, 20): "upright", (20, 40): "stored"}[np.asarray(pixels).shape[:2]]


seen = {}
for suffix in ("jpg", "png", "webp", "avif", "tif"):
    Image.fromarray(stored).save(f"a.{suffix}", exif=exif if suffix == "tif" else exif.tobytes())
    image = Image.open(f"a.{suffix}")
    size, before = image.size, image.getexif().get(ORIENTATION)
    image.load()
    row = {
        "Pillow": told(image), "tag before": before, "tag after": image.getexif().get(ORIENTATION),
        "exif_transpose": told(ImageOps.exif_transpose(Image.open(f"a.{suffix}"))),
        "imageio": told(imageio.v3.imread(f"a.{suffix}")), "OpenCV": told(cv2.imread(f"a.{suffix}")),
    }
    seen[suffix] = row
    print(f"{suffix:4} size in Pillow before loading {size}; " + ", ".join(f"{key} {value}" for key, value in row.items()))
turned = {key: [suffix for suffix, row in seen.items() if row[key] == "upright"] for key in seen["jpg"]}
assert turned["Pillow"] == ["tif"] and seen["tif"]["tag before"] == 6, "Pillow turns others now"
assert seen["tif"]["tag after"] is None and seen["jpg"]["tag after"] == 6, "Pillow keeps or removes the tag otherwise now"
assert turned["exif_transpose"] == list(seen) and turned["imageio"] == [], "exif_transpose or imageio turns others now"
assert turned["OpenCV"] == ["jpg", "png", "webp"] and seen["tif"]["OpenCV"] == "none", "OpenCV turns others now"
PY

# Output seen:
# jpg  size in Pillow before loading (40, 20); Pillow stored, tag before 6, tag after 6, exif_transpose upright, imageio stored, OpenCV upright
# png  size in Pillow before loading (40, 20); Pillow stored, tag before 6, tag after 6, exif_transpose upright, imageio stored, OpenCV upright
# webp size in Pillow before loading (40, 20); Pillow stored, tag before 6, tag after 6, exif_transpose upright, imageio stored, OpenCV upright
# avif size in Pillow before loading (40, 20); Pillow stored, tag before 6, tag after 6, exif_transpose upright, imageio stored, OpenCV stored
# tif  size in Pillow before loading (20, 40); Pillow upright, tag before 6, tag after None, exif_transpose upright, imageio stored, OpenCV none
