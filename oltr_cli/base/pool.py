"""One small piece of work on each of many files, in worker processes, with a bar and a clean end on Ctrl-C."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

from oltr_cli.base.display import Display
from oltr_cli.base.signals import StopRequest, ignore_stopping
from oltr_cli.errors import OltrError, Stopped

Answer = TypeVar("Answer")

FEW = 256  # files that are done before processes would have started
CHUNK = 32  # files handed over at a time, at most: what a stop has to wait for


def over_files(
    work: Callable[[Path], Answer], files: Sequence[Path], title: str, workers: int, display: Display
) -> list[Answer]:
    """``work`` of each file, in order.

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
    with StopRequest() as stop:
        pool = ProcessPoolExecutor(workers, initializer=_follow_the_main_process)
        try:
            # All are submitted, and with that the processes started, before the bar starts a thread of its own.
            futures: dict[Future[list[Answer]], int] = {
                pool.submit(_chunk, work, files[start : start + size]): start for start in starts
            }
            with display.bar(title, len(files)) as bar:
                for future in as_completed(futures):
                    by_start[futures[future]] = future.result()
                    bar.advance(len(by_start[futures[future]]))
                    _leave_if(stop, sum(map(len, by_start.values())) if stop.signal_number else 0, len(files))
        except BrokenProcessPool:
            raise OltrError(f"{title}: a process was killed, perhaps because memory ran out; try --workers 1") from None
        finally:
            pool.shutdown(cancel_futures=True)
    return [answer for start in starts for answer in by_start[start]]


def _chunk(work: Callable[[Path], Answer], files: Sequence[Path]) -> list[Answer]:
    return [work(file) for file in files]


def _leave_if(stop: StopRequest, done: int, total: int) -> None:
    if stop.signal_number is not None:
        raise Stopped(f"stopped after {done:,} of {total:,} files", stop.signal_number)


def _follow_the_main_process() -> None:
    """Ctrl-C reaches the whole group: the main process decides when the others end. They end with it in any case."""
    ignore_stopping()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Where the main process is killed, nobody tells its workers, and they would wait for work for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)
