"""Reading torchvision's download of CIFAR-100 (``cifar-100-python/{meta,train,test}``), which is pickled, untrusting.

A pickle may call whatever it names. These need lists, dicts, text, numbers and arrays of bytes; anything else that one
asks for is refused before it is looked up, and the arrays are rebuilt here from shape and bytes.
"""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oltr_cli.errors import DataProblem

FOLDER = "cifar-100-python"


def read_class_names(folder: Path) -> list[str]:
    """The fine classes in the order of their labels.

    Raises:
        DataProblem: ``meta`` is missing, damaged or asks for more than data.
    """
    path = folder / "meta"
    return _file_names(path, _load(path, "fine_label_names")["fine_label_names"])


def read_split(folder: Path, split: str, class_names: list[str]) -> tuple[NDArray[np.uint8], list[str]]:
    """Images of ``train`` or ``test`` as uint8 (N, 32, 32, 3), and for each its ``<class>/<file name>.png``.

    Raises:
        DataProblem: the file is missing, damaged or asks for more than data.
    """
    path = folder / split
    content = _load(path, "data", "fine_labels", "filenames")
    data, labels = content["data"], content["fine_labels"]
    names = _file_names(path, content["filenames"])
    if not isinstance(data, _Array) or data.values.shape != (len(names), 3072):
        raise DataProblem(f"{path}: 'data' is not an array of {len(names):,} × 3,072 bytes")
    known = range(len(class_names))
    if not isinstance(labels, list) or len(labels) != len(names) or not all(label in known for label in labels):
        raise DataProblem(f"{path}: 'fine_labels' is not a list of {len(names):,} labels 0..{len(class_names) - 1}")
    files = [f"{class_names[label]}/{Path(name).stem}.png" for label, name in zip(labels, names, strict=True)]
    return data.values.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), files


def _file_names(path: Path, values: object) -> list[str]:
    """Text of the pickle that becomes names of files and folders."""
    texts = [value.decode("latin-1") if isinstance(value, bytes) else value for value in _as_list(values)]
    for text in texts:
        if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", text):
            raise DataProblem(f"{path}: {str(text)[:80]!r} cannot name a file")
    if not texts:
        raise DataProblem(f"{path}: names nothing")
    return texts


def _as_list(values: object) -> list[Any]:
    return values if isinstance(values, list) else []


def _load(path: Path, *wanted: str) -> dict[str, Any]:
    """The wanted entries of a pickled dict, whose keys are text or, from Python 2, bytes."""
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
    except FileNotFoundError:
        raise DataProblem(f"{path}: no such file; unpack the download again") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataProblem(f"{path}: is not CIFAR-100's file ({error})") from None
    if not isinstance(content, dict):
        raise DataProblem(f"{path}: is not CIFAR-100's file (no dict)")
    entries = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in content.items()}
    for key in wanted:
        if key not in entries:
            raise DataProblem(f"{path}: is not CIFAR-100's file (no '{key}')")
    return entries


class _Array:
    """What a pickled NumPy array of bytes becomes."""

    def __init__(self, *_: object) -> None:
        self.values: NDArray[np.uint8] = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, _, fortran, data = state
        self.values = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")


class _DType:
    """The element type of such an array; only bytes are met here."""

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
