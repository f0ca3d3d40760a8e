"""Run directories: ``<root>/<dataset>/<method>/<hash>-s<seed>/``. The files are authoritative.

=================  =============================================================================================
recipe.toml        the resolved recipe; ``environment.json`` describes the machine
metrics.jsonl      one line per epoch
trained_on.npz     which image files it was trained on (oltr_cli/runs/trained_on.py)
last.pt, best.pt   checkpoints (``last.prev.pt``: the one before last)
scores/*.npz       val, test, open, open_val; train once something needed it; new_class after oltr add-class
embeddings/*.npy   probe, distractors and train, where the dataset has the first two (oltr_cli/pipeline/embeddings.py)
frozen/            features of the backbone that it trained, for later runs with ``train.freeze_backbone``
result.json        how it ended; absent while unfinished (oltr_cli/runs/result.py)
threshold.json     what ``oltr tune threshold`` chose (likewise)
detector.json      what ``oltr tune detector`` chose (likewise)
plots/             pictures
=================  =============================================================================================
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from oltr_cli.base.digests import CHANGED
from oltr_cli.base.files import read_json
from oltr_cli.base.locks import Lock
from oltr_cli.errors import DataProblem, OltrError
from oltr_cli.runs.result import RESULT, RunFailure, RunResult, read_outcome

ENVIRONMENT = "environment.json"
STUDIES = "studies"  # folder of a dataset, next to those of its methods


def runs_root() -> Path:
    """``$OLTR_RUNS``, or ``runs`` in the current folder."""
    return Path(os.environ.get("OLTR_RUNS", "") or "runs").expanduser()


class FolderGone(OltrError):
    """The folder of a run was removed or moved while the run was made."""


@dataclass(frozen=True)
class Run:
    """One run, finished or not; it need not exist on disk yet."""

    root: Path
    dataset: str
    method: str
    hash: str
    seed: int

    @property
    def name(self) -> str:
        """``dataset/method/hash-sSEED``, as commands print and take it."""
        return f"{self.dataset}/{self.method}/{self.hash}-s{self.seed}"

    @property
    def identity(self) -> dict[str, Any]:
        """The fields of its outcome that identify the run."""
        return {"run": self.name, "method": self.method, "dataset": self.dataset, "seed": self.seed, "hash": self.hash}

    @property
    def path(self) -> Path:
        return self.root / self.name

    def outcome(self) -> RunResult | RunFailure | None:
        """How it ended; None while it has not. Raises DataProblem if result.json is damaged."""
        return read_outcome(self.path)

    def result(self) -> RunResult | None:
        """Its result; None while it is not finished, or failed. Raises as ``outcome`` does."""
        outcome = self.outcome()
        return outcome if isinstance(outcome, RunResult) else None

    def scores(self, split: str) -> Path:
        """Where the scores of ``split`` are saved."""
        return self.path / "scores" / f"{split}.npz"

    @property
    def frozen(self) -> Path:
        """Where features of the backbone that this run trained are saved for runs that keep it frozen."""
        return self.path / "frozen"

    def embeddings(self, split: str) -> Path:
        """Where the embeddings of ``split`` are saved."""
        return self.path / "embeddings" / f"{split}.npy"

    def changed(self) -> float:
        """When it ended, in seconds since 1970; of an unfinished run, when it was last written to."""
        for name in (RESULT, "last.pt", "recipe.toml"):
            with suppress(OSError):
                return (self.path / name).stat().st_mtime
        return 0.0

    def environment(self) -> dict[str, Any]:
        """How and on what it was made, from environment.json; empty where there is none.

        Raises:
            DataProblem: the file is damaged.
        """
        path = self.path / ENVIRONMENT
        found = read_json(path)
        if not isinstance(found, dict) and _there(path, unsure=True):
            raise DataProblem(f"{path}: is {CHANGED}; remove it: it only says how the run was made")
        return found if isinstance(found, dict) else {}

    def lock(self) -> Lock:
        """Held by the process that trains this run; the system releases it when that process dies."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OltrError(
                f"{self.path}: cannot be created ({error.strerror}); set OLTR_RUNS to a writable folder"
            ) from None
        return Lock(self.path / ".lock")

    def status(self) -> str:
        """done, failed, damaged (result.json), running, interrupted (started, and can be resumed) or new."""
        if not self.path.is_dir():
            return "new"
        try:
            outcome = self.outcome()
        except DataProblem:
            return "damaged"
        if isinstance(outcome, RunResult):
            return "done"
        try:
            with self.lock().acquire(timeout=0):
                pass
        except Timeout:
            return "running"
        except OltrError:  # a run of another user: nobody can tell
            pass
        if outcome is not None:
            return "failed"
        begun = ("recipe.toml", "last.pt", "last.prev.pt")
        return "interrupted" if any(_there(self.path / name) for name in begun) else "new"


def _there(path: Path, unsure: bool = False) -> bool:
    """Whether there is such a file; ``unsure`` if its folder may not be read."""
    try:
        return path.exists()
    except OSError:
        return unsure


def run_from_path(path: Path) -> Run | None:
    """The run whose directory ``path`` is, or None if its name does not have that form."""
    path = path.absolute()
    if len(path.parts) < 4 or "-s" not in path.name:
        return None
    run_hash, _, seed = path.name.rpartition("-s")
    if not seed.isdigit():
        return None
    return Run(path.parents[2], path.parents[1].name, path.parents[0].name, run_hash, int(seed))


def find_runs(root: Path | None = None, dataset: str | None = None, method: str | None = None) -> list[Run]:
    """All run directories under ``root`` (default: ``runs_root()``), ordered by name."""
    root = runs_root() if root is None else root
    found = (
        path
        for path in sorted(root.glob("*/*/*-s*/"))  # a name may have brackets or slashes, and is no pattern
        if dataset in (None, path.parent.parent.name) and method in (None, path.parent.name)
    )
    runs = [run_from_path(path) for path in found if _there(path / "recipe.toml", unsure=True)]
    return [run for run in runs if run is not None]


Finished = dict[str, list[tuple[Run, RunResult]]]  # by method


def finished_runs(
    dataset: str | None = None, root: Path | None = None, damaged: dict[Run, str] | None = None
) -> Finished:
    """Method → its finished runs with their results, ordered by name.

    Args:
        dataset: None for all.
        damaged: receives the runs whose result.json is damaged, each with its error message.
    """
    finished: Finished = {}
    for run in find_runs(root, dataset):
        try:
            result = run.result()
        except DataProblem as problem:
            if damaged is not None:
                damaged[run] = str(problem)
            continue
        if result is not None:
            finished.setdefault(run.method, []).append((run, result))
    return finished


def find_studies() -> dict[str, Path]:
    """Name → folder of the studies of ``oltr tune`` under ``runs_root()`` that were started."""
    found = (path.parent for path in sorted(runs_root().glob(f"*/{STUDIES}/*/trials/")))
    return {f"{path.parent.parent.name}/{path.name}": path for path in found}
