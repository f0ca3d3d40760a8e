#!/usr/bin/env bash
# Expected: the id of an annotation in a COCO file is any number of its own; counted from 0, like indices in Python, a file
# has the same average precision and recall as counted from 1.
# Happens: COCOeval notes the id of the annotation that a detection found, and reads 0 as "none". A detection of the
# annotation with id 0 counts as wrong, here as the most confident error: perfect detections of two boxes have an AP of
# 0.25 instead of 1. In a class of one box, as in a long tail, the AP of that class is 0.
# Image and category ids of 0 do no harm. Write annotation ids from 1.
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
from pycocotools.cocoeval import COCOeval


def perfect(boxes, first_annotation, first_image=1, category=1):
    """AP and recall of detections that are exactly the annotated boxes, one for each image."""
    ids = range(boxes)
    truth = COCO()
    truth.dataset = {
        "images": [{"id": first_image + i, "width": 99, "height": 99} for i in ids],
        "categories": [{"id": category, "name": "lynx"}],
        "annotations": [{"id": first_annotation + i, "image_id": first_image + i, "category_id": category,
                         "bbox": [9, 9, 50, 50], "area": 2500, "iscrowd": 0} for i in ids],
    }
    detections = [{"image_id": first_image + i, "category_id": category, "bbox": [9, 9, 50, 50], "score": 0.9 - i / 10}
                  for i in ids]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision, recall = round(float(evaluation.stats[0]), 2), round(float(evaluation.stats[8]), 2)
    print(f"{boxes} boxes, ids of annotations from {first_annotation}, of images from {first_image},",
          f"category {category}: AP {precision:.2f}, recall {recall:.2f}")
    return precision, recall


assert perfect(2, 1) == (1, 1) and perfect(2, 1, first_image=0, category=0) == (1, 1), "ids from 1 are wrong too"
assert perfect(2, 0) == (0.25, 0.5) and perfect(1, 0) == (0, 0), "the annotation with id 0 is found now"
PY

# Output seen:
# 2 boxes, ids of annotations from 1, of images from 1, category 1: AP 1.00, recall 1.00
# 2 boxes, ids of annotations from 1, of images from 0, category 0: AP 1.00, recall 1.00
# 2 boxes, ids of annotations from 0, of images from 1, category 1: AP 0.25, recall 0.50
# 1 boxes, ids of annotations from 0, of images from 1, category 1: AP 0.00, recall 0.00
