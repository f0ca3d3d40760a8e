"""Which split each group of photographs goes to, so that no group is in two and class shares stay as even as they can.

Groups are placed one after the other, the largest first, each where it brings the counts of its classes closest to what
was wanted (squared differences relative to the wanted counts, as in a χ² statistic). A split that has nothing of a
class yet counts for more once the class has only a few groups left: of three groups, one goes to each split.
scikit-learn's StratifiedGroupKFold has the same idea, but only equal folds, none of which has to have images of each
class, and takes time in proportion to groups × folds × classes.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oltr_cli.base.seeding import derive

# Of a class's images: what its first image in a split is worth if few groups are left. A third of the images in a
# split for which a tenth is wanted, rounded down, costs up to 1.1.
_NOTHING_YET = 1.5


@dataclass(frozen=True)
class Evenness:
    """How well groups could be kept together.

    Attributes:
        groups: of two images or more. images: in them.
        largest: images of the largest group.
        name, split, share, wanted: the class whose share of images in a split is furthest from the wanted one; "" if
            all are as wanted.
        without: the classes that have no images in a split because of their groups.
    """

    groups: int
    images: int
    largest: int
    name: str
    split: str
    share: float
    wanted: float
    without: dict[str, list[str]]


def allocate(
    known: Mapping[str, Sequence[Path]],
    numbers: Mapping[str, tuple[int, int]],
    groups: Sequence[Sequence[Path]],
    fixed: Mapping[Path, str],
    seed: int,
) -> dict[Path, str]:
    """The split of each image of ``groups``, "train", "val" or "test".

    Args:
        known: images of each class. numbers: how many (val, test) of each class are wanted.
        groups: of two images or more, no image in two of them.
        fixed: image → the split that it has to be in. Others of its group follow it, or most of them.
    """
    class_of = {path: name for name, files in known.items() for path in files}
    wanted = {
        name: {"train": len(files) - sum(numbers[name]), "val": numbers[name][0], "test": numbers[name][1]}
        for name, files in known.items()
    }
    here = {name: dict.fromkeys(("train", "val", "test"), 0) for name in known}
    single = {name: len(files) for name, files in known.items()}  # free images of no group
    waiting: dict[str, int] = defaultdict(int)  # groups with free images that have no split yet
    placed: dict[Path, str] = {}
    free: list[tuple[Counter[str], list[Path]]] = []
    for path, name in class_of.items():
        if path in fixed:
            here[name][fixed[path]] += 1
            single[name] -= 1
    for group in groups:
        new = [path for path in group if path in class_of and path not in fixed]
        of_class = Counter(class_of[path] for path in new)
        bound = Counter(fixed[path] for path in group if path in fixed)
        if len(new) + bound.total() < 2:
            continue
        for name, count in of_class.items():
            single[name] -= count
        if bound:
            split = max(bound, key=lambda split: (bound[split], split == "train"))
            _place(new, of_class, split, placed, here)
        elif new:
            free.append((of_class, new))
            for name in of_class:
                waiting[name] += 1
    keys = {id(new): derive(seed, "group", min(path.name for path in new)) for _, new in free}
    free.sort(key=lambda item: (-len(item[1]), keys[id(item[1])], min(item[1])))
    for of_class, new in free:
        for name in of_class:
            waiting[name] -= 1
        costs = {}
        needed = any(not here[c]["train"] and not waiting[c] and single[c] < 3 for c in of_class)
        for split in ("train",) if needed else ("test", "val", "train"):
            costs[split] = _cost(of_class, split, here, wanted)
            for name in of_class:
                empty = [s for s, number in wanted[name].items() if number and not here[name][s]]
                if split in empty and waiting[name] + single[name] < len(empty):
                    costs[split] -= _NOTHING_YET * len(known[name])
        _place(new, of_class, min(costs, key=lambda split: costs[split]), placed, here)
    return placed


def evenness(
    known: Mapping[str, Sequence[Path]],
    numbers: Mapping[str, tuple[int, int]],
    groups: Sequence[Sequence[Path]],
    splits: Mapping[str, Mapping[str, Sequence[Path]]],
) -> Evenness:
    """How far ``splits`` (split → class → images) are from ``numbers``, before a tail is drawn."""
    worst = ("", "", 0.0, 0.0)
    without: dict[str, list[str]] = {}
    for name, files in known.items():
        for split, number in zip(("val", "test"), numbers[name], strict=True):
            found = len(splits[split].get(name, ()))
            share, wanted = found / len(files), number / len(files)
            if number and not found:
                without.setdefault(split, []).append(name)
            if abs(share - wanted) > abs(worst[2] - worst[3]):
                worst = (name, split, share, wanted)
    sizes = [len(group) for group in groups]
    return Evenness(len(sizes), sum(sizes), max(sizes, default=0), *worst, without)


def _place(
    new: list[Path], of_class: Counter[str], split: str, placed: dict[Path, str], here: dict[str, dict[str, int]]
) -> None:
    for name, count in of_class.items():
        here[name][split] += count
    placed |= dict.fromkeys(new, split)


def _cost(
    of_class: Counter[str], split: str, here: dict[str, dict[str, int]], wanted: dict[str, dict[str, int]]
) -> float:
    """By how much the squared differences grow if so many images come to ``split``."""
    total = 0.0
    for name, count in of_class.items():
        aim = wanted[name][split]
        total += count * (count + 2 * (here[name][split] - aim)) / max(aim, 0.5)
    return total
