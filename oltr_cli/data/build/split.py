"""Which photograph goes where: training, validation, test, and classes that are set aside as unknown. Seeded.

Which of a class's images are held out follows from their file names alone, not from the folder's place or the order in
which a disk lists it. Images of an earlier build stay in their split (``before``: image → split), and only new ones are
drawn, in numbers that restore the shares. Images that belong together (``together``) are placed first, group by group.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

import numpy as np

from oltr_cli.base.seeding import derive
from oltr_cli.base.text import counted
from oltr_cli.data.build.allocate import Evenness, allocate, evenness
from oltr_cli.data.longtail import pareto_counts
from oltr_cli.errors import UsageProblem, nearest, several

Photographs = dict[str, list[Path]]  # class → files
Splits = dict[str, Photographs]
Drawn = tuple[Splits, Evenness]

Before = Mapping[Path, str]  # image → its split in an earlier build
Together = Sequence[Sequence[Path]]  # groups of images that are to be in one split
NOTHING: Before = {}
OPEN_VAL_SHARE = 0.3  # of the kinds of open images; the others are the open test


@dataclass(frozen=True)
class Held:
    """Shares of a class's images that are held out of training."""

    val: float = 0.1
    test: float = 0.2

    def __post_init__(self) -> None:
        if not (0 < self.val < 1 and 0 < self.test < 1 and self.val + self.test < 1):
            raise UsageProblem(
                f"--val {self.val} and --test {self.test} must be above 0 and together leave images to train on"
            )

    def of(self, n: int) -> tuple[int, int]:
        """(val, test) images of a class of ``n``: of two images one goes to test, of three one to each, of one none."""
        if n < 2:
            return 0, 0
        if n == 2:
            return 0, 1
        test = min(max(1, round(n * self.test)), n - 2)
        return min(max(1, round(n * self.val)), n - test - 1), test


@dataclass(frozen=True)
class Tail:
    """The Pareto tail that is drawn from classes with enough images."""

    alpha: float = 6.0
    maximum: int = 1280
    minimum: int = 5

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.alpha < float("inf"):
            problems.append(f"--alpha {self.alpha} must be above 0")
        if self.minimum < 1:
            problems.append(f"--min {self.minimum} must be at least 1")
        if self.maximum < self.minimum:
            problems.append(f"--max {self.maximum} is below --min {self.minimum}")
        if problems:
            raise UsageProblem(several("the tail", problems))

    def counts(self, available: Sequence[int]) -> list[int]:
        """Training images of each class, the largest first, for classes that have ``available`` (falling).

        The first class gets ``maximum``, or all it has; the last about ``minimum``; those in between get the quantiles
        of minimum + Lomax(alpha). No class gets more than it has.
        """
        largest = min(self.maximum, available[0])
        smallest = min(self.minimum, largest)
        first_excess = float(np.expm1(np.log(2 * len(available)) / self.alpha))  # of the first class, at scale 1
        counts = pareto_counts(
            len(available),
            floor=smallest,
            alpha=self.alpha,
            scale=(largest - smallest) / first_excess,
            maximum=largest,
        )
        return np.minimum(counts, available).tolist()


def split_as_is(known: Photographs, held: Held, seed: int, before: Before = NOTHING, together: Together = ()) -> Drawn:
    """Every image is used, and each class holds out its shares, so all splits have the classes' own proportions."""
    return _split(known, {name: held.of(len(files)) for name, files in known.items()}, seed, before, together)


def split_with_tail(
    known: Photographs, held: Held, seed: int, tail: Tail, before: Before = NOTHING, together: Together = ()
) -> Drawn:
    """Validation and test with equally many images per class, and training images drawn so that they form ``tail``.

    The shares are those of a class of median size. A class that would be left with fewer than ``tail.minimum`` training
    images holds out its own shares, if these are smaller. The classes with the most images make the head.
    """
    val, test = held.of(median_low(map(len, known.values())))
    numbers = {}
    for name, files in known.items():
        small_val, small_test = held.of(len(files))
        enough = len(files) - val - test >= tail.minimum
        numbers[name] = (val, test) if enough else (min(val, small_val), min(test, small_test))
    splits, even = _split(known, numbers, seed, before, together)
    draw_tail(splits["train"], seed, tail)
    return splits, even


