"""What is told to MLflow and to the user beside numbers: the commit of the work, the gist of an error."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from oltr_cli.base.machine import git
from oltr_cli.errors import first_line
from oltr_cli.tracking.mlflow_run import Description


def with_commit(description: Description) -> Description:
    """Tags with the commit of the project that uses oltr; environment.json has oltr's own."""
    try:
        commit = _commit(Path.cwd())
    except OSError:  # the folder is gone
        commit = None
    if commit is None:
        return description
    parent = None if description.parent is None else with_commit(description.parent)
    return replace(description, tags={**description.tags, "mlflow.source.git.commit": commit}, parent=parent)


@cache
def _commit(folder: Path) -> str | None:
    """Read once, and never in the tracker's thread: see ``oltr_cli.tracking.mlflow_run``."""
    return git(folder, "rev-parse", "HEAD")


def gist(error: Exception) -> str:
    """The gist of an error in at most 200 characters."""
    text = first_line(error)
    if "Max retries exceeded" in text:  # requests wraps the cause in its own names: the cause comes last
        text = text.rpartition(": ")[2].partition(" (read timeout")[0].rstrip("\"')")
    return text if len(text) <= 200 else f"{text[:199]}…"
