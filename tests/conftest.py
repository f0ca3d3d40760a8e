"""Shared fixtures: a tiny list-file dataset of real image files, and the command line as a subprocess."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oltr_cli.base import added_files

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


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """$OLTR_DATA with the dataset ``tiny`` in it; read it, do not change it."""
    home = tmp_path_factory.mktemp("data")
    make_tiny_dataset(home / "tiny")
    return home


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    path.write_text(TINY_RECIPE)
    return path


@pytest.fixture
def own_tiny_data(tmp_path) -> Path:
    """$OLTR_DATA with a copy of ``tiny`` that a test may damage."""
    make_tiny_dataset(tmp_path / "data" / "tiny")
    return tmp_path / "data"


@pytest.fixture
def no_files(monkeypatch):
    """No method, detector or backbone was added to those that are installed."""
    monkeypatch.setattr(added_files, "_added", {})
    monkeypatch.delenv("OLTR_METHODS", raising=False)


class Oltr:
    """The command line in a subprocess, with its own runs folder."""

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
        return [sys.executable, "-m", "oltr_cli", *map(str, arguments)]

    def __call__(self, *arguments: object, check: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments), env={**self.env, **env}, capture_output=True, text=True, timeout=240
        )
        if check is not None:
            assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *arguments: object, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@pytest.fixture
def oltr(tmp_path, tiny_data) -> Oltr:
    return Oltr(tmp_path / "runs", tiny_data)
