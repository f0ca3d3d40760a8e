"""Files outside the project that plug in methods, detectors or backbones: ``--methods-from`` and ``OLTR_METHODS``."""

import os
import shlex
from pathlib import Path

from oltr_cli.errors import UsageProblem

_added: dict[str, Path] = {}  # name → file as typed, of --methods-from


def add_file(path: Path) -> None:
    """Let what is in a file outside the project be found, for this process; ``path`` is shown as it is given here.

    Raises:
        UsageProblem: no such file, no Python file, or another one of that name was added.
    """
    _check(path, "--methods-from")
    name = name_of(path)
    if name in _added and _absolute(_added[name]) != _absolute(path):
        raise UsageProblem(f"--methods-from {path}: there is a file for '{name}' already, {_added[name]}; rename one")
    _added[name] = path


def added_files() -> dict[str, Path]:
    """Name → absolute path of the files that were added, and of those in ``OLTR_METHODS``.

    Raises:
        UsageProblem: there is no such file as ``OLTR_METHODS`` says.
    """
    found = {name: _absolute(path) for name, path in _added.items()}
    for path in map(Path, filter(None, os.environ.get("OLTR_METHODS", "").split(os.pathsep))):
        _check(path, "OLTR_METHODS:")
        found.setdefault(name_of(path), _absolute(path))
    return found


def given_files() -> str:
    """`` --methods-from FILE`` for each added file, for a command that is printed to be typed; empty without any."""
    return "".join(f" --methods-from {shlex.quote(str(path))}" for path in _added.values())


def name_of(path: Path) -> str:
    """What a file's class is called: ``tau-norm`` in ``tau_norm.py``."""
    return path.stem.replace("_", "-")


def _check(path: Path, given: str) -> None:
    if path.suffix != ".py" or not path.expanduser().is_file():
        raise UsageProblem(f"{given} {path}: no such Python file")


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()
