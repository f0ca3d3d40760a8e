"""Checkpoints: plain types and tensors only, written atomically, the one before kept until the new one stands."""

import pickle
from pathlib import Path
from typing import Any

import torch

from oltr_cli.base.files import write_atomically
from oltr_cli.errors import DataProblem


def save_checkpoint(path: Path, content: dict[str, Any], *, keep_previous: bool = False) -> None:
    """Write ``content`` to ``path``; with ``keep_previous`` the file that stood there becomes ``*.prev.pt``.

    Raises:
        OltrError: the disk is full or read-only; the earlier checkpoint is untouched.
    """
    if not keep_previous:
        write_atomically(path, lambda file: torch.save(content, file))
        return
    fresh = path.with_suffix(".new.pt")
    write_atomically(fresh, lambda file: torch.save(content, file))
    # A kill between these two renames leaves no ``path``, and loading falls back to the previous one.
    if path.exists():
        path.replace(previous(path))
    fresh.replace(path)


def previous(path: Path) -> Path:
    """Where the checkpoint before ``path`` is kept."""
    return path.with_suffix(".prev.pt")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed.

    Raises:
        DataProblem: missing, cut short, or holding anything but tensors and plain types.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataProblem(f"{path}: no such checkpoint") from None
    except pickle.UnpicklingError:
        raise DataProblem(
            f"{path}: holds more than tensors and plain types, or is cut short; it is not loaded"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        first_line = str(error).strip().splitlines()[:1]
        raise DataProblem(
            f"{path}: is cut short or no checkpoint ({first_line[0] if first_line else error!r})"
        ) from None
    if not isinstance(content, dict):
        raise DataProblem(f"{path}: is no checkpoint of oltr")
    return content


def load_latest(path: Path) -> tuple[dict[str, Any] | None, str]:
    """The checkpoint at ``path``, or the one before it when that cannot be read.

    Returns:
        the content, None when there is none at all, and a warning, empty when all is well.
    """
    warning = ""
    for candidate in (path, previous(path)):
        if candidate.exists():
            try:
                return load_checkpoint(candidate), warning
            except DataProblem as problem:
                warning = f"{problem}; going on from the checkpoint before it"
    return None, f"{warning.partition(';')[0]}; starting from the beginning" if warning else ""
