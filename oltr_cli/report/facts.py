"""How a run was made, and how far one without a result has come."""

import shlex
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from oltr_cli.base.secrets import without_secrets
from oltr_cli.errors import DataProblem
from oltr_cli.recipe.files import recorded_recipe
from oltr_cli.report.choose import running
from oltr_cli.runs.folder import Run
from oltr_cli.runs.history import read_history
from oltr_cli.runs.result import RESULT, RunFailure, RunResult

OF_ENVIRONMENT = ("commit", "oltr", "python", "platform", "precision", "processes", "threads")
OF_RESULT = ("epochs", "epochs_total", "best_epoch", "seconds", "seconds_total", "starts_from", "data_digest")


@dataclass(frozen=True)
class Unfinished:
    """A run that goes on, waits or failed: epochs so far of how many, and the last line of its history."""

    run: Run
    status: str
    epoch: int
    epochs: int | None
    last: dict[str, Any]
    error: str = ""


def facts(run: Run, result: RunResult) -> dict[str, Any]:
    """What to say of how a run was made; None for what is not known."""
    environment: dict[str, Any] = {}
    with suppress(DataProblem):  # the page names the file
        environment = run.environment()
    command, packages = environment.get("command"), environment.get("packages")
    try:
        finished = (run.path / RESULT).stat().st_mtime
    except OSError:
        finished = None
    return {
        **{key: environment.get(key) for key in OF_ENVIRONMENT},
        **{key: getattr(result, key) for key in OF_RESULT},
        "packages": ", ".join(f"{k} {v}" for k, v in packages.items()) if isinstance(packages, dict) else None,
        "device": environment.get("device") or result.device,
        "command": shlex.join(without_secrets(str(word)) for word in command) if isinstance(command, list) else None,
        "undecodable": len(result.undecodable),
        "finished": None if finished is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(finished)),
    }


def unfinished(run: Run) -> Unfinished:
    """Where it stands, by the files in its folder."""
    history = read_history(run.path / "metrics.jsonl")
    epochs = recorded_recipe(run.path).get("train", {}).get("epochs")
    last = history[-1] if history else {}
    try:
        outcome = run.outcome()
        error = outcome.error if isinstance(outcome, RunFailure) else ""
    except DataProblem as problem:
        error = str(problem)
    known = epochs if isinstance(epochs, int) else None
    return Unfinished(run, running(run), last.get("epoch", 0), known, last, error)
