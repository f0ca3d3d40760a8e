"""One run in MLflow: found or created, written to in few requests, closed. Called only from the tracker's thread.

No process may be started here. The main thread forks loaders meanwhile; a loader that inherits the pipe to such a
process keeps it open, and its reader waiting, for as long as the loader lives.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from oltr_cli.base.files import read_json, write_json
from oltr_cli.base.locks import Lock
from oltr_cli.base.secrets import without_secrets
from oltr_cli.errors import OltrError
from oltr_cli.runs.folder import Run
from oltr_cli.tracking.store import store_lock

Status = Literal["FINISHED", "FAILED", "KILLED"]
Value = str | int | float | bool

NOTE = "mlflow.json"  # in the run directory
# MLflow's limits on one request and on one value (mlflow.utils.validation).
KIND = {"mlflow.experimentKind": "custom_model_development"}  # its pages open on runs and metrics, not on traces
_NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # codes of MLflow's errors for an unknown run
PARAMS_PER_BATCH, METRICS_PER_BATCH, KEY_LENGTH, VALUE_LENGTH, DIGEST_LENGTH = 100, 900, 250, 6000, 36


def finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Without None and without values that are not finite, which stores change or refuse."""
    return {name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)}


def read_note(run: Run) -> dict[str, Any]:
    """mlflow.json of a run: "uri", the store without secrets, "run_id", "epoch", the last logged one, and "status".

    Empty where there is none; "status" is there once the run was closed, with its pictures.
    """
    note = read_json(run.path / NOTE)
    return note if isinstance(note, dict) else {}


def is_there(mlflow: Any, run: Run, uri: str) -> bool:
    """Whether a finished run is in the store ``uri`` and closed there; raises what MLflow raises if that is down."""
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    note = read_note(run)
    if note.get("uri") != without_secrets(uri) or note.get("status") != "FINISHED":
        client.search_experiments(max_results=1)  # whether it answers at all
        return False
    try:
        return bool(client.get_run(str(note.get("run_id"))).info.lifecycle_stage == "active")
    except Exception as error:
        if getattr(error, "error_code", "") in _NOT_THERE:
            return False
        raise


def note_the_store(run: Run, uri: str) -> None:
    """Note in a run that is not tracked yet which store it belongs to: after a kill, that tells what to complete."""
    if not read_note(run):
        with suppress(OltrError):  # the run itself will say that its folder cannot be written
            write_json(run.path / NOTE, {"uri": without_secrets(uri)})


def now() -> int:
    """Milliseconds since 1970, as MLflow counts time."""
    return int(time.time() * 1000)


@dataclass(frozen=True)
class Epoch:
    number: int
    milliseconds: int  # when the epoch ended, so that logging it twice leaves one value
    metrics: dict[str, float]


@dataclass(frozen=True)
class Finish:
    status: Status
    milliseconds: int
    metrics: dict[str, float]
    artifacts: tuple[Path, ...]


@dataclass(frozen=True)
class Description:
    """What is known of a run when it starts."""

    run: Run
    uri: str
    params: dict[str, Value]
    tags: dict[str, str]
    dataset: dict[str, Value]
    title: str = ""  # empty: method, hash and seed
    parent: "Description | None" = None  # nested below the run that this one describes
    began: int = field(default_factory=now)  # milliseconds; MLflow gets the run some seconds later


