"""JPEG files of photographic content and size, drawn by seed: smooth areas, edges and noise, as cameras give."""

from collections import deque
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 10


def draw_photographs(folder: Path, count: int, width: int = 500, height: int = 375, repeats: int = 1) -> None:
    """A dataset of list files below ``folder``: ``count`` · ``repeats`` training images, and a few of val and test.

    A repeated image is the same file under other names.
    """
    few = max(CLASSES, min(count // 10, 64))
    drawn = [
        (split, index) for split, number in (("train", count), ("val", few), ("test", few)) for index in range(number)
    ]
    with ProcessPoolExecutor() as pool:
        deque(pool.map(partial(_draw, folder, width, height), drawn, chunksize=16), maxlen=0)
    lines: dict[str, list[str]] = {}
    for split, index in drawn:
        path = folder / split / f"{index:05}.jpg"
        names = [
            path,
            *(path.with_name(f"{index:05}-{copy}.jpg") for copy in range(1, repeats if split == "train" else 1)),
        ]
        for name in names[1:]:
            name.hardlink_to(path)
        lines.setdefault(split, []).extend(f"{split}/{name.name} {index % CLASSES}\n" for name in names)
    for split, text in lines.items():
        (folder / f"{split}.txt").write_text("".join(text))


def _draw(folder: Path, width: int, height: int, which: tuple[str, int]) -> None:
    split, index = which
    path = folder / split / f"{index:05}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([index, *split.encode()])
    Image.fromarray(_picture(rng, index % CLASSES, width, height)).save(path, "JPEG", quality=90)


def _picture(rng: np.random.Generator, label: int, width: int, height: int) -> np.ndarray:
    coarse = rng.integers(0, 256, (height // 25 + 2, width // 25 + 2, 3)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = np.sin(x * (0.02 + 0.01 * label) + y * 0.03 * rng.random())[..., None] * 40
    return (0.6 * smooth + 60 + waves + rng.normal(0, 10, smooth.shape)).clip(0, 255).astype(np.uint8)
