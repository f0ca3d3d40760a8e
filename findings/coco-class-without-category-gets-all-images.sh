#!/usr/bin/env bash
# Expected: pycocotools' COCO.getCatIds(catNms="wildcat") finds the category wildcat, and images of no category are none.
# Happens: a plain string is searched for names that are part of it, so "wildcat" also finds "cat"; and an empty list means
# "no filter", so the usual getImgIds(catIds=getCatIds(catNms=[name])) gives all images of the set for a class that has no
# category, but none for a category without images. Of two categories it gives the images that show both, not either.
# In a long tail, where a rare class is often absent from a split, that turns "no image of it" into "every image".
# Seen with pycocotools 2.0.11, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet pycocotools==2.0.11 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import contextlib
import io

from pycocotools.coco import COCO

names = {1: "cat", 2: "wildcat", 3: "fox"}
box = dict(bbox=[0, 0, 5, 5], area=25, iscrowd=0)
coco = COCO()
coco.dataset = dict(
    images=[dict(id=i, width=10, height=10, file_name=f"{i}.jpg") for i in (1, 2, 3, 4)],
    categories=[dict(id=i, name=name) for i, name in names.items()],
    annotations=[dict(id=1, image_id=1, category_id=1, **box), dict(id=2, image_id=2, category_id=2, **box)],
)
with contextlib.redirect_stdout(io.StringIO()):
    coco.createIndex()

as_text, as_list = coco.getCatIds(catNms="wildcat"), coco.getCatIds(catNms=["wildcat"])
print("categories for 'wildcat':", [names[i] for i in as_text], " for ['wildcat']:", [names[i] for i in as_list])
images = {name: coco.getImgIds(catIds=coco.getCatIds(catNms=[name])) for name in ("cat", "fox", "lynx")}
print("images by class:", images, " (fox has a category and no box, lynx has no category)")
both = coco.getImgIds(catIds=[1, 2])
print("images of cat and wildcat:", both)
assert as_text == [1, 2] and as_list == [2], "a plain string is compared as a whole now"
assert images == {"cat": [1], "fox": [], "lynx": [1, 2, 3, 4]}, "an empty filter no longer means all images"
assert both == [], "several categories give the union now"
PY

# Output seen:
# categories for 'wildcat': ['cat', 'wildcat']  for ['wildcat']: ['wildcat']
# images by class: {'cat': [1], 'fox': [], 'lynx': [1, 2, 3, 4]}  (fox has a category and no box, lynx has no category)
# images of cat and wildcat: []
