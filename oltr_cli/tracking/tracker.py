"""MLflow mirrors the run directory and never stands in a run's way.

One background thread does all that touches MLflow, its import of some seconds included. What cannot be logged is kept
and tried again with the next epoch; a server that is down or slow costs one warning.

The store is ``$MLFLOW_TRACKING_URI``, else ``<runs>/mlflow.db`` with artifacts in ``<runs>/mlartifacts``; an experiment
is a dataset. ``OLTR_TRACKING=off`` leaves MLflow out, import included.
"""

import importlib
import logging
import math
import os
import platform
import queue
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from oltr_cli.base.machine import git
from oltr_cli.errors import first_line
from oltr_cli.runs.folder import Run
from oltr_cli.tracking.mlflow_run import (
    Description,
    Epoch,
    Finish,
    Mirror,
    Status,
    Value,
    is_remote,
    now,
    without_password,
)

SERVER_PATIENCE = 8.0  # seconds at the end of a run, for a server
STORE_PATIENCE = 60.0  # for a store on this machine: eight processes may be queuing to write to it
FAILED_PATIENCE = 3.0  # for either, when it has failed before
IMPORT_PATIENCE = 60.0  # the import is this machine's own work
STOPPED_PATIENCE = 5.0  # for all of it together, when somebody pressed Ctrl-C and wants to leave

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout carries results only
    # MLflow's own defaults wait for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}
# Stores that this process has warned of: a command that makes several runs says it once.
_failing: set[str] = set()
_CHATTY = ("mlflow", "alembic", "sqlalchemy", "urllib3", "huey")


def tracking_uri(root: Path) -> str:
    """``$MLFLOW_TRACKING_URI``, else the SQLite store in the runs folder ``root``."""
    return os.environ.get("MLFLOW_TRACKING_URI", "") or f"sqlite:///{(root.absolute() / 'mlflow.db').as_posix()}"


