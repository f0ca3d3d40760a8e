"""Splits drawn class by class from folders of images: how many each class gives, and which ones.

Which images are drawn follows from the names of the class and of the files, so that a second call, another machine and
another order of reading give the same lists.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from oltr_cli.base.seeding import derive
from oltr_cli.base.text import some
from oltr_cli.data.prepare.common import drawn

Row = tuple[str, int]  # path below the root, label


def deal_counts(dataset: str, counts: Iterable[int], available: Mapping[str, int]) -> dict[str, int]:
    """Deal ``counts`` out to as many classes, by seed, none more than it has; class → its count.

    Args:
        available: class → images that it can give; enough classes can give the largest counts.
    """
    waiting = sorted(available, key=lambda name: (derive(dataset, "long tail", name), name))
    dealt: dict[str, int] = {}
    # The largest count first: a class that can give this many can give all that are dealt later, so that the first that
    # fits is as good as any.
    for count in sorted(counts, reverse=True):
        chosen = next(name for name in waiting if available[name] >= count)
        waiting.remove(chosen)
        dealt[chosen] = count
    return dealt


def split_class(dataset: str, name: str, images: Sequence[str], sizes: Mapping[str, int]) -> dict[str, list[str]]:
    """``sizes`` of the ``images`` of class ``name`` for each split, sorted; no image is in two."""
    order = drawn(dataset, f"split {name}", list(images), sum(sizes.values()))
    taken: dict[str, list[str]] = {}
    start = 0
    for split, size in sizes.items():
        taken[split] = sorted(order[start : start + size])
        start += size
    return taken


def unequal(classes: Sequence[str], rows: Iterable[Row], wanted: int) -> str:
    """Which classes have another number of ``rows`` than is wanted, with that number; "" if none has."""
    found = Counter(label for _, label in rows)
    return some([f"{name} {found[label]}" for label, name in enumerate(classes) if found[label] != wanted])


def too_few(available: Mapping[str, int], needed: Mapping[str, int]) -> list[str]:
    """``name 12 of 45`` for each class that has fewer images than are needed."""
    return [f"{name} {available[name]:,} of {needed[name]:,}" for name in needed if available[name] < needed[name]]
