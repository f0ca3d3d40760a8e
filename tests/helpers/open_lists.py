"""Further lists of open images for the tiny dataset."""

from pathlib import Path

import numpy as np

from tests.helpers.tiny import write_image


def add_open_list(root: Path, split: str, classes: tuple[int, ...], images: int = 4, folder: str = "") -> list[str]:
    """Write ``split.txt`` and its images, each class in a folder of its own; returns their names."""
    rng = np.random.default_rng([*split.encode(), *classes])
    names = [f"{folder or split}/c{label}/{i}.png" for label in classes for i in range(images)]
    for name in names:
        write_image(root / name, int(name.split("/c")[-1].split("/")[0]), rng)
    (root / f"{split}.txt").write_text("".join(f"{name} -1\n" for name in names))
    return names
