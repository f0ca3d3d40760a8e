"""Small photographs in class folders, and what a build wrote about them."""

import io
import itertools

import numpy as np
from PIL import Image

from oltr_cli.data.lists.lists import read_list

SPLITS = ("train", "val", "test", "open", "open_val")
_numbers = itertools.count()


def photo(path, number=None):
    """A picture of 6×6 pixels, unlike all others unless it is given a number."""
    number = next(_numbers) if number is None else number
    pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG")
    return path


def encoded(kind="PNG", number=0):
    """The bytes of a picture of 6×6 pixels."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)).save(out, kind)
    return out.getvalue()


def photos(root, counts):
    """Class folders with so many pictures each."""
    for name, count in counts.items():
        for i in range(count):
            photo(root / name / f"{i:03}.png")
    return root


def lists(folder):
    """split → [(path, label)] of what was written."""
    found = {}
    for split in SPLITS:
        if (folder / f"{split}.txt").exists():
            names, labels = read_list(folder / f"{split}.txt")
            found[split] = list(zip(names, labels.tolist(), strict=True))
    return found


def by_class(pairs):
    """How many of each label."""
    labels = [label for _, label in pairs]
    return {label: labels.count(label) for label in sorted(set(labels))}


def said(report, text):
    """The one warning that holds ``text``."""
    (warning,) = [warning for warning in report.warnings if text in warning]
    return warning
