"""Finding the file that a format means: by a path, or by a URL whose image was downloaded below a folder."""

import os
import stat
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from oltr_cli.data.images import KNOWN_SUFFIXES

# Names that say a size and not which image, the best first: the folder's name counts.
_SIZES = ("original", "full", "large", "medium", "image", "photo", "file", "small", "thumb", "square")

_Parts = tuple[str, ...]  # of a path, from the folder of all


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; False for what no file can be called: too long, with a zero byte."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


class LocalFiles:
    """Images below ``folder`` (hidden ones are not seen), read when a path does not lead to one directly."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._index: dict[str, list[_Parts]] | None = None
        self._by_folder: dict[tuple[str, ...], dict[str, list[_Parts]]] = {}

    def find(self, reference: str, *names: str) -> Path | None:
        """The image at a path or a URL; else the one below the folder that is called like it, or one of ``names``.

        A name may lack its suffix (``12345`` finds ``12345.jpg``, and ``12345/medium.jpg``). Of several files of one
        name the one is taken whose folders fit the reference best; None if two fit equally well, or none.
        """
        try:
            url = urlsplit(reference)
        except ValueError:  # brackets that are no IPv6 address
            return None
        if url.scheme == "file":
            path = Path(os.fsdecode(unquote_to_bytes(url.path)))
            return path if is_file(path) else None
        remote = url.scheme in ("http", "https")
        if not remote and reference:
            path = Path(os.path.normpath(self.folder / reference.replace("\\", "/")))
            if is_file(path):
                return path
        parts = tuple(unquote(url.path).strip("/").split("/")) if remote else tuple(Path(reference).parts)
        candidates = [parts] if parts else []  # a mere dot has none
        if remote and len(parts) > 1:
            candidates.append((*parts[:-2], parts[-2]))  # …/photos/12345/medium.jpg saved as 12345.jpg
        candidates += [(name,) for name in names if name]
        for candidate in candidates:
            if found := self._best(candidate):
                return found
        return None

    def _best(self, parts: tuple[str, ...]) -> Path | None:
        """The file whose last folders agree with ``parts`` the longest; it must be the only one."""
        if self._index is None:
            self._index = self._read()
        key = [parts[-1].lower()]
        found = self._index.get(key[0], [])
        for folder in map(str.lower, reversed(parts[:-1])):
            if len(found) < 2:
                break
            below = self._divided(tuple(key), found)
            if folder not in below:
                break
            key.append(folder)
            found = below[folder]
        if len(found) != 1:
            return None
        folders = [one[-2].lower() for one in (found[0], parts) if len(one) > 1]
        if key[0].partition(".")[0] in _SIZES and (len(folders) < 2 or folders[0] != folders[1]):
            return None  # any image may be called so
        return self.folder.joinpath(*found[0])

    def _divided(self, key: tuple[str, ...], files: list[_Parts]) -> dict[str, list[_Parts]]:
        """``files`` that have the name and the innermost folders of ``key``, by the next folder; once for each key."""
        if key not in self._by_folder:
            self._by_folder[key] = defaultdict(list)
            for one in files:
                if len(one) > len(key):
                    self._by_folder[key][one[-1 - len(key)].lower()].append(one)
        return self._by_folder[key]

    def _read(self) -> dict[str, list[_Parts]]:
        index: dict[str, list[_Parts]] = defaultdict(list)
        for place, folders, files in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if name[0] != ".")
            below = Path(place).relative_to(self.folder).parts
            sizes: dict[str, str] = {}
            for name in sorted(files):
                stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122  fast for 200,000
                if name[0] != "." and suffix in KNOWN_SUFFIXES:
                    index[name.lower()].append((*below, name))
                    index[stem].append((*below, name))
                    sizes.update({stem: name} if stem in _SIZES else {})
            if sizes and below:
                index[below[-1].lower()].append((*below, sizes[min(sizes, key=_SIZES.index)]))
        return index
