#!/usr/bin/env bash
# Expected: timm and torchvision number the classes of an image folder alike, and tell apart the folders that one of them does.
# Happens: torchvision takes the top folders in the order of their bytes; timm takes the last folder on the path, in natural
# order without regard to case: class2 comes before class10, ant before Zebra, and owls/barn and swallows/barn are one
# class. A network trained by one and tested by the other is right for a few classes and wrong for most: the accuracy
# looks poor rather than broken, and class counts, shot groups and logit adjustment are those of other classes.
# Keep a file of class names beside the weights and match by name.
# Seen with timm 1.0.31, torchvision 0.29.1, torch 2.14.1, pillow 13.0.0, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.14.1 torchvision==0.29.1 timm==1.0.31 pillow==13.0.0
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
from pathlib import Path

from PIL import Image
from timm.data import create_dataset
from torchvision.datasets import ImageFolder


def classes(root, names):
    for name in names:
        Path(root, name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(Path(root, name, "a.png"))
    vision = ImageFolder(root)
    image_models = create_dataset("", root=root).reader
    found = vision.class_to_idx, image_models.class_to_idx
    for library, numbers in zip(("torchvision", "timm"), found):
        print(f"  {library:11} {numbers}")
    return found


print("numbers, and upper case:")
vision, timm = classes("flat", ["ant", "class1", "class10", "class2", "Zebra"])
assert list(vision) == ["Zebra", "ant", "class1", "class10", "class2"], "torchvision sorts otherwise now"
assert list(timm) == ["ant", "class1", "class2", "class10", "Zebra"], "timm sorts otherwise now"
same = [name for name in vision if vision[name] == timm[name]]
print("  the same number in both:", same)
assert same == ["class10"], "other classes have the same number now"
print("nested folders owls/barn, owls/tawny, swallows/barn:")
vision, timm = classes("nested", ["owls/barn", "owls/tawny", "swallows/barn"])
assert vision == {"owls": 0, "swallows": 1}, "torchvision names nested folders otherwise now"
assert timm == {"barn": 0, "tawny": 1}, "timm names nested folders otherwise now"
PY

# Output seen:
# numbers, and upper case:
#   torchvision {'Zebra': 0, 'ant': 1, 'class1': 2, 'class10': 3, 'class2': 4}
#   timm        {'ant': 0, 'class1': 1, 'class2': 2, 'class10': 3, 'Zebra': 4}
#   the same number in both: ['class10']
# nested folders owls/barn, owls/tawny, swallows/barn:
#   torchvision {'owls': 0, 'swallows': 1}
#   timm        {'barn': 0, 'tawny': 1}
