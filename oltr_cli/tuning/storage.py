"""Where Optuna keeps studies: a journal on a disk that all workers share, or a database for workers without one.

A journal's lock is freed by the system when its holder dies (Optuna's own is not, for half a minute). A database cannot
see a worker die, so each worker reports every minute.
"""

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oltr_cli.base.locks import Lock
from oltr_cli.base.secrets import without_secrets, without_secrets_in
from oltr_cli.errors import DataProblem, OltrError, UsageProblem, first_line

if TYPE_CHECKING:
    import optuna

# Drivers by the beginning of an address without one: module → (beginning that names it, package), the first to be
# preferred.
_POSTGRESQL = {
    "psycopg": ("postgresql+psycopg", "'oltr[postgresql]'"),
    "psycopg2": ("postgresql+psycopg2", "psycopg2-binary"),
}
DRIVERS = {
    "postgresql": _POSTGRESQL,
    "postgres": _POSTGRESQL,
    "mysql": {"pymysql": ("mysql+pymysql", "pymysql"), "MySQLdb": ("mysql+mysqldb", "mysqlclient")},
}
ADDRESSES = "postgresql://user@host:port/name, mysql://user@host/name or sqlite:////folder/file"
BEAT = 60  # seconds
DEAD_AFTER = 300
ATTEMPTS = 10  # to make the tables of an empty database, while other workers make them too


class StudyLost(OltrError):
    """The journal is no longer where it was."""


class JournalLock:
    """Held while a line is written to ``journal``; first drops an incomplete line that a kill has left.

    A line appended to an incomplete one could not be read, and neither could a journal that begins with a line of an
    earlier one: after ``watch``, the file must stay where it is.
    """

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.lock = Lock(journal.with_name(f".{journal.name}.lock"))
        self.watched: tuple[int, int] | None = None

    def watch(self) -> None:
        """From now on nothing is written to another file in the journal's place."""
        self.watched = _identity(self.journal)

    def acquire(self) -> bool:
        """Raises StudyLost: the journal was removed, moved or replaced."""
        if self.watched not in (None, _identity(self.journal)):
            raise StudyLost(
                f"{self.journal}: was removed or moved during the search; move it back, and repeat the command to "
                "continue"
            )
        self.lock.acquire()
        try:
            _drop_torn_line(self.journal)
        except BaseException:
            self.lock.release()
            raise
        return True

    def release(self) -> None:
        self.lock.release()


