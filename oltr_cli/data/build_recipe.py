"""The recipe of a dataset of one's own, sized by how many images there are and how large they are."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from oltr_cli.pretrained import TORCHVISION

IMAGES_PER_CLASS = 4
STEPS = {"stage1": 2000, "stage2": 600}  # aimed at: a small set needs many epochs for as many steps
EPOCHS = {"stage1": (10, 100), "stage2": (5, 40)}


@dataclass(frozen=True)
class Sizing:
    """What the user said of size and network; 0 and "" leave it to the images."""

    image_size: int = 0
    backbone: str = ""
    weights: str = ""


def recipe_text(
    name: str, root: Path, lists: Path, counts: list[int], sides: list[int], sizing: Sizing, as_is: bool
) -> str:
    """A recipe file with the reasons for its numbers.

    Args:
        counts: training images of each class.
        sides: shorter side in pixels of every image.
    """
    images = sum(counts)
    batch = 16
    while batch < 128 and batch * 16 <= images:
        batch *= 2
    steps = max(1, images // batch)
    epochs = {s: min(max(round(STEPS[s] / steps), low), high) for s, (low, high) in EPOCHS.items()}
    size = sizing.image_size or (224 if sizing.weights else 64)
    typical = round(median(sides))
    if not sizing.image_size:
        size = max(32, min(size, typical // 8 * 8))
    resize = round(size * 8 / 7) if typical > size * 8 / 7 else size
    backbone = sizing.backbone or ("resnet18" if sizing.weights else "resnet10")
    weights = sizing.weights
    if weights and weights != TORCHVISION:
        weights = str(Path(weights).expanduser().absolute())
    rate = (0.01 if weights else 0.2) * batch / 128
    tail = "as found" if as_is else "a drawn Pareto tail"
    spread = f"{min(counts)}–{max(counts)}"
    slow, fast = (f"{value * batch / 128:.4g}" for value in (0.01, 0.1))
    stem = "imagenet" if size >= 48 or weights else "small-stride2"
    return f"""# {name}: own photographs, {len(counts)} classes, {images:,} training images ({spread} a class, {tail}).
# Written by oltr data build. Half of the images have a shorter side of {typical} px or more. A larger image_size and a
# deeper backbone want a GPU; pre-trained weights (backbone.weights = "torchvision" or a file) help most of all.

[data]
name = {json.dumps(name)}
kind = "lists"
root = {json.dumps(str(root), ensure_ascii=False)}
lists = {json.dumps(str(lists.absolute()), ensure_ascii=False)}
image_size = {size}
eval_resize = {resize}
crop_scale = [0.35, 1.0]
flip = true
color_jitter = [0.2, 0.2, 0.2]

[backbone]
name = {json.dumps(backbone)}
stem = {json.dumps(stem)}
weights = {json.dumps(weights, ensure_ascii=False)}

[stage1]                  # {epochs["stage1"]} epochs of {steps} steps
epochs = {epochs["stage1"]}
batch_size = {batch}
sampler = "instance"
schedule = "onecycle"
lr = {{ features = {rate:.4g}, classifier = {0.2 * batch / 128:.4g} }}

[stage2]
epochs = {epochs["stage2"]}
batch_size = {batch}
sampler = "class_aware"
images_per_class = {IMAGES_PER_CLASS}
schedule = "cosine"
lr = {{ features = {slow}, classifier = {fast}, centroids = {slow} }}
"""
