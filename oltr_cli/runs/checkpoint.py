"""Checkpoints: plain types and tensors, written atomically; the previous one is kept until the new one is in place.

A checkpoint is a zip archive with a CRC-32 of every record, which ``torch.load`` does not check: it is checked here, so
that a file damaged on disk is refused instead of used.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from oltr_cli.base.files import write_atomically
from oltr_cli.errors import DataProblem
from oltr_cli.runs.folder import Run

BEST, LAST = "best.pt", "last.pt"
# What each file contains besides the identity of its run: format, hash, seed, data_digest.
_HOLDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    BEST: {"model": dict, "epoch": int, "value": (int, float)},
    LAST: {"model": dict, "progress": dict, "optimizer": dict, "scheduler": dict, "data_digest": str},
}


def save_checkpoint(path: Path, content: dict[str, Any], *, keep_previous: bool = False) -> None:
    """Write ``content`` to ``path``; with ``keep_previous`` an existing file becomes ``*.prev.pt``.

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
    """Path of the checkpoint before ``path``."""
    return path.with_suffix(".prev.pt")


def load_best(run: Run) -> dict[str, Any]:
    """best.pt of a run: "model", "epoch" and "value", the closed-set accuracy on the validation split.

    Raises:
        DataProblem: missing, damaged, or of another run.
    """
    try:
        return _load(run.path / BEST, run, BEST)
    except DataProblem as problem:
        raise DataProblem(f"{problem}; remove {run.path}, and the same `oltr run` makes it again") from None


def load_latest(run: Run) -> tuple[dict[str, Any] | None, str]:
    """last.pt of a run, or the checkpoint before it if last.pt cannot be used.

    Returns:
        the content, None if there is none, and a warning, empty if all is well.
    """
    path = run.path / LAST
    warning = ""
    for candidate in (path, previous(path)):
        if candidate.exists():
            try:
                return _load(candidate, run, LAST), warning
            except DataProblem as problem:
                warning = f"{problem}; resuming from the checkpoint before it"
    return None, f"{warning.rpartition(';')[0]}; starting from the beginning" if warning else ""


def _load(path: Path, run: Run, kind: str) -> dict[str, Any]:
    content = _read(path)
    wrong = [name for name, types in _HOLDS[kind].items() if not isinstance(content.get(name), types)]
    if wrong:
        raise DataProblem(f"{path}: has no usable {wrong[0]!r}, so it is not a checkpoint of oltr")
    if (content.get("hash"), content.get("seed")) != (run.hash, run.seed):
        raise DataProblem(
            f"{path}: belongs to another run ({content.get('hash')}-s{content.get('seed')}), not to {run.name}"
        )
    return content


def _read(path: Path) -> dict[str, Any]:
    """Content of a file of tensors and plain types; nothing in it is executed."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise DataProblem(f"{path}: is damaged (the checksum of {damaged} does not match)")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataProblem(f"{path}: no such checkpoint") from None
    except pickle.UnpicklingError:
        raise DataProblem(f"{path}: contains more than tensors and plain types, so it is not loaded") from None
    except DataProblem:
        raise
    except Exception as error:  # damaged files make zipfile, zlib, pickle and torch raise many kinds of errors
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataProblem(f"{path}: is damaged or not a checkpoint ({reason})") from None
    if not isinstance(content, dict):
        raise DataProblem(f"{path}: is not a checkpoint of oltr")
    return content
