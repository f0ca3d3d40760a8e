"""MLflow mirrors the run directory and never blocks a run.

One background thread does all work with MLflow, including its import of some seconds. What cannot be logged is kept and
tried again with the next epoch; a server that is down or slow gives one warning.

The store is ``$MLFLOW_TRACKING_URI``, else ``<runs>/mlflow.db`` with artifacts in ``<runs>/mlartifacts``; an experiment
is a dataset. ``OLTR_TRACKING=off`` turns MLflow off, including its import.
"""

import importlib
import os
import platform
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import Timeout

from oltr_cli.base.secrets import without_secrets, without_secrets_in
from oltr_cli.runs.folder import Run
from oltr_cli.tracking.mlflow_run import (
    Description,
    Epoch,
    Finish,
    Mirror,
    Status,
    Value,
    finite,
    is_remote,
    note_the_store,
    now,
    read_note,
)
from oltr_cli.tracking.quiet import keep_quiet
from oltr_cli.tracking.store import NAME, ensure_store, local_file, seconds_since_change, store_lock
from oltr_cli.tracking.words import gist, with_commit

SERVER_PATIENCE = 8.0  # seconds at the end of a run, for a server
STORE_PATIENCE = 8.0  # for a store on this machine, since it last changed: other processes may be writing to it
FAILED_PATIENCE = 3.0  # for either, if it has failed before
IMPORT_PATIENCE = 60.0  # importing MLflow and building a store depend only on this machine
STOPPED_PATIENCE = 5.0  # for all of it together, after Ctrl-C

# Stores that this process has warned about: a command that makes several runs warns once.
_failing: set[str] = set()


def tracking_uri(root: Path) -> str:
    """``$MLFLOW_TRACKING_URI``, else the SQLite store in the runs folder ``root``."""
    return os.environ.get("MLFLOW_TRACKING_URI", "") or f"sqlite:///{(root.absolute() / NAME).as_posix()}"


def left_open(run: Run) -> bool:
    """Whether ``run`` is in the store that is used now, and a process was stopped before it had closed it there."""
    note = read_note(run)
    return (
        not _off() and note.get("uri") == without_secrets(tracking_uri(run.root)) and note.get("status") != "FINISHED"
    )


def _off() -> bool:
    return os.environ.get("OLTR_TRACKING", "").lower() in ("off", "0", "false", "no")


