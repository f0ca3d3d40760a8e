"""Which image files a run was trained on already, told by their bytes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from oltr_cli.data.lists import ListSplit
from oltr_cli.data.opening import open_dataset
from oltr_cli.errors import DataProblem
from oltr_cli.specs import DataSpec


class TrainingFiles:
    """The files that a run was trained on, by size: only files of one size can have the same bytes."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.by_size: dict[int, list[Path]] = {}
        self.digests: dict[int, set[bytes]] = {}
        for file in files:
            if (size := _size(file)) is not None:
                self.by_size.setdefault(size, []).append(file)

    def __contains__(self, path: str) -> bool:
        """Whether the file has the bytes of a training image."""
        file = Path(path)
        size = _size(file)
        if size is None or size not in self.by_size:
            return False
        if size not in self.digests:
            digests = map(_digest, self.by_size[size])
            self.digests[size] = {digest for digest in digests if digest is not None}
        return _digest(file) in self.digests[size]


def training_files(spec: DataSpec) -> TrainingFiles | None:
    """The training images of a run's dataset; None where it is not here, or is drawn rather than stored."""
    if spec.kind != "lists":
        return None
    try:
        split = open_dataset(spec, only=("train",)).splits["train"]
    except DataProblem:
        return None
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
