"""A tiny dataset of real image files, its recipe, and the command line in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.forked import Forked

TINY_COUNTS = (24, 12, 6, 2, 1)
TINY_RECIPE = """
[data]
name = "tiny"
image_size = 16
eval_resize = 16
crop_scale = [0.6, 1.0]

[backbone]
name = "resnet10"
stem = "small-stride2"
width = 8

[stage1]
epochs = 3
batch_size = 8
schedule = "onecycle"
lr = { features = 0.05, classifier = 0.05 }

[stage2]
epochs = 2
batch_size = 8
schedule = "cosine"
images_per_class = 2
sampler = "class_aware"
lr = { features = 0.01, classifier = 0.05, centroids = 0.01 }
"""


def write_image(path: Path, label: int, rng: np.random.Generator, size: int = 20) -> None:
    """A noisy picture whose colour and stripes tell its class, so that a few steps can learn something."""
    y, x = np.mgrid[:size, :size]
    stripes = np.sin((x * (label % 3) + y * (label % 2 + 1)) * (0.4 + 0.2 * label))
    base = np.stack([stripes * 60 + 40 * ((label + c) % 4) + 60 for c in range(3)], axis=-1)
    pixels = (base + rng.normal(0, 12, base.shape)).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make_tiny_dataset(root: Path) -> Path:
    """Five known classes with 24, 12, 6, 2, 1 training images, two open test classes and one open validation class."""
    rng = np.random.default_rng(0)
    lists = {"train": list(TINY_COUNTS), "val": [3] * 5, "test": [4] * 5, "open": [5, 5], "open_val": [4]}
    for split, counts in lists.items():
        lines = []
        for index, count in enumerate(counts):
            label = index + {"open": 7, "open_val": 11}.get(split, 0)
            for i in range(count):
                name = f"{split}/c{label}/{i}.png"
                write_image(root / name, label, rng)
                lines.append(f"{name} {-1 if split.startswith('open') else label}")
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    (root / "classes.txt").write_text("".join(f"n{i:08} thing {i}\n" for i in range(5)))
    return root


class Oltr:
    """The command line in processes of their own, with its own runs folder."""

    def __init__(self, runs: Path, data: Path) -> None:
        self.runs = runs
        self.env = {
            **os.environ,
            "OLTR_RUNS": str(runs),
            "OLTR_DATA": str(data),
            "OLTR_TRACKING": "off",
            "XDG_CACHE_HOME": str(runs.parent / "cache"),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "120",
        }

    def command(self, *arguments: object) -> list[str]:
        """For a fresh interpreter, which takes seconds longer than the calls below."""
        return [sys.executable, "-m", "oltr_cli", *map(str, arguments)]

    def __call__(self, *arguments: object, check: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **env)
        try:
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
        if check is not None:
            assert process.returncode == check, f"exit {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(["oltr", *arguments], process.returncode, out, err)

    def start(self, *arguments: object, **env: str) -> Forked:
        return Forked([*map(str, arguments)], {**self.env, **env})
