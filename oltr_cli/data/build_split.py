"""Which photograph goes where: training, validation, test, and classes that are set aside as unknown. Seeded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oltr_cli.data.longtail import pareto_counts
from oltr_cli.errors import UsageProblem, nearest
from oltr_cli.randomness import generator

Photographs = dict[str, list[Path]]  # class → files
Splits = dict[str, Photographs]


@dataclass(frozen=True)
class Held:
    """Shares of a class's images that are held out of training."""

    val: float = 0.1
    test: float = 0.2

    def __post_init__(self) -> None:
        if not (0 < self.val < 1 and 0 < self.test < 1 and self.val + self.test < 1):
            raise UsageProblem(
                f"--val {self.val} and --test {self.test} must be shares above 0 that leave some to train"
            )

    def of(self, n: int) -> tuple[int, int]:
        """(val, test) images of a class of ``n``: one of two goes to test, of three one to each, of one none."""
        if n < 2:
            return 0, 0
        if n == 2:
            return 0, 1
        test = min(max(1, round(n * self.test)), n - 2)
        return min(max(1, round(n * self.val)), n - test - 1), test


def split_as_is(known: Photographs, held: Held, seed: int) -> Splits:
    """Every image is used: the training set keeps the tail that nature gave."""
    splits: Splits = {"train": {}, "val": {}, "test": {}}
    for name, files in known.items():
        order = _shuffled(files, seed, name)
        val, test = held.of(len(files))
        splits["test"][name] = sorted(order[:test])
        splits["val"][name] = sorted(order[test : test + val])
        splits["train"][name] = sorted(order[test + val :])
    return splits


def split_with_tail(known: Photographs, held: Held, seed: int, alpha: float, maximum: int, minimum: int) -> Splits:
    """As ``split_as_is``, then training images are drawn so that they fall off as a Pareto tail does.

    The classes with the most images make the head; none gets more than it has.
    """
    splits = split_as_is(known, held, seed)
    train = splits["train"]
    counts = pareto_counts(len(known), floor=minimum, alpha=alpha, maximum=maximum)
    ranked = sorted(train, key=lambda name: (-len(train[name]), name))
    for name, count in zip(ranked, counts.tolist(), strict=True):
        train[name] = sorted(_shuffled(train[name], seed, f"tail {name}")[:count])
    return splits


def set_aside(groups: Photographs, which: Sequence[str] | int, seed: int) -> tuple[Photographs, Photographs]:
    """(set aside, the rest): the classes ``which`` names, or as many as it says, drawn by seed.

    Raises:
        UsageProblem: a class that is not there, or more than there are.
    """
    if isinstance(which, int):
        if not 0 <= which <= len(groups):
            raise UsageProblem(f"--open-classes {which}: there are {len(groups)} classes")
        names = set(_drawn_names(list(groups), which, seed))
    else:
        for name in which:
            if name not in groups:
                raise UsageProblem(f"--open-classes: no class '{name}'{nearest(name, groups)}")
        names = set(which)
    return {n: f for n, f in groups.items() if n in names}, {n: f for n, f in groups.items() if n not in names}


def _drawn_names(names: list[str], count: int, seed: int) -> list[str]:
    order = generator(seed, "set aside").permutation(len(names))
    return [sorted(names)[i] for i in order[:count]]


def _shuffled(files: list[Path], seed: int, purpose: str) -> list[Path]:
    order: np.ndarray = generator(seed, "build", purpose).permutation(len(files))
    return [sorted(files)[i] for i in order]
