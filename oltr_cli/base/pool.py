"""Processes that work on what is submitted: they end with the main process, and Ctrl-C is for it alone to handle."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar

from oltr_cli.base.display import Display
from oltr_cli.base.signals import STOPPING, StopRequest
from oltr_cli.errors import OltrError, Stopped

Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")

FEW = 256  # files that are done before processes would have started
CHUNK = 32  # files handed over at a time, at most: what a stop has to wait for


class Workers:
    """``count`` processes; with 0 this one works, at once. A context manager whose end ends them.

    All have started when it is entered, which is to be before this process starts threads: a forked one copies locks.

    Args:
        prepare: what each process calls first, a function of a module.
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
        """``work``, a function of a module; its future raises BrokenProcessPool where a process was killed."""
        if self._pool is not None:
            return self._pool.submit(work, *args, **kwargs)
        done: Future[Answer] = Future()
        done.set_result(work(*args, **kwargs))
        return done


def over_files(
    work: Callable[[Path], Answer], files: Sequence[Path], title: str, workers: int, display: Display
) -> list[Answer]:
    """``work`` of each file, in order, with a bar.

    Args:
        work: a function of a module (processes find it by name) that raises nothing.
        workers: processes; 0 works in this one.
    Raises:
        Stopped: SIGINT or SIGTERM came; the processes have ended.
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
        futures = {pool.submit(_chunk, work, files[start : start + size]): start for start in starts}
        try:
            for future in as_completed(futures):
                by_start[futures[future]] = future.result()
                done += len(future.result())
                bar.advance(len(future.result()))
                _leave_if(stop, done, len(files))
        except BrokenProcessPool:
            _leave_if(stop, done, len(files))  # SIGTERM may reach the whole group
            raise OltrError(f"{title}: a process was killed, perhaps because memory ran out; try --workers 1") from None
    return [answer for start in starts for answer in by_start[start]]


def _chunk(work: Callable[[Path], Answer], files: Sequence[Path]) -> list[Answer]:
    return [work(file) for file in files]


def _leave_if(stop: StopRequest, done: int, total: int) -> None:
    if stop.signal_number is not None:
        raise Stopped(f"stopped after {done:,} of {total:,} files", stop.signal_number)


def _begin(prepare: Callable[[], object] | None) -> None:
    """Ctrl-C reaches the whole group: the main process decides when the others end. They end with it in any case."""
    for number in STOPPING:  # not what a StopRequest of the main process made of them
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()


def _end_with_parent() -> None:
    """Where the main process is killed, nobody tells its workers, and they would wait for work for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _nothing() -> None:
    """The task that starts the processes."""
