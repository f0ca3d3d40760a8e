"""glyphs-lt, the built-in dataset: printed characters with a long tail, and scripts not seen in training.

Known classes are 80 characters: Latin, Greek, Cyrillic, digits. Open test classes are 30 and open validation classes 15
other characters, Armenian and Georgian. Training counts are 5 + Lomax(α = 6, scale 550), the shape of ImageNet-LT, cut
at 250 and dealt out so that each alphabet has its share of head and tail; validation and test are balanced. Each split
has typefaces of its own, see ``glyph_alphabets``: those of test are met in neither training nor validation, and open
images come from the typefaces of the known images they are set against. Outliers, which some methods train on, are
signs that are no letters, in the typefaces of training.

Every image is drawn from a key (seed, split, index): nothing depends on order or on how many are drawn at a time.
Another FreeType (in Pillow) or another matplotlib may round an outline differently and move a grey value or two; the
dataset's digest is taken over the pixels, so that a run knows.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from oltr_cli.data.glyphs import alphabets
from oltr_cli.data.longtail import assign_counts, pareto_counts
from oltr_cli.protocol.open_sets import OUTLIERS
from oltr_cli.recipe.glyphs import GlyphsSpec

if TYPE_CHECKING:
    from torch import Tensor

# Raise it whenever the same spec draws other splits, pixels, labels or names than before: caches made earlier are then
# left.
DRAWING_VERSION = 2
_BATCH = 128  # images drawn at a time; has no influence on them
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ArraySplit:
    """One split in memory or mapped from a file: images uint8 (N, H, W), labels int64 (N,), −1 = open."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: list[str]
    class_names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> "Tensor":
        """Image as uint8 (1, H, W), a copy."""
        import torch

        return torch.from_numpy(np.array(self.images[index])[None])

    def joined(self, other: "ArraySplit") -> "ArraySplit":
        """The images of both, those of ``other`` last; a copy in memory."""
        images, labels = np.concatenate([self.images, other.images]), np.concatenate([self.labels, other.labels])
        return ArraySplit(images, labels, [*self.names, *other.names], self.class_names)


@dataclass(frozen=True)
class SplitPlan:
    """What a split holds before anything is drawn: for each image its label, character, typeface and number."""

    split: str
    labels: NDArray[np.int64]
    characters: list[str]
    faces: list[str]
    numbers: list[int]

    @property
    def names(self) -> list[str]:
        """Such as ``train/U+0414 DejaVuSans-Bold #12``; every image has another name."""
        drawn = zip(self.characters, self.faces, self.numbers, strict=True)
        return [f"{self.split}/U+{ord(c):04X} {face} #{number}" for c, face, number in drawn]


def known_characters(spec: GlyphsSpec) -> str:
    """The known characters by label; fewer than all of them are taken evenly from all alphabets."""
    return _evenly(alphabets.KNOWN, spec.known_classes)


def class_names(spec: GlyphsSpec) -> list[str]:
    """Names of the known classes by label, such as ``Д (Cyrillic)``."""
    return [f"{c} ({alphabets.script_of(c)})" for c in known_characters(spec)]


def training_counts(spec: GlyphsSpec) -> NDArray[np.int64]:
    """Training images of each known class (K,)."""
    counts = pareto_counts(
        spec.known_classes,
        floor=spec.tail_floor,
        alpha=spec.tail_alpha,
        scale=spec.tail_scale,
        maximum=spec.tail_max,
    )
    return assign_counts(counts, [alphabets.script_of(c) for c in known_characters(spec)], spec.seed)


def plan(spec: GlyphsSpec) -> dict[str, SplitPlan]:
    """The contents of all splits, in the order train, val, test, open, open_val, open_train; nothing is drawn."""
    known = known_characters(spec)
    opened = _evenly(alphabets.OPEN, spec.open_classes)
    opened_val = _evenly(alphabets.OPEN_VAL, spec.open_val_classes)
    outliers = _evenly(alphabets.OUTLIERS, spec.open_classes)

    def alike(characters: str, number: int) -> NDArray[np.int64]:
        return np.full(len(characters), number)

    return {
        "train": _plan("train", known, training_counts(spec), alphabets.TRAIN_FACES, is_open=False),
        "val": _plan("val", known, alike(known, spec.val_per_class), alphabets.VAL_FACES, is_open=False),
        "test": _plan("test", known, alike(known, spec.test_per_class), alphabets.TEST_FACES, is_open=False),
        "open": _plan("open", opened, alike(opened, spec.open_per_class), alphabets.TEST_FACES, is_open=True),
        "open_val": _plan(
            "open_val", opened_val, alike(opened_val, spec.open_per_class), alphabets.VAL_FACES, is_open=True
        ),
        OUTLIERS: _plan(OUTLIERS, outliers, alike(outliers, spec.open_per_class), alphabets.TRAIN_FACES, is_open=True),
    }


