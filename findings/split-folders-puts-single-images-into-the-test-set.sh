#!/usr/bin/env bash
# Expected: split-folders' ratio(..., ratio=(.8, .1, .1)) gives the training set about 80 % of each class and, where a class
# has one image, that image.
# Happens: the numbers for train and val are rounded down and the last set takes what is left, so a class of one image is a
# class of the test set alone: an empty folder in train, no error, no warning. Of two images one is for testing, of two
# to nine none for validation. With two sets, (.8, .2), single images all go to val. In a long tail many classes can
# never be learnt, are counted as wrong, and pull macro accuracy down; and the folders agree, so a check of names passes.
# Count images per class and set, and move single ones to train.
# Seen with split-folders 0.6.1, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet split-folders==0.6.1
venv/bin/python -W ignore - 2> /dev/null <<'PY'
from pathlib import Path

import splitfolders

sizes = {"fox": 100, "badger": 9, "bee": 5, "lynx": 2, "wolf": 1}
for name, number in sizes.items():
    Path("images", name).mkdir(parents=True)
    for i in range(number):
        Path("images", name, f"{i}.jpg").write_bytes(b"pixels")
splitfolders.ratio("images", output="split", seed=1, ratio=(0.8, 0.1, 0.1))
found = {name: [len(list(Path("split", part, name).iterdir())) for part in ("train", "val", "test")] for name in sizes}
for name, numbers in found.items():
    print(f"{name:6} {sizes[name]:3} images: train {numbers[0]}, val {numbers[1]}, test {numbers[2]}")
assert found == {"fox": [80, 10, 10], "badger": [7, 0, 2], "bee": [4, 0, 1], "lynx": [1, 0, 1], "wolf": [0, 0, 1]}, found
PY

# Output seen:
# fox    100 images: train 80, val 10, test 10
# badger   9 images: train 7, val 0, test 2
# bee      5 images: train 4, val 0, test 1
# lynx     2 images: train 1, val 0, test 1
# wolf     1 images: train 0, val 0, test 1
