"""The added file that a run's method, detector or backbone is from, for a command that is not given it."""

import shlex
from collections.abc import Iterable
from pathlib import Path

from oltr_cli.base.files import read_json
from oltr_cli.errors import nearest
from oltr_cli.recipe.files import recorded_recipe
from oltr_cli.runs.folder import Run, find_runs

ADDED_FILES = "added_files"  # of environment.json: name of a plug-in → its file


def hint(name: str, known: Iterable[str]) -> str:
    """What to add to "no method 'NAME'": the file that a run was made with it from, else the nearest known name."""
    for run in find_runs():
        if name in _used(run):
            file = _recorded(run).get(name)
            if file is not None and Path(file).is_file():
                return f", which {run.name} was made with; add --methods-from {shlex.quote(file)}"
            was = f" (it was {file})" if file else ""
            return f", which {run.name} was made with; add its file{was}: --methods-from FILE"
    return nearest(name, known)


def _used(run: Run) -> list[str]:
    """Names of the method, the detector and the backbone."""
    return [*run.method.split("+"), str(recorded_recipe(run.path).get("backbone", {}).get("name", ""))]


def _recorded(run: Run) -> dict[str, str]:
    environment = read_json(run.path / "environment.json")
    found = environment.get(ADDED_FILES) if isinstance(environment, dict) else None
    return {str(name): str(file) for name, file in found.items()} if isinstance(found, dict) else {}