class Tracker:
    """One run's way to MLflow. No method raises; none but ``finish`` and ``close`` waits, and those not for long."""

    def __init__(self, description: Description, warn: Callable[[str], None]) -> None:
        self._description, self._warn = description, warn
        self._jobs: queue.SimpleQueue[Epoch | Finish | None] = queue.SimpleQueue()
        self._imported = threading.Event()
        self._left = False
        self._thread: threading.Thread | None = None

    @classmethod
    def start(
        cls,
        run: Run,
        params: Mapping[str, Value],
        tags: Mapping[str, str],
        dataset: Mapping[str, Value],
        enabled: bool = True,
        warn: Callable[[str], None] = lambda line: None,
        *,
        title: str = "",
        parent: Description | None = None,
    ) -> "Tracker":
        """Begin to mirror ``run``, or go on with the MLflow run that ``mlflow.json`` in its directory names.

        Args:
            params: the resolved recipe, by dotted key.
            dataset: "name", "digest" and whatever else describes the training data.
            enabled: False, like ``OLTR_TRACKING=off``, makes a tracker that does nothing.
            warn: takes the one line that says that MLflow cannot be had; called from another thread.
            title: what MLflow calls the run; empty: method, hash and seed.
            parent: what the run below which this one is nested is made from, where it does not exist.
        """
        uri = tracking_uri(run.root)
        description = Description(run, uri, dict(params), dict(tags), dict(dataset), title, parent)
        tracker = cls(description, warn)
        if enabled and os.environ.get("OLTR_TRACKING", "").lower() not in ("off", "0", "false", "no"):
            _keep_quiet()
            tracker._description = _with_commit(description)
            platform.platform()  # MLflow asks for it when imported: answered from here on, it starts no process
            # A daemon: a server that never answers cannot keep the process from ending.
            tracker._thread = threading.Thread(target=tracker._work, name="mlflow", daemon=True)
            tracker._hold_forks()
            tracker._thread.start()
        return tracker

    def epoch(self, metrics: Mapping[str, float | None], epoch: int) -> None:
        """Log what epoch ``epoch`` (from 1) gave; epochs that were logged before a resumption are skipped."""
        if self._thread is not None:
            self._jobs.put(Epoch(epoch, now(), _finite(metrics)))

    def finish(
        self,
        status: Status,
        metrics: Mapping[str, float | None],
        artifacts: Sequence[Path],
        timeout: float | None = None,
    ) -> None:
        """Log the final metrics, close the MLflow run, send the artifacts; wait as ``close`` does.

        After "KILLED" it waits 5 s at most, import included, and Ctrl-C ends the wait without an exception: the one
        that stopped the run is on its way and says how to go on.
        """
        if self._thread is None:
            return
        self._jobs.put(Finish(status, now(), _finite(metrics), tuple(artifacts)))
        if status != "KILLED":
            self.close(timeout)
            return
        try:
            self._wait(timeout, stopped=timeout is None)
        except KeyboardInterrupt:
            self._left = True

    def close(self, timeout: float | None = None) -> None:
        """Wait until all is logged, at most ``timeout`` seconds after MLflow is imported; warn and leave otherwise.

        Without ``timeout``: a minute for a store on this machine, 8 s for a server, 3 s for what has failed before.
        """
        self._wait(timeout)

    def _wait(self, timeout: float | None, stopped: bool = False) -> None:
        """As ``close``; of a run that was stopped, the import's time counts as well."""
        if self._thread is None or self._left:
            return
        self._jobs.put(None)
        began = time.monotonic()
        self._imported.wait(STOPPED_PATIENCE if stopped else IMPORT_PATIENCE)
        uri = self._description.uri
        if timeout is None:
            usual = STOPPED_PATIENCE if stopped else SERVER_PATIENCE if is_remote(uri) else STORE_PATIENCE
            timeout = FAILED_PATIENCE if uri in _failing else usual
        self._thread.join(max(0.0, timeout - (time.monotonic() - began if stopped else 0.0)))
        if self._thread.is_alive():
            self._warn_once(f"no answer within {timeout:g} s")
        self._left = True

    def _work(self) -> None:
        try:
            # Named by a string: a missing package is found out here, and nowhere else is it needed to import oltr.
            mlflow = importlib.import_module("mlflow")
        except ImportError as error:
            missing = "MLflow is not installed" if error.name == "mlflow" else f"MLflow cannot be imported: {error}"
            self._warn_once(missing)
            return
        except Exception as error:
            self._warn_once(f"MLflow cannot be imported: {error}")
            return
        finally:
            self._imported.set()
        mirror: Mirror | None = None
        epochs: list[Epoch] = []
        finish: Finish | None = None
        ended = False
        while True:
            try:
                mirror = mirror or Mirror(mlflow, self._description)
                mirror.log_epochs(epochs)
                epochs = []
                if finish is not None:
                    mirror.finish(finish)
                    _failing.discard(self._description.uri)
            except Exception as error:
                self._warn_once(_first_line(error))
            if ended or finish is not None:
                return
            # All that waits goes in one request: a slow server does not fall further and further behind.
            waiting = [self._jobs.get()]
            while not self._jobs.empty():
                waiting.append(self._jobs.get())
            epochs += [job for job in waiting if isinstance(job, Epoch)]
            finish = next((job for job in waiting if isinstance(job, Finish)), None)
            ended = None in waiting

    def _warn_once(self, reason: str) -> None:
        uri = self._description.uri
        if uri not in _failing and not self._left:
            _failing.add(uri)
            where = without_password(uri)
            self._warn(f"not tracked in {where}: {reason.replace(uri, where)}; the run directory has everything")

    def _hold_forks(self) -> None:
        """Let worker processes be forked only after the import: a lock that it holds would stay shut in a child."""

        def wait() -> None:
            if threading.current_thread() is not self._thread:
                self._imported.wait(IMPORT_PATIENCE)

        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=wait)


def _finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Without None and without what is not finite, which stores change or refuse."""
    return {name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)}


def _with_commit(description: Description) -> Description:
    """With the commit of the work that uses oltr among the tags; environment.json has oltr's own."""
    try:
        commit = _commit(Path.cwd())
    except OSError:  # the folder is gone
        commit = None
    if commit is None:
        return description
    parent = None if description.parent is None else _with_commit(description.parent)
    return replace(description, tags={**description.tags, "mlflow.source.git.commit": commit}, parent=parent)


@cache
def _commit(folder: Path) -> str | None:
    """Asked once, and never by the tracker's thread: see ``oltr_cli.tracking.mlflow_run``."""
    return git(folder, "rev-parse", "HEAD")


def _first_line(error: Exception) -> str:
    """The gist of an error in at most 200 characters."""
    text = first_line(error)
    if "Max retries exceeded" in text:  # requests wraps the cause in its own names: the cause stands last
        text = text.rpartition(": ")[2].partition(" (read timeout")[0].rstrip("\"')")
    return text if len(text) <= 200 else f"{text[:199]}…"


def _keep_quiet() -> None:
    """Neither telemetry nor a word of MLflow and what it stands on; what the user set in the environment stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in _CHATTY:
        # A handler that does nothing keeps warnings from the last resort, stderr; handlers of the user's still hear.
        logging.getLogger(name).addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", module=r"(mlflow|alembic|sqlalchemy|urllib3|requests|pydantic)(\.|$)")
