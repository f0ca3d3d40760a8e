"""File locks whose failures are one line: a folder that cannot be written, a file system without locks, a full disk."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from filelock import FileLock, Timeout

from oltr_cli.errors import OltrError


class Lock(FileLock):
    """``filelock.FileLock``; raises its ``Timeout``, and OltrError where the file cannot be locked at all."""

    def acquire(self, *args: Any, **options: Any) -> Any:
        try:
            return super().acquire(*args, **options)
        except TimeoutError:  # filelock's Timeout: another process holds it
            raise
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or "this file system has no locks"
            raise OltrError(f"{self.lock_file}: cannot be locked ({reason})") from None

    @contextmanager
    def held(self, waiting: Callable[[], object], poll_interval: float = 1.0, patience: float = 0.0) -> Iterator[None]:
        """Hold the lock.

        Args:
            waiting: called once if another process has it, before it is waited for.
            patience: seconds before ``waiting`` is called.
            poll_interval: seconds between looks at it.
        """
        try:
            self.acquire(timeout=patience)
        except Timeout:
            waiting()
            self.acquire(poll_interval=poll_interval)
        try:
            yield
        finally:
            self.release()
