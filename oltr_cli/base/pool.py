"""Worker processes that end with the main process, which alone handles Ctrl-C."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from oltr_cli.base.display import Display
from oltr_cli.base.signals import STOPPING, StopRequest
from oltr_cli.base.text import counted
from oltr_cli.errors import OltrError, Stopped

Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")

FEW = 256  # with fewer files, starting processes would take longer than the work
CHUNK = 32  # most files handed over at a time, which a stop has to wait for


class Workers:
    """``count`` processes; with 0 this process does the work immediately. A context manager that ends them on exit.

    All have started when it is entered, which must be before this process starts threads: a forked one copies locks.

    Args:
        prepare: a module-level function that each process calls first.
    """

    def __init__(self, count: int, prepare: Callable[[], object] | None = None) -> None:
        self._pool = ProcessPoolExecutor(count, initializer=_begin, initargs=(prepare,)) if count else None

    def __enter__(self) -> "Workers":
        if self._pool is not None:
            self._pool.submit(_nothing)  # the first task starts all of them
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def submit(
        self, work: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Answer]:
        """Submit ``work``, a module-level function; its future raises BrokenProcessPool if a process was killed."""
        if self._pool is not None:
            return self._pool.submit(work, *args, **kwargs)
        done: Future[Answer] = Future()
        done.set_result(work(*args, **kwargs))
        return done

    def finished(self, work: Callable[..., Answer], calls: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Answer]]:
        """Number and result of each of ``calls``, the arguments of ``work``, as they end; without processes in order.

        Raises:
            BrokenProcessPool: a process was killed.
        """
        if self._pool is None:  # one at a time, so that the caller can stop between them
            yield from ((number, work(*arguments)) for number, arguments in enumerate(calls))
            return
        futures = {self._pool.submit(work, *arguments): number for number, arguments in enumerate(calls)}
        for future in as_completed(futures):
            yield futures[future], future.result()


def over_files(
    work: Callable[[Path], Answer], files: Sequence[Path], title: str, workers: int, display: Display
) -> list[Answer]:
    """The result of ``work`` for each file, in order, with a progress bar.

    Args:
        work: a module-level function (processes find it by name) that raises nothing.
        workers: number of processes; with 0 this process does the work.
    Raises:
        Stopped: after SIGINT or SIGTERM; the processes have ended.
        OltrError: a process was killed.
    """
    if workers < 1 or len(files) <= FEW:
        answers: list[Answer] = []
        with StopRequest() as stop, display.bar(title, len(files)) as bar:
            for file in files:
                _leave_if(stop, len(answers), len(files))
                answers.append(work(file))
                bar.advance()
        return answers
    size = max(1, min(CHUNK, len(files) // (8 * workers)))
    starts = range(0, len(files), size)
    by_start: dict[int, list[Answer]] = {}
    done = 0
    with StopRequest() as stop, Workers(workers) as pool, display.bar(title, len(files)) as bar:
        calls = [(work, files[start : start + size]) for start in starts]
        try:
            for number, chunk in pool.finished(_chunk, calls):
                by_start[starts[number]] = chunk
                done += len(chunk)
                bar.advance(len(chunk))
                _leave_if(stop, done, len(files))
        except BrokenProcessPool:
            _leave_if(stop, done, len(files))  # SIGTERM may reach the whole group
            raise OltrError(f"{title}: a process was killed, perhaps because memory ran out; try --workers 1") from None
    return [answer for start in starts for answer in by_start[start]]


def _chunk(work: Callable[[Path], Answer], files: Sequence[Path]) -> list[Answer]:
    return [work(file) for file in files]


def _leave_if(stop: StopRequest, done: int, total: int) -> None:
    if stop.signal_number is not None:
        raise Stopped(f"stopped after {done:,} of {counted(total, 'file')}", stop.signal_number)


def _begin(prepare: Callable[[], object] | None) -> None:
    """Ignore Ctrl-C, which reaches the whole group: the main process decides when the others end."""
    for number in STOPPING:  # not the handlers that a StopRequest of the main process set
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()


def _end_with_parent() -> None:
    """End this worker when the main process is killed; otherwise it would wait for work forever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _nothing() -> None:
    """The task that starts the processes."""
