"""Keeps a report up to date: checks the files of the runs every few seconds, and writes it again if any changed."""

import signal
import time
from collections.abc import Callable

from oltr_cli.report.choose import Chosen, running
from oltr_cli.report.content import state

SECONDS = 3.0


def seen(chosen: Chosen) -> list[object]:
    """The state of all runs at one look; one that was killed changes its status and no file."""
    return [*(state(run) for run, _ in chosen.done), *((state(run), running(run)) for run in chosen.others)]


def watch(look: Callable[[], Chosen], write: Callable[[Chosen, bool], None], seconds: float = SECONDS) -> None:
    """Call ``write(chosen, True)`` now and at every change, until Ctrl-C or SIGTERM.

    Then ``write(chosen, False)`` makes it a page that no longer reloads itself, and KeyboardInterrupt is raised.
    """
    before_us = signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = look()
    try:
        before: list[object] | None = None
        while True:
            # The state before the files are read: changes during reading are noticed at the next check.
            now = seen(chosen)
            if now != before:
                write(chosen, True)
                before = now
            time.sleep(seconds)
            chosen = look()
    except KeyboardInterrupt:
        write(chosen, False)
        raise
    finally:
        signal.signal(signal.SIGTERM, before_us)