def split_as_given(
    known: Photographs,
    given: Mapping[Path, str],
    held: Held,
    seed: int,
    before: Before = NOTHING,
    together: Together = (),
) -> Drawn:
    """Each file in the split that ``given`` names, if it names one; the others are drawn.

    If every file has a split, but none is for validation or for the test, these come out of training.
    """
    splits: Splits = {"train": {}, "val": {}, "test": {}}
    for name, files in known.items():
        if any(path not in given for path in files):
            numbers = {name: held.of(len(files)) for name, files in known.items()}
            return _split(known, numbers, seed, {**before, **given}, together)
        for path in files:
            splits[given[path]].setdefault(name, []).append(path)
    val, test = not splits["val"], not splits["test"]
    shares = {name: held.of(len(files)) for name, files in splits["train"].items()}
    numbers = {name: (share[0] * val, share[1] * test) for name, share in shares.items()}
    drawn, even = _split(splits["train"], numbers, seed, before, together if val or test else ())
    return splits | {split: drawn[split] for split in ("train", *["val"] * val, *["test"] * test)}, even


def draw_tail(train: Photographs, seed: int, tail: Tail) -> None:
    """Keep those training images that form ``tail``."""
    ranked = sorted(train, key=lambda name: (-len(train[name]), derive(seed, "rank", name), name))
    for name, count in zip(ranked, tail.counts([len(train[name]) for name in ranked]), strict=True):
        train[name] = sorted(_shuffled(train[name], seed, "tail", name)[:count])


def split_open(groups: Photographs, seed: int, together: Together = ()) -> tuple[list[Path], list[Path]]:
    """(open test, open validation): different groups if there are two or more, else images of the only one."""
    if len(groups) == 1:
        name, files = next(iter(groups.items()))
        there = set(files)
        unit_of = {path: unit for unit in ([p for p in group if p in there] for group in together) for path in unit}
        most = max(1, len(files) // 4) if len(files) > 1 else 0
        val: set[Path] = set()
        for path in _shuffled(files, seed, "open", name):
            unit = unit_of.get(path, [path])
            if path not in val and len(val) + len(unit) <= most:
                val.update(unit)
        return sorted(there - val), sorted(val)
    aside, rest = set_aside(groups, max(1, round(len(groups) * OPEN_VAL_SHARE)), seed)
    return [path for files in rest.values() for path in files], [path for files in aside.values() for path in files]


def set_aside(groups: Photographs, which: Sequence[str] | int, seed: int) -> tuple[Photographs, Photographs]:
    """(set aside, the rest): the classes that ``which`` names, or that many, drawn by seed.

    Raises:
        UsageProblem: a class that does not exist, or more classes than there are.
    """
    if isinstance(which, int):
        if not 0 <= which <= len(groups):
            raise UsageProblem(
                f"--open-classes {which}: there {'is' if len(groups) == 1 else 'are'} {counted(len(groups), 'class')}"
            )
        names = set(sorted(groups, key=lambda name: (derive(seed, "set aside", name), name))[:which])
    else:
        names = {unicodedata.normalize("NFC", name) for name in which}
        for name in sorted(names - set(groups)):
            raise UsageProblem(f"--open-classes: no class '{name}'{nearest(name, groups)}")
    return {n: f for n, f in groups.items() if n in names}, {n: f for n, f in groups.items() if n not in names}


def _split(
    known: Photographs, numbers: dict[str, tuple[int, int]], seed: int, before: Before, together: Together
) -> Drawn:
    """The (val, test) images of each class by ``numbers``, with those that it had; the rest is for training."""
    splits: Splits = {"train": {}, "val": {}, "test": {}}
    before = {**before, **allocate(known, numbers, together, before, seed)}
    for name, files in known.items():
        order = _shuffled(files, seed, "split", name)
        parts = {split: [path for path in order if before.get(path) == split] for split in splits}
        new = [path for path in order if path not in before]
        for split, number in zip(("test", "val"), numbers[name][::-1], strict=True):
            lacking = max(0, number - len(parts[split]))
            if split == "test" and numbers[name][0] and not parts["val"] and parts["train"]:
                lacking = min(lacking, max(1, len(new) - 1))  # groups are for training: one is left for validation
            parts[split] += new[:lacking]
            new = new[lacking:]
        parts["train"] += new
        for split, part in parts.items():
            if part:
                splits[split][name] = sorted(part)
    return splits, evenness(known, numbers, together, splits)


def _shuffled(files: list[Path], seed: int, purpose: str, name: str) -> list[Path]:
    """Sorted by a hash of seed, purpose, class and file name."""
    keys = {path: derive(seed, purpose, name, unicodedata.normalize("NFC", path.name)) for path in files}
    return sorted(files, key=lambda path: (keys[path], path))