class Tracker:
    """One run's connection to MLflow. No method raises; only ``finish`` and ``close`` wait, and not for long."""

    def __init__(self, description: Description, warn: Callable[[str], None]) -> None:
        self._description, self._warn = description, warn
        self._jobs: queue.SimpleQueue[Epoch | Finish | None] = queue.SimpleQueue()
        self._imported, self._ready = threading.Event(), threading.Event()
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
        began: int | None = None,
    ) -> "Tracker":
        """Start to mirror ``run``, or continue the MLflow run that ``mlflow.json`` in its directory names.

        Args:
            params: the resolved recipe, by dotted key.
            dataset: "name", "digest" and other facts about the training data.
            enabled: False, like ``OLTR_TRACKING=off``, makes a tracker that does nothing.
            warn: gets the one line that says that MLflow is not available; called from another thread.
            title: the run's name in MLflow; empty: method, hash and seed.
            parent: describes the run that this one is nested below, to create it if it does not exist.
            began: milliseconds since 1970, of a run that began earlier.
        """
        uri = tracking_uri(run.root)
        description = Description(run, uri, dict(params), dict(tags), dict(dataset), title, parent, began or now())
        tracker = cls(description, warn)
        if enabled and not _off():
            keep_quiet()
            note_the_store(run, uri)
            tracker._description = with_commit(description)
            platform.platform()  # MLflow reads it when imported; now that it is cached, no process is started
            # A daemon: a server that never answers cannot keep the process from ending.
            tracker._thread = threading.Thread(target=tracker._work, name="mlflow", daemon=True)
            tracker._hold_forks()
            tracker._thread.start()
        return tracker

    def epoch(self, metrics: Mapping[str, float | None], epoch: int, ended: int | None = None) -> None:
        """Log the metrics of epoch ``epoch`` (from 1); epochs that were logged before a resumption are skipped.

        Args:
            ended: milliseconds since 1970; None: now.
        """
        if self._thread is not None:
            self._jobs.put(Epoch(epoch, ended or now(), finite(metrics)))

    def finish(
        self,
        status: Status,
        metrics: Mapping[str, float | None],
        artifacts: Sequence[Path],
        timeout: float | None = None,
        ended: int | None = None,
    ) -> None:
        """Log the final metrics, close the MLflow run, send the artifacts; wait as ``close`` does.

        After "KILLED" it waits 5 s at most, import included, and Ctrl-C ends the wait without an exception: the one
        that stopped the run is already being raised and says how to resume.
        """
        if self._thread is None:
            return
        self._jobs.put(Finish(status, ended or now(), finite(metrics), tuple(artifacts)))
        if status != "KILLED":
            self.close(timeout)
            return
        try:
            self._wait(timeout, stopped=timeout is None)
        except KeyboardInterrupt:
            self._left = True

    def close(self, timeout: float | None = None) -> None:
        """Wait until all is logged, at most ``timeout`` seconds after MLflow is imported; else warn and return.

        Without ``timeout``: 8 s, or 3 s where the store has failed before; for a store on this machine they count from
        its last change, and a minute is the most.
        """
        self._wait(timeout)

    def _wait(self, timeout: float | None, stopped: bool = False) -> None:
        """As ``close``; for a run that was stopped, the import's time counts, too."""
        if self._thread is None or self._left:
            return
        self._jobs.put(None)
        began = time.monotonic()
        self._ready.wait(STOPPED_PATIENCE if stopped else IMPORT_PATIENCE)
        uri = self._description.uri
        file = None if stopped or timeout is not None else local_file(uri)
        if timeout is None:
            usual = STOPPED_PATIENCE if stopped else SERVER_PATIENCE if is_remote(uri) else STORE_PATIENCE
            timeout = FAILED_PATIENCE if uri in _failing else usual
        ready = time.monotonic()
        self._thread.join(max(0.0, timeout - (ready - began if stopped else 0.0)))
        while self._thread.is_alive() and file is not None and time.monotonic() - ready < IMPORT_PATIENCE:
            if (left := timeout - seconds_since_change(file)) <= 0:
                break
            self._thread.join(left)
        if self._thread.is_alive():
            self._warn_once(f"no answer within {timeout:g} s")
        self._left = True

    def _work(self) -> None:
        try:
            self._mirror()
        finally:
            self._imported.set()
            self._ready.set()

    def _mirror(self) -> None:
        try:
            # Imported by name: a missing package is noticed here, and importing oltr does not need it.
            mlflow = importlib.import_module("mlflow")
        except ImportError as error:
            missing = "MLflow is not installed" if error.name == "mlflow" else f"MLflow cannot be imported: {error}"
            self._warn_once(missing)
            return
        except Exception as error:
            self._warn_once(f"MLflow cannot be imported: {error}")
            return
        self._imported.set()
        mirror: Mirror | None = None
        epochs: list[Epoch] = []
        finish: Finish | None = None
        ended = False
        while True:
            try:
                if mirror is None:
                    self._make_store_ready(mlflow)
                    mirror = Mirror(mlflow, self._description)
                mirror.log_epochs(epochs)
                epochs = []
                if finish is not None:
                    mirror.finish(finish)
                    _failing.discard(self._description.uri)
            except Exception as error:
                self._warn_once(gist(error))
            if ended or finish is not None:
                return
            # Everything waiting goes into one request, so that a slow server does not fall further behind.
            waiting = [self._jobs.get()]
            while not self._jobs.empty():
                waiting.append(self._jobs.get())
            epochs += [job for job in waiting if isinstance(job, Epoch)]
            finish = next((job for job in waiting if isinstance(job, Finish)), None)
            ended = None in waiting

    def _make_store_ready(self, mlflow: Any) -> None:
        """Build the store where this process is the first to need it: its own work, which is waited for."""
        try:
            file = local_file(self._description.uri)
            if file is None:
                return
            with suppress(ImportError):  # some seconds, which no other process should wait for
                importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
            root = self._description.run.root
            root.mkdir(parents=True, exist_ok=True)
            lock = store_lock(root)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self._ready.set()  # that process's work is waited for like any other's
                lock.acquire()
            try:
                said = ensure_store(mlflow, file)
            finally:
                lock.release()
        finally:
            self._ready.set()
        if said:
            self._warn(said)

    def _warn_once(self, reason: str) -> None:
        uri = self._description.uri
        if uri not in _failing and not self._left:
            _failing.add(uri)
            where = without_secrets(uri)
            self._warn(f"not tracked in {where}: {without_secrets_in(reason)}; the run directory has everything")

    def _hold_forks(self) -> None:
        """Fork worker processes only after the import: a lock that it holds would stay locked in a child."""

        def wait() -> None:
            if threading.current_thread() is not self._thread:
                self._imported.wait(IMPORT_PATIENCE)

        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=wait)