def draw(spec: GlyphsSpec, split: SplitPlan, advance: Callable[[int], None] | None = None) -> NDArray[np.uint8]:
    """The images (N, H, W) of one split; ``advance`` is told how many more are done."""
    from oltr_cli.data.glyphs.drawing import draw_batch, glyph_masks

    # Large splits share few masks: each is made once, the images differ by their distortion.
    characters, faces = "".join(sorted(set(split.characters))), tuple(sorted(set(split.faces)))
    masks = glyph_masks(characters, faces, 2 * spec.image_size).reshape(-1, 2 * spec.image_size, 2 * spec.image_size)
    row, column = {c: i for i, c in enumerate(characters)}, {f: i for i, f in enumerate(faces)}
    drawn = zip(split.characters, split.faces, strict=True)
    which = np.array([row[c] * len(faces) + column[face] for c, face in drawn])
    images = np.empty((len(which), spec.image_size, spec.image_size), dtype=np.uint8)
    for start in range(0, len(which), _BATCH):
        stop = min(start + _BATCH, len(which))
        keys: list[tuple[int | str, ...]] = [(spec.seed, "glyphs", split.split, i) for i in range(start, stop)]
        images[start:stop] = draw_batch(masks, which[start:stop], keys, spec.image_size, spec.strength)
        if advance:
            advance(stop - start)
    return images


def open_glyphs(
    spec: GlyphsSpec, progress: Progress | None = None
) -> tuple[dict[str, ArraySplit], list[str], str, dict[str, str]]:
    """The splits of ``plan``, class names, the digest of all pixels but the outliers', and theirs, by split.

    They are drawn now, or mapped from ``$XDG_CACHE_HOME/oltr`` (``~/.cache/oltr``) where they were drawn before: a
    sub-folder for each spec, drawing version and set of font files. A folder that cannot be written draws into memory.

    Args:
        progress: called with (done, total) images while drawing.
    Raises:
        DataProblem: matplotlib's typefaces are missing or lack a character.
    """
    from oltr_cli.data.glyphs.cache import cached

    plans = plan(spec)
    total, done = sum(len(split.labels) for split in plans.values()), 0

    def advance(number: int) -> None:
        nonlocal done
        done += number
        if progress:
            progress(done, total)

    def draw_all() -> dict[str, NDArray[np.uint8]]:
        return {name: draw(spec, split, advance) for name, split in plans.items()}

    shapes = {name: (len(split.labels), spec.image_size, spec.image_size) for name, split in plans.items()}
    images, pixels = cached(default_cache(), f"{DRAWING_VERSION} {spec.model_dump_json()}", shapes, draw_all)
    names = class_names(spec)
    splits = {name: ArraySplit(images[name], split.labels, split.names, names) for name, split in plans.items()}
    further = {OUTLIERS: pixels[OUTLIERS]}  # as in datasets of lists: runs without outliers do without it
    digest = hashlib.sha256("".join(pixels[name] for name in plans if name != OUTLIERS).encode())
    return splits, names, digest.hexdigest(), further


def default_cache() -> Path:
    """Where drawn datasets are kept between runs; deleting it costs some seconds of drawing."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "oltr"


def _plan(
    split: str, characters: str, counts: NDArray[np.int64], faces: tuple[str, ...], *, is_open: bool
) -> SplitPlan:
    """Images class by class; each class goes round the typefaces, starting at another one than its neighbours."""
    classes = np.repeat(np.arange(len(characters)), counts)
    numbers = np.arange(len(classes)) - np.repeat(np.cumsum(counts) - counts, counts)
    labels = np.full(len(classes), -1) if is_open else classes
    face_of = (numbers + classes) % len(faces)
    return SplitPlan(
        split,
        labels.astype(np.int64),
        [characters[c] for c in classes],
        [faces[f] for f in face_of],
        numbers.tolist(),
    )


def _evenly(characters: str, number: int) -> str:
    return "".join(characters[i * len(characters) // number] for i in range(number))
