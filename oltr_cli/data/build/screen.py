"""Which files may go into a dataset: complete images, no duplicates, with paths that a list can hold."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.display import Display
from oltr_cli.base.machine import cores
from oltr_cli.base.pool import over_files
from oltr_cli.base.text import some
from oltr_cli.data.build.find import listable
from oltr_cli.data.build.split import Photographs
from oltr_cli.data.images import check_image
from oltr_cli.data.inspect.near import look, near_copies
from oltr_cli.errors import DataProblem


class Checked:
    """Known and foreign photographs, filtered step by step; each step adds to ``warnings`` what it left out.

    Attributes:
        root: the folder that holds all of them; names in warnings start from it.
        given: the split of each file for which its folder or its table says one.
        near: groups of nearly identical images, once ``find_near`` has looked for them.
        sides: shorter side in pixels of every known image that can be read.
    """

    def __init__(
        self,
        known: Photographs,
        foreign: Photographs,
        root: Path,
        warnings: list[str],
        given: Mapping[Path, str],
        sizes: Mapping[Path, int],
    ) -> None:
        """Args: sizes: bytes of each file; one without is none, as a broken link."""
        self.known, self.foreign, self.root, self.warnings = known, foreign, root, warnings
        self.given = given
        self.sides: list[int] = []
        self.near: list[list[Path]] = []
        self._sizes = sizes
        self._thumbnails: dict[Path, NDArray[np.uint8]] = {}
        self._prefix = len(str(root / "x")) - 1

    def keep_listable(self) -> None:
        """Leave out paths that a list file cannot hold."""
        bad = {path for path in self._all() if not listable(self.name(path))}
        if bad:
            shown = some([repr(self.name(path)) for path in sorted(bad)])
            self.warnings.append(
                "left out, paths that a list cannot hold (line breaks, leading or trailing blanks, not UTF-8, …) "
                f"({len(bad):,}): {shown}"
            )
        self._drop(bad)

    def keep_readable(self, decode: bool, display: Display) -> None:
        """Leave out files that are not images or are cut short.

        Args:
            decode: decode every file in full; otherwise only headers and ends are looked at.
        """
        known = {path for files in self.known.values() for path in files}
        every = self._all()
        title = "decoding images" if decode else "reading images"
        reasons: dict[Path, str] = {}
        answers = over_files(look if decode else _glance, every, title, cores(), display)
        for path, answer in zip(every, answers, strict=True):
            if isinstance(answer, str):
                reasons[path] = answer
                continue
            side, thumbnail = answer
            if path in known:
                self.sides.append(side)
            if thumbnail is not None:
                self._thumbnails[path] = thumbnail
        if reasons:
            shown = some([f"{self.name(path)}: {reason}" for path, reason in sorted(reasons.items())])
            self.warnings.append(f"left out, unreadable files ({len(reasons):,}): {shown}")
        self._drop(set(reasons))

    def keep_one_of_each(self, display: Display) -> None:
        """Of files with the same bytes keep only the first, so that no image is in two splits; keep none if they are in
        several classes, or both known and foreign."""
        classes: dict[Path, set[str]] = defaultdict(set)
        for name, files in self.known.items():
            for path in files:
                classes[path].add(name)
        for path in (path for files in self.foreign.values() for path in files):
            classes[path].add("")  # no class has this name
        copies: set[Path] = set()
        contradictory: set[Path] = set()
        for same in _same_content(list(classes), self._sizes, display):
            if len(set().union(*(classes[path] for path in same))) > 1:
                contradictory.update(same)
            else:
                copies.update(sorted(same)[1:])
        if copies:
            self.warnings.append(
                f"left out, copies of another file of their class ({len(copies):,}): {self._few(copies)}"
            )
        if contradictory:
            self.warnings.append(
                "left out, the same image in several classes, or both known and open "
                f"({len(contradictory):,}): {self._few(contradictory)}"
            )
        self._drop(copies | contradictory)

    def find_near(self) -> None:
        """Look for nearly identical images among those that were decoded."""
        self.near = near_copies({path: self._thumbnails[path] for path in self._all() if path in self._thumbnails})

    def name(self, path: Path) -> str:
        """The path as lists hold it: from the root, with slashes."""
        return str(path)[self._prefix :].replace(os.sep, "/")  # pathlib would take seconds for 50,000

    def _all(self) -> list[Path]:
        """Every file once."""
        return list(dict.fromkeys(p for part in (self.known, self.foreign) for files in part.values() for p in files))

    def _few(self, paths: set[Path]) -> str:
        return some([self.name(path) for path in sorted(paths)])

    def _drop(self, paths: set[Path]) -> None:
        for part in (self.known, self.foreign):
            for name in list(part):
                part[name] = [path for path in part[name] if path not in paths]
                if not part[name]:
                    del part[name]


def _glance(path: Path) -> tuple[int, None] | str:
    """Shorter side in pixels of an image, from its header, or why it is none."""
    try:
        return min(check_image(path)), None
    except DataProblem as problem:
        return str(problem).removeprefix(f"{path}: ")


def _same_content(paths: list[Path], sizes: Mapping[Path, int], display: Display) -> list[list[Path]]:
    """The paths in groups of equal content. Only files of equal length are read."""
    try:
        by_size: dict[int, list[Path]] = defaultdict(list)
        for path in paths:
            by_size[sizes[path]].append(path)
        groups = [group for group in by_size.values() if len(group) == 1]
        suspects = [path for group in by_size.values() if len(group) > 1 for path in group]
        by_content: dict[bytes, list[Path]] = defaultdict(list)
        with display.bar("looking for copies", len(suspects)) as bar:
            for path in suspects:
                with path.open("rb") as file:
                    by_content[hashlib.file_digest(file, "sha256").digest()].append(path)
                bar.advance()
    except OSError as error:
        raise DataProblem(f"{error.filename}: can no longer be read ({error.strerror})") from None
    return groups + list(by_content.values())
