#!/usr/bin/env bash
# Expected: load_dataset("imagefolder") on folders named by class gives every image, labelled by its folder.
# Happens: a class that is called train, test, val(idation), dev or eval, or has one of these words between separators
# in its name (freight_train, test tube), is taken for a split. All images of the other classes are left out, and where one
# such class is left, its images have no usable label: no error, no warning. Vehicles ("train" is a class of COCO, VOC
# and CIFAR-100), railways and laboratory ware are hit, and the biggest class may be what is lost. Name the split folder
# yourself: root/train/<class>/..., or pass data_files.
# Seen with datasets 5.2.0, pillow 13.0.0, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet datasets==5.2.0 pillow==13.0.0
export OMP_NUM_THREADS=1
export HF_HOME="$T/hf" HF_HUB_OFFLINE=1
venv/bin/python -W ignore - <<'PY'
from pathlib import Path

import datasets
from PIL import Image

datasets.disable_progress_bars()


def load(folder, classes):
    for name, count in classes.items():
        where = Path(folder, name)
        where.mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (4, 4), (10 * i, 0, 0)).save(where / f"{i}.png")
    found = datasets.load_dataset("imagefolder", data_dir=folder)
    images = {split: len(rows) for split, rows in found.items()}
    labels = {split: set(rows[:]["label"]) if "label" in rows.features else None for split, rows in found.items()}
    print(f"{str(classes):52} {sum(images.values())} of {sum(classes.values())} images; splits {images}, labels {labels}")
    return sum(images.values()), labels


assert load("ok", {"bus": 5, "car": 3, "tram": 2}) == (10, {"train": {0, 1, 2}}), "plain class folders are read otherwise"
n, _ = load("vehicles", {"bus": 5, "car": 3, "train": 2})
assert n == 2, "a class called train no longer hides the others"
n, _ = load("wagons", {"bus": 5, "car": 3, "freight_train": 2})
assert n == 2, "a class called freight_train no longer hides the others"
n, labels = load("both", {"bus": 5, "test tube": 3, "train": 2})
assert n == 5 and labels["train"] == {None}, "two such classes are read otherwise now"
PY

# Output seen:
# {'bus': 5, 'car': 3, 'tram': 2}                      10 of 10 images; splits {'train': 10}, labels {'train': {0, 1, 2}}
# {'bus': 5, 'car': 3, 'train': 2}                     2 of 10 images; splits {'train': 2}, labels {'train': None}
# {'bus': 5, 'car': 3, 'freight_train': 2}             2 of 10 images; splits {'train': 2}, labels {'train': None}
# {'bus': 5, 'test tube': 3, 'train': 2}               5 of 10 images; splits {'train': 2, 'test': 3}, labels {'train': {None}, 'test': {0}}
