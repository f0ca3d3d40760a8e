"""SIGINT and SIGTERM as a request: training stops at the next step, after its checkpoint. A second stops at once."""

import signal
from types import FrameType, TracebackType


class StopRequest:
    """While entered, remembers the first SIGINT or SIGTERM in ``signal_number``; exiting restores the old handlers."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._remember)
            except ValueError:  # not in the main thread: the caller keeps its own handling
                break
        return self

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.signal_number = number

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself returned
