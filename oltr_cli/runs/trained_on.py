"""trained_on.npz: which image files a run was trained on, so that a run that starts from it is never tested on them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.files import write_atomically
from oltr_cli.errors import DataProblem
from oltr_cli.runs.scores import read_npz

FILE = "trained_on.npz"
Keys = NDArray[np.uint64]


def keys_of(paths: Iterable[str]) -> Keys:
    """Eight bytes of a digest of each absolute path (N,), in order."""
    digests = b"".join(hashlib.blake2b(path.encode(), digest_size=8).digest() for path in paths)
    return np.frombuffer(digests, np.uint64)


def save_trained_on(run_dir: Path, keys: Keys) -> None:
    """Write the keys of all images that a run, or one that it starts from, was trained on.

    Raises:
        OltrError: the disk is full or read-only.
    """
    write_atomically(run_dir / FILE, lambda file: np.savez(file, keys=np.unique(keys)))


def trained_on(run_dir: Path) -> Keys | None:
    """The keys that were saved; None if there are none, as for the built-in set.

    Raises:
        DataProblem: the file is damaged.
    """
    file = run_dir / FILE
    if not file.exists():
        return None
    try:
        keys = read_npz(file).get("keys")
    except DataProblem:
        keys = None
    if keys is None or keys.dtype != np.uint64 or keys.ndim != 1:
        raise DataProblem(f"{file}: is damaged; remove it to go on without this check")
    return keys
