"""Training and validation lists drawn with exactly the published number of images of each class."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from importlib import resources

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted, some
from oltr_cli.data.prepare.draw import Row, split_class, too_few
from oltr_cli.data.prepare.official import Official
from oltr_cli.data.prepare.splits import SplitLists


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
    if short := too_few({name: len(files) for name, files in left.items()}, needed):
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
