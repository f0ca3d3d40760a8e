"""Which images a command line means: files, folders, globs and a list on stdin, one by one, as they are found.

Nothing is opened here. What cannot be an image (no such file, an empty folder) is a source with a problem: in a call
over a million files it costs one row, not the call.
"""

import glob
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from oltr_cli.data.images import SUFFIXES

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Source:
    """The path of one image as the user would write it, or what is wrong with it."""

    path: str
    problem: str = ""


def image_sources(
    arguments: Sequence[str], stdin: BinaryIO | None = None, separator: bytes = b"\n"
) -> Iterator[Source]:
    """The images that the arguments name, in their order; a file that is named twice comes twice.

    A file is taken whatever its name. Of a folder, and of those below it, all visible files are taken that are named
    like images, sorted by name, each folder once however many links lead to it. What is no path but a pattern (``*``,
    ``?``, ``[…]``, ``**``) is filled in, so a quoted one does what the shell does. ``-`` stands for the paths on
    ``stdin``, which are no patterns.

    Args:
        stdin: default the process's own; ``separator`` ends each path there (``\\n``, or ``\\0`` for ``find -print0``).
    """
    for argument in arguments:
        if argument == STDIN:
            for path in _listed(stdin or sys.stdin.buffer, separator):
                yield from _at(path)
        elif os.path.lexists(argument):
            yield from _at(argument)
        else:
            # In quotes the shell leaves ~ alone. Path's form would raise where there is no such user.
            home = os.path.expanduser(argument)  # noqa: PTH111
            yield from _matching(home) if glob.has_magic(home) else _at(home)


def _at(path: str) -> Iterator[Source]:
    """The image or the folder of images at ``path``."""
    if not path:  # to Path it would be the current folder
        yield Source(path, "an empty path")
        return
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        yield Source(path, "no such file")
    except OSError as error:
        yield Source(path, f"cannot be read ({error.strerror})")
    except ValueError:  # stat's word on a NUL inside a path
        yield Source(path, "no path: it holds a NUL character; is the list separated by them (--null)?")
    else:
        if stat.S_ISDIR(mode):
            yield from _below(path)
        else:  # reading from a pipe or a device would wait for ever
            yield Source(path, "" if stat.S_ISREG(mode) else "not a file")


def _below(top: str) -> Iterator[Source]:
    """Images in a folder and in those below it."""
    unreadable: list[OSError] = []
    seen: set[tuple[int, int]] = set()
    empty = True
    for folder, inside, files in os.walk(top, followlinks=True, onerror=unreadable.append):
        try:
            status = Path(folder).stat()
        except OSError as error:  # gone in the meantime
            unreadable.append(error)
            continue
        if (status.st_dev, status.st_ino) in seen:  # links may lead round in a circle
            inside.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                empty = False
                yield Source(str(Path(folder, name)))
    for lost in unreadable:
        yield Source(str(lost.filename), f"cannot be read ({lost.strerror})")
    if empty and not unreadable:
        yield Source(top, "a folder without images")


def _matching(pattern: str) -> Iterator[Source]:
    """What fits a pattern, sorted; ``**`` fits folders and all that is in them, of which the files count."""
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  # Path.glob takes no absolute pattern
    if not found:
        yield Source(pattern, "no file fits this pattern")
    for path in found:
        if "**" not in pattern or not Path(path).is_dir():
            yield from _at(path)


def _listed(stream: BinaryIO, separator: bytes) -> Iterator[str]:
    """Paths from a stream, each as soon as it is there; empty ones are passed over."""
    rest = b""
    # Below the buffer a read returns what has arrived, and holds no lock that an exiting interpreter would wait for.
    unbuffered = getattr(stream, "raw", stream)
    while block := unbuffered.read(1 << 16):
        *whole, rest = (rest + block).split(separator)
        yield from (_path(raw, separator) for raw in whole if raw.strip(b"\r"))
    if rest.strip(b"\r"):
        yield _path(rest, separator)


def _path(raw: bytes, separator: bytes) -> str:
    return os.fsdecode(raw.removesuffix(b"\r") if separator == b"\n" else raw)
