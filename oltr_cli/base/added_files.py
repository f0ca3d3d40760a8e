"""Files outside the project that plug in methods, detectors or backbones: ``--methods-from`` and ``OLTR_METHODS``."""

import os
import shlex
from pathlib import Path

from oltr_cli.errors import UsageProblem

_added: dict[str, Path] = {}  # name → file as typed after --methods-from


def add_file(path: Path) -> None:
    """Add a file outside the project to the plug-ins of this process; ``path`` is shown as given.

    Raises:
        UsageProblem: no such file, not a Python file, or another file of that name was added.
    """
    _check(path, "--methods-from")
    name = name_of(path)
    if name in _added and _absolute(_added[name]) != _absolute(path):
        raise UsageProblem(f"--methods-from {path}: {_added[name]} is also a file for '{name}'; rename one of them")
    _added[name] = path


def added_files() -> dict[str, Path]:
    """Name → absolute path of the added files and of those in ``OLTR_METHODS``.

    Raises:
        UsageProblem: a file in ``OLTR_METHODS`` does not exist.
    """
    found = {name: _absolute(path) for name, path in _added.items()}
    for path in map(Path, filter(None, os.environ.get("OLTR_METHODS", "").split(os.pathsep))):
        _check(path, "OLTR_METHODS:")
        found.setdefault(name_of(path), _absolute(path))
    return found


def given_files() -> str:
    """`` --methods-from FILE`` for each added file, to append to a printed command; empty without any."""
    return "".join(f" --methods-from {shlex.quote(str(path))}" for path in _added.values())


def name_of(path: Path) -> str:
    """The name of the plug-in in a file: ``tau-norm`` in ``tau_norm.py``."""
    return path.stem.replace("_", "-")


def _check(path: Path, given: str) -> None:
    if path.suffix != ".py" or not path.expanduser().is_file():
        raise UsageProblem(f"{given} {path}: no such Python file")


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()
