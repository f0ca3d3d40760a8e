"""Standard streams that may fail: a closed terminal, a pipe whose reader has exited, a full disk.

Progress that cannot be written is dropped, and the work continues. A result that cannot be written ends the command
with one line and its exit code. ``oltr_cli.app.main`` calls ``guard_streams`` first and ``check_result`` last.
"""

import errno
import io
import os
import sys
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any

from oltr_cli.errors import OltrError

PIPE_CLOSED = 141  # 128 + SIGPIPE, as a shell reports it for a program ended by a closed pipe


class ReaderLeft(Exception):
    """The reader of stdout exited, like ``head``; not an OSError, which libraries catch and turn into exit code 1."""


class OutputLost(OltrError):
    """stdout cannot be written, for example because the disk is full."""


class _Stream(ABC):
    """A text stream that forwards everything to another one, and handles failing writes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if not self._lost:
            try:
                return int(self._stream.write(text))
            except (OSError, ValueError) as error:  # ValueError: the stream is closed
                self._failed(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if not self._lost:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._failed(error)

    @abstractmethod
    def _failed(self, error: OSError | ValueError) -> None:
        """Called once, for the first write or flush that fails; later output is dropped."""

    def _discard(self) -> None:
        """Discard what is still buffered and all later output: the interpreter flushes again at exit."""
        self._lost = True
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


class _Progress(_Stream):
    """stderr: what cannot be written is dropped."""

    def _failed(self, error: OSError | ValueError) -> None:
        self._discard()


class _Result(_Stream):
    """stdout: a failing write ends the command."""

    failure: ReaderLeft | OutputLost | None = None  # kept, because a library may catch it

    def _failed(self, error: OSError | ValueError) -> None:
        self._discard()
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            self.failure = ReaderLeft()
        else:
            self.failure = OutputLost(f"stdout cannot be written: {getattr(error, 'strerror', None) or error}")
        raise self.failure from None


class _Closed(io.StringIO):
    """In the place of a stream that was closed before the start (``>&-``)."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "it is closed")


def guard_streams() -> None:
    """Put both guards in front of ``sys.stdout`` and ``sys.stderr``, also where a stream was closed at the start."""
    _occupy_closed()
    # With None in the place of stderr, print would write its lines to stdout.
    if not isinstance(sys.stdout, _Stream):
        sys.stdout = _Result(sys.stdout or _Closed())
    if not isinstance(sys.stderr, _Stream):
        sys.stderr = _Progress(sys.stderr or _Closed())


def check_result() -> None:
    """Flush stdout; raises ReaderLeft or OutputLost if any of it was lost, even if a library caught that."""
    sys.stdout.flush()
    if (failure := getattr(sys.stdout, "failure", None)) is not None:
        raise failure


def _occupy_closed() -> None:
    """Open /dev/null for closed standard streams: the next file would get their number, and what C code prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