def open_journal(journal: Path) -> "optuna.storages.JournalStorage":
    """The studies in a file, which is created if it does not exist.

    Raises:
        DataProblem: it cannot be read, or is not such a file.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    _quiet()
    lock = JournalLock(journal)
    try:
        journal.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        lock.release()
        # Optuna's type hint names its own lock class, but it uses only these two methods.
        backend = JournalFileBackend(str(journal), lock_obj=lock)  # type: ignore[arg-type, unused-ignore]
        lock.watch()
        return optuna.storages.JournalStorage(backend)
    except OltrError:
        raise
    except Exception as error:  # a line that is none of Optuna's makes it raise errors of many kinds
        raise DataProblem(
            f"{journal}: is not a journal of studies ({first_line(error)}); remove it to start again"
        ) from None


def open_database(url: str, when_dead: "Callable[[optuna.Study, Any], None]") -> "optuna.storages.RDBStorage":
    """The studies in a database, such as ``postgresql://user@host/name`` or ``sqlite:///FILE``.

    An address that names no driver takes the one that is installed, whichever SQLAlchemy would take.

    Args:
        when_dead: called with the study and each trial whose worker has not reported for five minutes.
    Raises:
        UsageProblem: the address is invalid, or the database does not answer.
    """
    import optuna
    from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

    _quiet()
    address, left = with_driver(url), ATTEMPTS
    while True:
        left -= 1
        try:
            return optuna.storages.RDBStorage(
                address, heartbeat_interval=BEAT, grace_period=DEAD_AFTER, heartbeat_stale_trial_callback=when_dead
            )
        except ImportError as error:
            raise UsageProblem(f"--storage {without_secrets(url)}: {_no_driver(url, error)}") from None
        except (ValueError, RuntimeError, SQLAlchemyError, optuna.exceptions.OptunaError) as error:
            # In an empty database Optuna makes its tables without regard to another worker that does so as well.
            both = isinstance(error, IntegrityError | ProgrammingError | OperationalError) and "exist" in str(error)
            if both and left:
                continue
            write = f"; write it as {ADDRESSES}" if isinstance(error, ArgumentError | ValueError) else ""
            raise UsageProblem(
                f"--storage {without_secrets(url)}: {without_secrets_in(first_line(error))}{write}"
            ) from None


def with_driver(url: str) -> str:
    """``url`` with the name of an installed driver, where it names a database without one.

    Raises:
        UsageProblem: none is installed.
    """
    name, _, rest = url.partition("://")
    if name not in DRIVERS:
        return url
    for module, (named, _) in DRIVERS[name].items():
        if _is_installed(module):
            return f"{named}://{rest}"
    module, (_, package) = next(iter(DRIVERS[name].items()))
    raise UsageProblem(f"--storage {without_secrets(url)}: {_missing(module, package)}")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # it is imported, and says nothing of where from
        return sys.modules.get(module) is not None


def _no_driver(url: str, error: ImportError) -> str:
    """What an address needs that names its driver."""
    for drivers in DRIVERS.values():
        for module, (named, package) in drivers.items():
            if url.startswith(f"{named}:"):
                return _missing(module, package)
    cause = error.__cause__
    return _missing(cause.name) if isinstance(cause, ImportError) and cause.name else first_line(error)


def _missing(module: str, package: str | None = None) -> str:
    return f"the Python module '{module}' is not installed" + (f": pip install {package}" if package else "")


def check_database(url: str) -> None:
    """Raises UsageProblem: the address is invalid, or the database does not answer."""
    open_database(url, lambda study, trial: None).engine.dispose()


class Heartbeat:
    """While entered, reports to a database that a trial's worker is alive, the first time at once.

    A journal does not need this.
    """

    def __init__(self, storage: "optuna.storages.BaseStorage", trial_id: int) -> None:
        self.beat: Callable[[int], None] | None = getattr(storage, "record_heartbeat", None)
        self.trial_id, self.over = trial_id, threading.Event()

    def __enter__(self) -> "Heartbeat":
        if self.beat is not None:
            self.beat(self.trial_id)
            self.thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        if self.beat is not None:
            self.thread.join(timeout=5)

    def _beat(self) -> None:
        assert self.beat is not None
        while not self.over.wait(BEAT):
            with suppress(Exception):  # the database may be down for a while; reporting a trial fails if it stays so
                self.beat(self.trial_id)


def storage_faults() -> tuple[type[Exception], ...]:
    """What a storage raises when it cannot be read or written."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    return OSError, SQLAlchemyError, optuna.exceptions.StorageInternalError


@contextmanager
def named_faults(where: str) -> Iterator[None]:
    """Turn the errors of a storage that cannot be read or written into one line."""
    try:
        yield
    except storage_faults() as error:
        reason = without_secrets_in(first_line(error.__cause__ or error))
        raise OltrError(f"{without_secrets(where)}: {reason}; repeat the command to continue") from error


def _quiet() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed to be used")  # here, it is


def _identity(file: Path) -> tuple[int, int] | None:
    """What tells the file from another at the same place; None where there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _drop_torn_line(journal: Path) -> None:
    if not journal.exists():
        return
    with journal.open("rb+") as file:
        size = file.seek(0, 2)
        if not size:
            return
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


@contextmanager
def study_lock(folder: Path) -> Iterator[None]:
    """Held while trials are handed out and told."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder / ".lock")
        lock.acquire()
    except OSError as error:
        raise OltrError(f"{folder}: cannot be made ({error.strerror}); set OLTR_RUNS to a folder") from None
    try:
        yield
    finally:
        lock.release()
