"""Reading files of weights without trusting them: nothing in them is executed, and only plain tensors come out."""

import pickle
import re
import warnings
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oltr_cli.base.files import check_regular
from oltr_cli.errors import DataProblem, first_line

LFS = b"version https://git-lfs"  # how a file begins that stands for one that git lfs keeps elsewhere
_MADE_BY_TORCH = (b"PK", b"\x80")  # a zip archive, and the pickle of older files
COUNTER = ".num_batches_tracked"  # absent from older files, and unused if batch-norm has a momentum


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every dense tensor of numbers in a file, on the CPU, by its dotted path through nested dicts.

    A file of safetensors is known by its first bytes, whatever its name, and ``.npz`` by its name; it is read without
    pickles. Anything else is read by torch with ``weights_only``.

    Raises:
        DataProblem: the file is missing, cannot be opened, asks to run code, is cut short, or is a pointer of git lfs.
    """
    return _tensors(_read(path))


def _read(path: Path) -> Any:
    """The content of the file, on the CPU."""
    check_regular(path)
    start = b""
    try:
        with path.open("rb") as file:
            start = file.read(len(LFS))
        if start == LFS:
            raise DataProblem(f"{path}: is a pointer that git lfs has not replaced yet; download the file itself")
        if start[8:9] == b"{":  # after eight bytes that hold the length of the header
            from safetensors.torch import load_file

            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {n: torch.from_numpy(a) for n in arrays.files if (a := arrays[n]).dtype.kind in "fiu"}
        with warnings.catch_warnings(), path.open("rb") as file:
            # torch warns about old pickle protocols; unreadable files are reported below, in one line. It is given no
            # name, by which it would take a file of its own for one of safetensors.
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataProblem(f"{path}: no such weight file") from None
    except OSError as error:
        raise DataProblem(f"{path}: cannot be read ({error.strerror or error})") from None
    except DataProblem:
        raise
    except Exception as error:  # bytes that are not an archive can make a reader fail in any way
        asks = isinstance(error, pickle.UnpicklingError) and start.startswith(_MADE_BY_TORCH)
        if asks or "allow_pickle" in str(error):
            asked = re.search(r"GLOBAL ([\w.]+)", str(error))
            what = f"it asks to call {asked[1]}" if asked else "it holds more than tensors and plain types"
            raise DataProblem(f"{path}: refused, because {what}; save only the network's state_dict()") from None
        reason = first_line(error).partition(". ")[0][:120]
        raise DataProblem(f"{path}: is cut short or not a weight file ({reason})") from None


def _tensors(content: Any) -> dict[str, Tensor]:
    """Every plain tensor in nested dicts, under its dotted path."""
    entries: dict[str, Tensor] = {}
    # No recursion, and each dict once: a file may nest dicts endlessly or put one inside itself.
    waiting, seen = deque([("", content)]), set()
    while waiting:
        path, value = waiting.popleft()
        if isinstance(value, Mapping) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend((f"{path}.{key}" if path else str(key), inner) for key, inner in value.items())
        elif isinstance(value, Tensor) and _is_plain(value, path):
            entries[path] = value
    return entries


def _is_plain(value: Tensor, name: str) -> bool:
    dense = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
    return dense and (value.is_floating_point() or name.endswith(COUNTER))
