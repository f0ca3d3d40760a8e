"""The lists of one dataset while they are put together: official ones as they are, others from what was drawn.

All that is wrong is collected, and nothing is written before everything is right.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted, some
from oltr_cli.data.inspect.files import file_sizes
from oltr_cli.data.inspect.published import PUBLISHED
from oltr_cli.data.lists.lists import find_list, read_list
from oltr_cli.data.lists.locate import find_files
from oltr_cli.data.prepare.common import SPLITS, Prepared, Row, as_lines, lists_to_write, write_lists
from oltr_cli.data.prepare.folders import where_missing
from oltr_cli.data.prepare.official import Official
from oltr_cli.errors import DataProblem, several

OFFICIAL = "the official list"


class SplitLists:
    """Lists for images below ``root``, which go into ``folder``: ``lists``, or ``root`` itself.

    Raises:
        DataProblem: there is no ``root``; ``hint`` says which folder is meant.
    Attributes:
        problems: what is wrong so far, a line each.
        warnings: what the user should know although nothing is wrong.
    """

    def __init__(self, root: Path, lists: Path | None, hint: str) -> None:
        if not root.is_dir():
            raise DataProblem(f"{root}: no such folder; give --root, {hint}")
        self.root, self.folder = root, lists or root
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._texts: dict[str, str] = {}
        self._files: dict[str, list[str | None]] = {}
        self._origin: dict[str, str] = {}

    def take(self, split: str, listed: Official, rename: Callable[[str], str] | None = None, if_none: str = "") -> None:
        """Take over an official list, once its images are found.

        Args:
            rename: listed path → path below the root, if folders have other names here.
            if_none: what to do if all of the images are missing.
        """
        names = [rename(name) for name in listed.names] if rename else listed.names
        found = find_files(self.root, {split: names}).files[split]
        if None in found:
            self.problems.append(self._missing(listed.path, names, found, if_none))
            return
        self._files[split], self._origin[split] = found, OFFICIAL
        if names != listed.names:
            self._texts[split] = as_lines(f"{n} {i}" for n, i in zip(names, listed.labels.tolist(), strict=True))
            self._origin[split] += ", paths adapted to the folders here"
        elif not self._is_read_from(split, listed.path):
            self._texts[split] = listed.path.read_bytes().decode()

    def draw(self, split: str, rows: Iterable[Row], origin: str) -> None:
        """Make a list of (path, label)."""
        ordered = sorted(rows, key=lambda row: (row[1], row[0]))
        self._texts[split] = as_lines(f"{name} {label}" for name, label in ordered)
        self._files[split], self._origin[split] = [name for name, _ in ordered], origin

    def keep(self, split: str) -> bool:
        """Keep an existing list of our own name unchanged, once its images are found."""
        path = self.folder / f"{split}.txt"
        if not path.is_file():
            return False
        names, _ = read_list(path)
        found = find_files(self.root, {split: names}).files[split]
        if None in found:
            self.problems.append(self._missing(path, names, found, ""))
        self._files[split], self._origin[split] = found, "already there, unchanged"
        return True

    def open_images(
        self,
        dataset: str,
        prefix: str,
        official: Mapping[str, Official],
        read: Callable[[], Mapping[str, Mapping[str, Sequence[str]]]],
        *,
        if_none: str,
        without: str,
        except_for: str = "",
    ) -> None:
        """The official open images of ``dataset``, all those in folders for them, or an existing list.

        Args:
            prefix: the official list is ``PREFIX_open.txt``.
            read: folder below the root → folder in it ("" is itself) → images; called without an official list alone.
            if_none: as of ``take``. without: what to add, where there are no open images at all.
        """
        if "open" in official:
            self.take("open", official["open"], if_none=if_none)
            return
        found = {
            folder: [
                f"{folder}/{name}/{file}" if name else f"{folder}/{file}" for name in inside for file in inside[name]
            ]
            for folder, inside in read().items()
        }
        rows = [(path, -1) for paths in found.values() for path in paths]
        if rows:
            used = " and ".join(f"{folder}/" for folder, paths in found.items() if paths)
            self.warnings.append(
                f"{prefix}_open.txt is missing: open is all of {used}, {counted(len(rows), 'image')} "
                f"({PUBLISHED[dataset].images['open']:,} in the paper){except_for}"
            )
            self.draw("open", rows, f"all images of {used}")
        elif not self.keep("open"):
            self.warnings.append(f"no open images: {without}; until then there is no open-set evaluation")

    def finish(self, num_classes: int, class_lines: Sequence[str], display: Display) -> Prepared:
        """Write what does not exist yet, with ``classes.txt`` if there are lines for it.

        Raises:
            DataProblem: something was wrong, or a list of another origin is in the way.
        """
        for split in SPLITS:
            if split not in self._files:
                self.keep(split)
        self.fail_if_wrong()
        texts = {"classes": as_lines(class_lines)} if class_lines else {}
        texts |= {split: self._texts[split] for split in SPLITS if split in self._texts}
        new = lists_to_write(self.folder, texts)
        sizes = file_sizes(self.root, self._files, display)
        if empty := [file for file, size in sizes.items() if size == 0]:
            self.warnings.append(
                f"{len(empty):,} of {counted(len(sizes), 'listed image')} empty; was the download cut short? "
                f"{some(empty)}"
            )
        prepared = Prepared(self.root, num_classes, lists=self.folder, origin=self._origin, warnings=self.warnings)
        write_lists(prepared, texts, new)
        return prepared

    def fail_if_wrong(self) -> None:
        """Raise DataProblem with all problems so far, if there are any."""
        if self.problems:
            raise DataProblem(several(str(self.root), self.problems))

    def _is_read_from(self, split: str, path: Path) -> bool:
        """Whether a run finds this very list where it is; in another folder it must be copied."""
        try:
            return find_list(self.folder, split) == path
        except DataProblem:
            return False

    def _missing(self, path: Path, names: list[str], found: list[str | None], if_none: str) -> str:
        """Which listed images are missing."""
        missing = [name for name, file in zip(names, found, strict=True) if file is None]
        text = f"{path.name}: {len(missing):,} of {counted(len(names), 'image')} missing"
        if len(missing) == len(names) and if_none:
            return f"{text}, the first {names[0]}; {if_none}"
        return f"{text}; {where_missing(self.root, missing)}"
