"""SIGINT, SIGTERM and SIGHUP as a request: training stops at the next step, after its checkpoint.

A second signal stops at once. A second SIGTERM soon after the first is the same request: a scheduler sends it to every
process of a job, and the job passes it on.
"""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

# SIGHUP is what a terminal sends as it is closed; Windows has none.
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


SAME_REQUEST = 20.0  # seconds between two SIGTERM of one request


class StopRequest:
    """While entered, remembers the first signal in ``signal_number``; exiting restores the old handlers."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._since = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in STOPPING:
            if number != signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup: the user wants the command to outlive the terminal
            try:
                self._before[number] = signal.signal(number, self._remember)
            except ValueError:  # not in the main thread: the caller keeps its own handling
                break
        return self

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == self.signal_number == signal.SIGTERM and time.monotonic() - self._since < SAME_REQUEST:
            return
        if self.signal_number is not None:
            # Before their queues close on them: each would print a traceback about that.
            end_workers()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.signal_number, self._since = number, time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself returned


class Interrupted(KeyboardInterrupt):
    """As Ctrl-C, by another signal."""

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.signal_number = signal_number


@contextmanager
def interrupted_by_all() -> Iterator[None]:
    """While entered, SIGTERM and SIGHUP raise ``Interrupted``, so that what Ctrl-C leaves in order they do, too."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before: dict[int, object] = {}
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup; Ctrl-C has Python's own handler
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself returned


def ignore_stopping() -> None:
    """For a worker process: stopping is the main process's business, which then ends its workers."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def end_workers() -> None:
    """End the worker processes of this one. At exit Python would send SIGTERM, which they ignore, and wait for ever."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is None:  # not imported: there are none
        return
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD"):
        # torch's handler would raise, here and now, that a loading process was killed.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in processes.active_children():
        child.kill()
