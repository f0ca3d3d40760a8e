#!/usr/bin/env bash
# Expected: what Pillow does to a 16-bit grey picture (mode I;16: thermal camera traps, microscopes, depth) it does to its
# 16-bit values, as resize() does, or it refuses the mode, as JPEG, equalize() and filters do.
# Happens: rotate() and transform() by any angle or affine map with BILINEAR or BICUBIC mix single bytes: of values from
# 20000 to 40000, numbers from 0 to 255 are left, without meaning, though the mode stays I;16. With NEAREST all is well.
# ImageStat's mean and extrema are within 0 to 255, too, unlike getextrema(). Saved as WebP or AVIF the picture is white,
# as all above 255 is cut off. Nothing is said. So augmentation by rotation gives noise, and normalisation by mean and
# spread divides by the wrong numbers. Turn into mode F, or scale to 8 bits, first.
# Seen with pillow 13.0.0, numpy 2.4.6, Python 3.11.7, on a little-endian machine.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet pillow==13.0.0 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import numpy as np
from PIL import Image, ImageStat

values = np.tile(np.linspace(20000, 40000, 64), (64, 1)).astype(np.uint16)
grey, floats = Image.fromarray(values), Image.fromarray(values.astype(np.float32))
AFFINE, MAP = Image.Transform.AFFINE, (1, 0.1, 0.5, 0, 1, 0.5)


def inner(image):
    """Smallest and largest value in the middle, where turning leaves no empty corners."""
    part = np.asarray(image)[20:-20, 20:-20]
    return int(part.min()), int(part.max())


seen = {}
for filter_ in (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
    seen[filter_.name] = inner(grey.rotate(10, filter_)), inner(grey.transform((64, 64), AFFINE, MAP, filter_))
    print(f"{filter_.name:8} rotate {seen[filter_.name][0]}, affine {seen[filter_.name][1]};",
          f"as floats {inner(floats.rotate(10, filter_))}; resize {inner(grey.resize((80, 80), filter_))}")
    assert inner(grey.resize((80, 80), filter_))[0] > 20000, "resize mixes bytes, too"
mean = ImageStat.Stat(grey).mean[0]
print(f"mean {values.mean():.0f}, of ImageStat {mean:.1f}; getextrema {grey.getextrema()},",
      f"of ImageStat {ImageStat.Stat(grey).extrema[0]}")
saved = {}
for suffix in ("png", "tif", "webp", "avif"):
    grey.save(f"a.{suffix}")
    saved[suffix] = Image.open(f"a.{suffix}").convert("F").getextrema()
    print(f"saved as {suffix:4}: {Image.open(f'a.{suffix}').mode}, values {saved[suffix]}")
assert min(seen["NEAREST"])[0] > 20000, "NEAREST mixes bytes, too"
assert max(high for name in ("BILINEAR", "BICUBIC") for _, high in seen[name]) < 256, "16-bit values are mixed rightly now"
assert mean < 256 and saved["webp"][0] > 250 and saved["avif"][0] > 250, "ImageStat, WebP or AVIF are otherwise now"
assert saved["png"] == saved["tif"] == (20000, 40000), "PNG or TIFF lose values"
PY

# Output seen:
# NEAREST  rotate (25714, 34285), affine (27301, 35238); as floats (25714, 34285); resize (25079, 34920)
# BILINEAR rotate (3, 244), affine (5, 239); as floats (25770, 34228); resize (25047, 34952)
# BICUBIC  rotate (1, 246), affine (1, 246); as floats (25800, 34198); resize (25047, 34952)
# mean 30000, of ImageStat 108.5; getextrema (20000, 40000), of ImageStat (1, 247)
# saved as png : I;16, values (20000.0, 40000.0)
# saved as tif : I;16, values (20000.0, 40000.0)
# saved as webp: RGB, values (255.0, 255.0)
# saved as avif: L, values (255.0, 255.0)
