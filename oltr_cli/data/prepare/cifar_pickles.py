"""Reading torchvision's downloads ``cifar-100-python/`` and ``cifar-10-batches-py/`` without trusting their pickles.

A pickle may call whatever it names. These need lists, dicts, text, numbers and arrays of bytes; anything else is
refused before it is looked up, and the arrays are rebuilt here from shape and bytes.
"""

import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oltr_cli.errors import DataProblem


@dataclass(frozen=True)
class Download:
    """Which files a download consists of, and under which keys they hold their content.

    Attributes:
        folder: as the archive names it. archive: the file it comes in.
        splits: split → files.
    """

    title: str
    folder: str
    archive: str
    meta: str
    class_names: str
    labels: str
    splits: dict[str, tuple[str, ...]]


CIFAR100_PYTHON = Download(
    "CIFAR-100",
    "cifar-100-python",
    "cifar-100-python.tar.gz",
    "meta",
    "fine_label_names",
    "fine_labels",
    {"train": ("train",), "test": ("test",)},
)
CIFAR10_PYTHON = Download(
    "CIFAR-10",
    "cifar-10-batches-py",
    "cifar-10-python.tar.gz",
    "batches.meta",
    "label_names",
    "labels",
    {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
)


def read_class_names(root: Path, download: Download) -> list[str]:
    """The classes (of CIFAR-100 the fine ones) in the order of their labels.

    Args:
        root: holds the download's folder.
    Raises:
        DataProblem: the file is missing, damaged or asks for more than data.
    """
    path = root / download.folder / download.meta
    return _file_names(path, _load(path, download.title, download.class_names)[download.class_names])


def read_split(
    root: Path, download: Download, split: str, class_names: list[str]
) -> tuple[NDArray[np.uint8], list[str]]:
    """Images of ``train`` or ``test`` as uint8 (N, 32, 32, 3), and for each its ``<class>/<file name>.png``.

    Raises:
        DataProblem: a file is missing, damaged or asks for more than data.
    """
    parts = [_read_file(root / download.folder / name, download, class_names) for name in download.splits[split]]
    return np.concatenate([part for part, _ in parts]), _distinct([file for _, files in parts for file in files])


def _distinct(files: list[str]) -> list[str]:
    """A repeated name gets a number: names need not be unique, above all across several files."""
    taken: set[str] = set()
    distinct = []
    for file in files:
        name, number = file, 1
        while name in taken:
            number += 1
            name = f"{file.removesuffix('.png')}-{number}.png"
        taken.add(name)
        distinct.append(name)
    return distinct


def _read_file(path: Path, download: Download, class_names: list[str]) -> tuple[NDArray[np.uint8], list[str]]:
    content = _load(path, download.title, "data", download.labels, "filenames")
    data, labels = content["data"], content[download.labels]
    names = _file_names(path, content["filenames"])
    if not isinstance(data, _Array) or data.values.shape != (len(names), 3072):
        raise DataProblem(f"{path}: 'data' is not an array of {len(names):,} × 3,072 bytes")
    known = range(len(class_names))
    if not isinstance(labels, list) or len(labels) != len(names) or not all(label in known for label in labels):
        raise DataProblem(
            f"{path}: '{download.labels}' is not a list of {len(names):,} labels 0..{len(class_names) - 1}"
        )
    files = [f"{class_names[label]}/{PurePosixPath(name).stem}.png" for label, name in zip(labels, names, strict=True)]
    return data.values.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), files


def _file_names(path: Path, values: object) -> list[str]:
    """Text of the pickle that becomes names of files and folders."""
    listed = values if isinstance(values, list) else []
    texts = [value.decode("latin-1") if isinstance(value, bytes) else value for value in listed]
    for text in texts:
        if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", text):
            raise DataProblem(f"{path}: {str(text)[:80]!r} cannot be used as a file name")
    if not texts:
        raise DataProblem(f"{path}: contains no names")
    return texts


def _load(path: Path, title: str, *wanted: str) -> dict[str, Any]:
    """The wanted entries of a pickled dict, whose keys are text or, from Python 2, bytes."""
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
    except FileNotFoundError:
        raise DataProblem(f"{path}: no such file; unpack the download again") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataProblem(f"{path}: is not {title}'s file ({error})") from None
    if not isinstance(content, dict):
        raise DataProblem(f"{path}: is not {title}'s file (not a dict)")
    entries = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in content.items()}
    for key in wanted:
        if key not in entries:
            raise DataProblem(f"{path}: is not {title}'s file (no '{key}')")
    return entries


class _Array:
    """What a pickled NumPy array of bytes becomes."""

    def __init__(self, *_: object) -> None:
        self.values: NDArray[np.uint8] = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, _, fortran, data = state
        self.values = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")


class _DType:
    """The element type of such an array; only bytes occur here."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"an array of type {code!r}")

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment: bytes have none."""


_ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,  # NumPy 2
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None
