"""Splits drawn class by class from folders of images: how many each class gives, and which ones.

Which images are drawn follows from the names of the class and of the files, so that a second call, another machine and
another order of reading give the same lists.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources

from oltr_cli.base.display import Display
from oltr_cli.base.seeding import derive
from oltr_cli.base.text import counted, some
from oltr_cli.data.prepare.common import Row, drawn
from oltr_cli.data.prepare.official import Official
from oltr_cli.data.prepare.splits import SplitLists


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


def published_counts(file: str) -> dict[str, int]:
    """Class → training images by a ``*_counts.txt`` beside this module, in the order of the labels."""
    text = (resources.files("oltr_cli.data.prepare") / file).read_text(encoding="utf-8")
    return {name: int(count) for name, count in map(str.split, text.splitlines())}


def draw_train_val(
    dataset: str,
    folder: str,
    images: Mapping[str, Sequence[str]],
    counts: Mapping[str, int],
    val: int,
    class_of: Callable[[str], str],
    official: Mapping[str, Official],
    made: SplitLists,
    display: Display,
) -> None:
    """Add training and validation lists to ``made`` where there is no official one, or why they cannot be drawn.

    Args:
        folder: below the root; ``images``: class → names of the files in its folder there.
        counts: class → training images, in the order of the labels; ``val``: validation images of each.
        class_of: listed path → class.
        official: split → its list; its images are left out of what is drawn.
    """
    listed: dict[str, set[str]] = defaultdict(set)
    there = [split for split in ("train", "val") if split in official]
    for split in there:
        for path in official[split].names:
            listed[class_of(path)].add(path.rpartition("/")[2])
    wanted = {name: {"val": val, "train": count} for name, count in counts.items()}
    wanted = {name: {s: size for s, size in both.items() if s not in there} for name, both in wanted.items()}
    left = {name: [file for file in images[name] if file not in listed[name]] for name in counts}
    needed = {name: sum(both.values()) for name, both in wanted.items()}
    if short := [f"{n} {len(left[n]):,} of {needed[n]:,}" for n in needed if len(left[n]) < needed[n]]:
        besides = f" apart from those in the official {' and '.join(there)} list" if there else ""
        classes = counted(len(short), "class")
        made.problems.append(f"{folder}/ has too few images of {classes}{besides}: {some(short)}")
        return
    origin = {
        "train": "drawn: the published number of images of each class, by the names of the files",
        "val": f"drawn: {val} training images of each class that are not in train",
    }
    rows: dict[str, list[Row]] = defaultdict(list)
    with display.bar("drawing", len(counts), "classes") as bar:
        for label, name in enumerate(counts):
            for split, files in split_class(dataset, name, left[name], wanted[name]).items():
                rows[split] += [(f"{folder}/{name}/{file}", label) for file in files]
            bar.advance()
    for split, lines in rows.items():
        made.draw(split, lines, origin[split])
