"""The SQLite store in the runs folder: built whole or not at all, and set aside where an earlier build broke off.

MLflow builds its tables in many steps inside the file that it will use. A command that ends in between would leave a
store that answers every later call with an error, so the build happens under another name.
"""

import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from oltr_cli.base.locks import Lock
from oltr_cli.errors import OltrError

NAME = "mlflow.db"  # in the runs folder
LOCK = ".mlflow.lock"
_TABLES = {"alembic_version", "experiments", "runs", "metrics", "params", "tags"}


def local_file(uri: str) -> Path | None:
    """The file of an SQLite store; None for any other store."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def store_lock(root: Path) -> Lock:
    """Held by the one process that writes to the store in ``root``."""
    return Lock(root / LOCK)


def seconds_since_change(file: Path) -> float:
    """How long ago a process wrote to the store in ``file``, its journal, or the one that is being built for it."""
    changes = []
    for path in file.parent.glob(f"*{file.name}*"):
        with suppress(OSError):  # gone meanwhile
            changes.append(path.stat().st_mtime)
    return time.time() - max(changes, default=0.0)


def ensure_store(mlflow: Any, file: Path) -> str:
    """Build the store in ``file`` where there is none, and set a broken one aside; the caller holds the lock.

    Returns:
        what to tell the user, empty where there is nothing to tell.
    Raises:
        OltrError: ``file`` is something else than a file, or cannot be replaced.
    """
    if file.is_dir():
        raise OltrError(f"{file} is a folder; move it away")
    for stale in file.parent.glob(f".{file.name}.*.tmp*"):
        stale.unlink(missing_ok=True)
    problem = "" if not file.exists() else what_is_wrong(file)
    if file.exists() and not problem:
        return ""
    aside = set_aside(file, "broken")
    _build(mlflow, file)
    if aside is None:
        return ""
    return f"{file}: {problem}; it is now {aside.name}, and a new store was made. Fill it with: oltr ui --rebuild"


def what_is_wrong(file: Path) -> str:
    """Why MLflow cannot use ``file``, empty where it can: an interrupted build lacks tables or their version."""
    try:
        with closing(sqlite3.connect(f"file:{file.as_posix()}?mode=ro", uri=True, timeout=5)) as store:
            tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if _TABLES - tables or not store.execute("SELECT version_num FROM alembic_version").fetchone():
                return "was left incomplete by a command that was interrupted"
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return ""
        return f"cannot be used ({error})"
    except sqlite3.DatabaseError as error:
        return f"is damaged ({error})"
    return ""


def _build(mlflow: Any, file: Path) -> None:
    """The tables in a temporary file, renamed once they are all there."""
    fresh = file.with_name(f".{file.name}.{mlflow.__version__}.tmp")
    fresh.touch()  # processes that wait see that somebody is at work
    uri = f"sqlite:///{fresh.as_posix()}"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.search_experiments(max_results=1)  # the first request makes MLflow build its tables
    fresh.replace(file)


def set_aside(file: Path, word: str) -> Path | None:
    """Rename ``file`` to ``<name>.<word>-1.db``, or the next number that is free; None where there is no file."""
    if not file.exists():
        return None
    number = 1
    while (name := file.with_name(f"{file.stem}.{word}-{number}{file.suffix}")).exists():
        number += 1
    for suffix in ("-journal", "-wal", "-shm", ""):  # what SQLite keeps beside it belongs to it
        if (part := Path(f"{file}{suffix}")).exists():
            part.replace(f"{name}{suffix}")
    return name