class Mirror:
    """The MLflow run; every method may raise whatever MLflow raises, and may be called again after that."""

    def __init__(self, mlflow: Any, description: Description) -> None:
        self.mlflow, self.entities = mlflow, mlflow.entities
        self.description, self.uri = description, description.uri
        # One writer at a time: several processes that create a SQLite store, or write to it for long, get into
        # conflict. Not needed for servers, which handle this themselves.
        root = description.run.root
        root.mkdir(parents=True, exist_ok=True)
        parent = self._parent_id()
        self.lock: AbstractContextManager = nullcontext() if is_remote(self.uri) else store_lock(root)
        with self.lock:
            self.client = mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            self.run_id, self.last_epoch, known_params = self._resumed() or (self._created(parent), 0, set())
            self._log_params(known_params)

    def log_epochs(self, epochs: Sequence[Epoch]) -> None:
        """Log all epochs that are not logged yet, in as few requests as MLflow allows."""
        new = [e for e in epochs if e.number > self.last_epoch]
        if new:
            with self.lock:
                self._log_metrics(
                    [self._metric(n, v, e.milliseconds, e.number) for e in new for n, v in e.metrics.items()]
                )
            self.last_epoch = max(e.number for e in new)
            self._take_note()

    def finish(self, job: Finish) -> None:
        """Metrics and status first: they are quick and matter more than pictures."""
        with self.lock:
            step = self.last_epoch
            self._log_metrics([self._metric(n, v, job.milliseconds, step) for n, v in job.metrics.items()])
            self.client.set_terminated(self.run_id, status=job.status, end_time=job.milliseconds)
            for path in job.artifacts:
                self.client.log_artifact(self.run_id, str(path), path.parent.name)
        self._take_note(job.status)

    def _resumed(self) -> tuple[str, int, set[str]] | None:
        """Run id, last logged epoch and logged params of the run that an earlier process made, if it still exists."""
        note = read_note(self.description.run)
        if note.get("uri") != without_secrets(self.uri):
            return None
        run_id, last_epoch = note.get("run_id"), note.get("epoch", 0)
        if not isinstance(run_id, str) or not isinstance(last_epoch, int):
            return None
        try:
            found = self.client.get_run(run_id)
        except Exception as error:
            if getattr(error, "error_code", "") in _NOT_THERE:
                return None
            raise
        if found.info.lifecycle_stage != "active":
            return None
        self.client.update_run(run_id, status="RUNNING")
        return run_id, last_epoch, set(found.data.params)

    def _parent_id(self) -> str | None:
        """Id of the run that this one is nested below, found or created."""
        parent = self.description.parent
        if parent is None:
            return None
        parent.run.path.mkdir(parents=True, exist_ok=True)
        with Lock(parent.run.path / ".mlflow.lock"):  # several processes run trials of one study
            return Mirror(self.mlflow, parent).run_id

    def _created(self, parent: str | None) -> str:
        run, tags = self.description.run, self.description.tags
        if parent is not None:
            tags = {**tags, "mlflow.parentRunId": parent}
        name = self.description.title or f"{run.method} {run.hash}-s{run.seed}"
        cut = {key[:KEY_LENGTH]: value[:VALUE_LENGTH] for key, value in tags.items()}
        made = self.client.create_run(self._experiment(), start_time=self.description.began, tags=cut, run_name=name)
        self.run_id = made.info.run_id
        self.last_epoch = 0
        self._take_note()
        self._log_dataset()
        return self.run_id

    def _experiment(self) -> str:
        """The id of the dataset's experiment, created if there is none; another process may be creating it, too."""
        name = self.description.run.dataset
        folder = None if is_remote(self.uri) else (self.description.run.root.absolute() / "mlartifacts" / name).as_uri()
        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return self.client.create_experiment(name, artifact_location=folder, tags=KIND)
            except Exception:
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":  # deleted by hand: MLflow would give an error from now on
            self.client.restore_experiment(found.experiment_id)
        return found.experiment_id

    def _log_dataset(self) -> None:
        about = dict(self.description.dataset)
        name, digest = str(about.pop("name")), str(about.pop("digest"))[:DIGEST_LENGTH]
        source = json.dumps({"name": name})
        entity = self.entities.Dataset(name, digest, "oltr", source, profile=json.dumps(about))
        context = self.entities.InputTag("mlflow.data.context", "training")
        self.client.log_inputs(self.run_id, [self.entities.DatasetInput(entity, [context])])

    def _log_params(self, known: set[str]) -> None:
        cut = {key[:KEY_LENGTH]: str(value)[:VALUE_LENGTH] for key, value in self.description.params.items()}
        params = [self.entities.Param(key, value) for key, value in cut.items() if key not in known]
        for batch in _batches(params, PARAMS_PER_BATCH):
            self.client.log_batch(self.run_id, params=batch, synchronous=True)

    def _metric(self, name: str, value: float, milliseconds: int, step: int) -> Any:
        return self.entities.Metric(name[:KEY_LENGTH], value, milliseconds, step)

    def _log_metrics(self, metrics: list[Any]) -> None:
        for batch in _batches(metrics, METRICS_PER_BATCH):
            self.client.log_batch(self.run_id, metrics=batch, synchronous=True)

    def _take_note(self, status: Status | None = None) -> None:
        note = {"run_id": self.run_id, "uri": without_secrets(self.uri), "epoch": self.last_epoch}
        write_json(self.description.run.path / NOTE, note if status is None else {**note, "status": status})


def is_remote(uri: str) -> bool:
    """Whether a server, rather than this process, decides where artifacts are stored."""
    return uri.startswith(("http://", "https://", "databricks", "uc:"))


def _batches(values: list[Any], size: int) -> list[list[Any]]:
    return [values[start : start + size] for start in range(0, len(values), size)]
