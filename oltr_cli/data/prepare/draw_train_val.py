"""Training and validation lists drawn with exactly the published number of images of each class."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class TrainAndVal:
    """Training and validation lists to be drawn from one folder, if there is no official list of them.

    Attributes:
        folder: below the root; ``images``: class → names of the files in its folder there.
        counts: class → training images, in the order of the labels; ``val``: validation images of each.
        class_of: listed path → class.
        origin: split → where a list that is drawn comes from.
    """

    dataset: str
    folder: str
    images: Mapping[str, Sequence[str]]
    counts: Mapping[str, int]
    val: int
    class_of: Callable[[str], str]
    origin: Mapping[str, str]

    def draw(self, official: Mapping[str, Official], made: SplitLists, display: Display) -> None:
        """Add what is drawn to ``made``, or why it cannot be drawn; images of an official list are left out."""
        listed: dict[str, set[str]] = defaultdict(set)
        there = [split for split in ("train", "val") if split in official]
        for split in there:
            for path in official[split].names:
                listed[self.class_of(path)].add(path.rpartition("/")[2])
        wanted = {name: {"val": self.val, "train": count} for name, count in self.counts.items()}
        wanted = {name: {s: size for s, size in both.items() if s not in there} for name, both in wanted.items()}
        left = {name: [file for file in self.images[name] if file not in listed[name]] for name in self.counts}
        needed = {name: sum(both.values()) for name, both in wanted.items()}
        if short := too_few({name: len(files) for name, files in left.items()}, needed):
            besides = f" apart from those in the official {' and '.join(there)} list" if there else ""
            classes = counted(len(short), "class")
            made.problems.append(f"{self.folder}/ has too few images of {classes}{besides}: {some(short)}")
            return
        rows: dict[str, list[Row]] = defaultdict(list)
        with display.bar("drawing", len(self.counts), "classes") as bar:
            for label, name in enumerate(self.counts):
                for split, files in split_class(self.dataset, name, left[name], wanted[name]).items():
                    rows[split] += [(f"{self.folder}/{name}/{file}", label) for file in files]
                bar.advance()
        for split, lines in rows.items():
            made.draw(split, lines, self.origin[split])
