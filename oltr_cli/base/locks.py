"""File locks whose failures are one line: a folder that cannot be written, a file system without locks, a full disk."""

from typing import Any

from filelock import FileLock

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
