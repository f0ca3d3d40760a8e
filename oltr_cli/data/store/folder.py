"""Where stores are: a folder for each folder of images and shorter side. Needs no torch."""

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from oltr_cli.base.files import read_json, write_json
from oltr_cli.base.locks import Lock
from oltr_cli.data.store.shards import FORMAT, INDEX, Shard, read_shard
from oltr_cli.errors import OltrError
from oltr_cli.recipe.home import data_home

ABOUT = "store.json"


def cache_home() -> Path:
    """``$OLTR_CACHE``, or ``.store`` beside the datasets."""
    given = os.environ.get("OLTR_CACHE", "")
    return Path(given).expanduser() if given else data_home() / ".store"


def make_writable(folder: Path) -> None:
    """Make a folder of the cache, if it is not there.

    Raises:
        OltrError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OltrError(
            f"{folder}: cannot be created ({error.strerror}); set OLTR_CACHE to a writable folder"
        ) from None
    if not os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise OltrError(f"{folder}: cannot be written; set OLTR_CACHE to a writable folder")


def remove_folder(folder: Path) -> None:
    """Remove a folder of the cache with all that is in it.

    Raises:
        OltrError: it cannot be removed.
    """
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise OltrError(f"{folder}: cannot be removed ({error.strerror})") from None


@dataclass(frozen=True)
class StoreFolder:
    """The store of the images below ``root`` with a shorter side of at most ``side`` pixels; it need not exist.

    Attributes:
        dataset: the dataset it was first built for.
    """

    dataset: str
    root: Path
    side: int

    @property
    def path(self) -> Path:
        """Named by the folder of the images, so that recipes which agree share it."""
        digest = hashlib.sha256(f"{FORMAT} {self.root.resolve()}".encode()).hexdigest()[:8]
        name = re.sub(r"[^\w.-]", "_", self.root.resolve().name) or "images"
        return cache_home() / f"{name}-{self.side}px-{digest}"

    def lock(self) -> Lock:
        """Held by the process that builds."""
        self.create()
        return Lock(self.path / ".lock")

    def create(self) -> None:
        """Make the folder and say in it what it is.

        Raises:
            OltrError: it cannot be written.
        """
        make_writable(self.path)
        about = {"dataset": self.dataset, "root": str(self.root.resolve()), "side": self.side}
        said = read_json(self.path / ABOUT)
        if not isinstance(said, dict) or about.keys() - said.keys():  # missing or damaged
            write_json(self.path / ABOUT, about)

    def indices(self) -> list[Path]:
        """The index files of its shards, by name."""
        return sorted(self.path.glob(f"*{INDEX}"))

    def shards(self) -> list[Shard]:
        """Its shards, without those whose files do not fit together: another process may be writing them."""
        found = (read_shard(index) for index in self.indices())
        return [shard for shard in found if shard is not None]

    def remove(self) -> int:
        """Remove it; returns the bytes that are free now.

        Raises:
            OltrError: it cannot be removed.
        """
        freed = self.size()
        remove_folder(self.path)
        return freed

    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())


def find_stores() -> list[StoreFolder]:
    """All stores below ``cache_home()``, by name."""
    found = []
    for about in sorted(cache_home().glob(f"*/{ABOUT}")):
        facts = read_json(about)
        try:
            store = StoreFolder(str(facts["dataset"]), Path(facts["root"]), int(facts["side"]))
        except (TypeError, KeyError, ValueError):
            continue
        if store.path == about.parent:
            found.append(store)
    return found


def lost_stores() -> list[Path]:
    """Folders below ``cache_home()`` that hold images but do not say which, because their ``store.json`` is damaged."""
    folders = {file.parent for file in cache_home().glob(f"*/*{INDEX}")}
    return sorted(folders - {store.path for store in find_stores()})
