"""Which image files a run was trained on, recognised by their bytes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from oltr_cli.data.feed.opening import open_dataset, other_lists
from oltr_cli.data.lists.lists import ListSplit
from oltr_cli.errors import DataProblem
from oltr_cli.recipe.data import DataSpec


class TrainingFiles:
    """The files that a run was trained on, by size: only files of one size can have the same bytes."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.by_size: dict[int, list[Path]] = {}
        self.digests: dict[int, dict[bytes, Path]] = {}
        for file in files:
            if (size := _size(file)) is not None:
                self.by_size.setdefault(size, []).append(file)

    def __contains__(self, path: str) -> bool:
        """Whether the file has the bytes of a training image."""
        return self.same_as(path) is not None

    def same_as(self, path: str) -> Path | None:
        """The training image whose bytes the file has; None if there is none."""
        file = Path(path)
        size = _size(file)
        if size is None or size not in self.by_size:
            return None
        if size not in self.digests:
            digests = ((_digest(one), one) for one in self.by_size[size])
            self.digests[size] = {digest: one for digest, one in digests if digest is not None}
        digest = _digest(file)
        return None if digest is None else self.digests[size].get(digest)


def training_files(spec: DataSpec, digest: str | None) -> TrainingFiles:
    """The training images of a run's dataset.

    Args:
        digest: of the lists that the run was trained on: lists of another build have other images.
    Raises:
        DataProblem: the lists or images are missing or others, or the images are drawn rather than stored.
    """
    if spec.kind != "lists":
        raise DataProblem("they are drawn, not stored as files")
    if (other := other_lists(spec, digest)) is not None:
        raise DataProblem(f"dataset '{spec.name}': the lists in {other[0]} are not those that the run was trained on")
    # Opened with only these splits, the dataset has no digest to compare.
    split = open_dataset(spec, only=("train",)).splits["train"]
    assert isinstance(split, ListSplit)
    return TrainingFiles([split.root / file for file in split.files])


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _digest(path: Path) -> bytes | None:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    except OSError:
        return None
