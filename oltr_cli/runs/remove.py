"""Deletes the folder of a run or of a study, unless a process is using it."""

import os
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from oltr_cli.errors import OltrError


def remove_folder(folder: Path) -> None:
    """Remove the folder of a run or a study, with a study's journal, and the folders above that are empty then.

    It is renamed first, so that one that cannot be removed to its end does not stand among the others.

    Raises:
        OltrError: a process holds a lock in it, or the system does not allow it.
    """
    aside = folder.with_name(f".removed.{os.getpid()}")
    try:
        with ExitStack() as held:
            for lock in folder.rglob(".lock"):
                held.enter_context(FileLock(lock).acquire(timeout=0))
            folder.rename(aside)
        shutil.rmtree(aside)
        for beside in (f"{folder.name}.journal", f".{folder.name}.journal.lock"):
            folder.with_name(beside).unlink(missing_ok=True)
    except Timeout:
        raise OltrError(f"{folder}: a process is working in it; stop that first") from None
    except OSError as error:
        raise OltrError(f"{folder}: cannot be removed ({error.strerror})") from None
    with suppress(OSError):  # they are not empty
        folder.parent.rmdir()
        folder.parent.parent.rmdir()
