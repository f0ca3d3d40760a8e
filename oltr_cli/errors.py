"""Errors that a user can cause: one clear line each, and the exit code that scripts can rely on.

0 done · 1 a run failed · 2 usage or recipe · 3 data missing or corrupt · 4 loss or scores not finite ·
75 with --no-wait, another process is working on the run · 129/130/143 stopped with a checkpoint ·
141 the reader of stdout left. Any other exception is a bug in oltr and keeps its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class OltrError(Exception):
    """A run failed for a reason that fits on one line."""

    exit_code = 1


class UsageProblem(OltrError):
    """The command line or a recipe asks for something that does not exist or does not fit."""

    exit_code = 2


class DataProblem(OltrError):
    """A file is missing, cannot be decoded or has invalid content; the message names it."""

    exit_code = 3


class NotFinite(OltrError):
    """A loss term became NaN or infinite; the last good checkpoint is kept."""

    exit_code = 4


class BeingMade(OltrError):
    """Another process is working on a run, and this one was not to wait for it."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again later


class Stopped(OltrError):
    """SIGINT, SIGTERM or SIGHUP arrived and a checkpoint was written; ``exit_code`` is 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def released(error: E) -> E:
    """``error`` without the frames it came through: kept for later, they would keep loaders and networks alive."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


READ = 200  # names


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the known name closest to a misspelt one, or the list of the known names.

    Nothing if none is close and there are more of them than anybody reads.
    """
    names = sorted(set(known))
    lowered = {n.lower(): n for n in names}
    close = get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{lowered[close[0]]}'?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= READ else ""


def first_line(error: BaseException) -> str:
    """The first line of an error's message; the name of its type if the message is empty."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def with_type(error: BaseException) -> str:
    """``ValueError: its first line``, like the last line of a traceback; only the type if the message is empty."""
    kind, text = type(error).__name__, first_line(error)
    return kind if text == kind else f"{kind}: {text}"


def several(where: str, problems: list[str]) -> str:
    """One problem on one line, several as a list."""
    if len(problems) == 1:
        return f"{where}: {problems[0]}"
    return f"{where}: {len(problems)} problems\n" + "\n".join(f"  - {p}" for p in problems)
