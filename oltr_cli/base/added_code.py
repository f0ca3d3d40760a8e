"""Faults in code that is not oltr's own: one line for each that names file and line, and the traceback on request."""

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from oltr_cli.errors import OltrError, with_type

TRACEBACK = "OLTR_TRACEBACK"
_files: set[str] = set()  # of the added classes that were loaded


def add_source(file: str) -> None:
    """Count ``file`` as code that was added: what it raises is a fault of its own."""
    _files.add(file)


def fault_of(error: BaseException) -> OltrError | None:
    """The line for ``error`` if it came through an added file; None if it did not, or says what is wrong by itself.

    The traceback is printed where ``OLTR_TRACEBACK`` is set.
    """
    if isinstance(error, OltrError):
        return None
    place = place_of(error)
    return None if place is None else OltrError(f"{place}: {in_one_line(error)}")


def in_one_line(error: BaseException) -> str:
    """``ValueError: its first line``, and how to see the traceback; it is printed if the user has asked for it."""
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
        return with_type(error)
    return f"{with_type(error)}; {TRACEBACK}=1 shows the traceback"


@contextmanager
def named_faults() -> Iterator[None]:
    """Turn what an added file raises into one line.

    Raises:
        OltrError: the line; other exceptions stay what they are.
    """
    try:
        yield
        return
    except (Exception, SystemExit) as error:
        fault = fault_of(error)
        if fault is None:
            raise
    # Without its cause: that traceback holds the loader, whose workers would keep the interpreter from ending.
    raise fault


def defined_at(function: Callable[..., Any]) -> str:
    """``FILE, line N, NAME`` of a function or method, to name one that returns what its contract does not allow."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    name = getattr(function, "__qualname__", repr(function))
    return f"{code.co_filename}, line {code.co_firstlineno}, {name}" if code is not None else name


def place_of(error: BaseException) -> str | None:
    """The innermost place in an added file that ``error`` came through."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_code.co_filename in _files:
            return f"{frame.f_code.co_filename}, line {line}, in {frame.f_code.co_name}"
    return None


def line_in(error: BaseException, file: str) -> int | None:
    """The innermost line of ``file`` that ``error`` came through; None if it did not."""
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return lines[-1] if lines else None
