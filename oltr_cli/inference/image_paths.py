"""Which images a command line means: files, folders, globs and a list on stdin, one by one, as they are found.

Nothing is opened here. Whatever cannot be an image (no such file, an empty folder) is a source with a problem: in a
call over a million files it gives one row with an error, and the call continues.
"""

import glob
import os
import select
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oltr_cli.data.images import KNOWN_SUFFIXES

STDIN = "-"
_FOLDER = "a folder, not an image"


@dataclass(frozen=True, slots=True)
class Source:
    """The path of one image as the user would write it, or what is wrong with it.

    Attributes:
        image: an image in memory, of which ``path`` is only a name: Pillow's, or RGB as uint8 (H, W, 3).
    """

    path: str
    problem: str = ""
    image: Image.Image | NDArray[np.uint8] | None = field(default=None, compare=False)


PAUSE = Source("", "a pause")  # told from other sources by identity


def image_sources(
    arguments: Sequence[str], stdin: BinaryIO | None = None, separator: bytes = b"\n"
) -> Iterator[Source]:
    """The images that the arguments name, in their order; a file that is named twice comes twice.

    A file is taken whatever its name. Of a folder and those below it, all visible files named like images are taken,
    sorted by name, each folder once even if several links lead to it. An argument that is not a path but a pattern
    (``*``, ``?``, ``[…]``, ``**``) is expanded, so a quoted one works as in the shell. ``-`` stands for the paths on
    ``stdin``, which are not patterns. When the next of these has not arrived yet, ``PAUSE`` comes: what is there need
    not wait for it.

    Args:
        stdin: default the process's own; ``separator`` ends each path there (``\\n``, or ``\\0`` for ``find -print0``).
    """
    for argument in arguments:
        if argument == STDIN:
            for path in _listed(stdin or sys.stdin.buffer, separator):
                if path is None:
                    yield PAUSE
                else:
                    yield from _at(path)
        elif os.path.lexists(argument):
            yield from _at(argument)
        else:
            # In quotes the shell does not expand ~. Path's form would raise if there is no such user.
            home = os.path.expanduser(argument)  # noqa: PTH111
            yield from _matching(home) if glob.has_magic(home) else _at(home)


def source_at(path: str) -> Source:
    """The image at ``path``; a folder is a problem here."""
    if not path:  # Path would take it for the current folder
        return Source(path, "an empty path")
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return Source(path, "no such file")
    except OSError as error:
        return Source(path, f"cannot be read ({error.strerror})")
    except ValueError:  # stat raises it for a NUL in a path
        return Source(path, "not a path: it contains a NUL character; is the list separated by NUL (--null)?")
    if stat.S_ISDIR(mode):
        return Source(path, _FOLDER)
    # Reading from a pipe or a device would wait forever.
    return Source(path, "" if stat.S_ISREG(mode) else "not a file")


def _at(path: str) -> Iterator[Source]:
    """The image or the folder of images at ``path``."""
    found = source_at(path)
    if found.problem == _FOLDER:
        yield from _below(path)
    else:
        yield found


def _below(top: str) -> Iterator[Source]:
    """Images in a folder and in those below it."""
    unreadable: list[OSError] = []
    seen: set[tuple[int, int]] = set()
    empty = True
    for folder, inside, files in os.walk(top, followlinks=True, onerror=unreadable.append):
        try:
            status = Path(folder).stat()
        except OSError as error:  # deleted in the meantime
            unreadable.append(error)
            continue
        if (status.st_dev, status.st_ino) in seen:  # links may form a loop
            inside.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in KNOWN_SUFFIXES and not name.startswith("."):
                empty = False
                yield Source(str(Path(folder, name)))
    for lost in unreadable:
        yield Source(str(lost.filename), f"cannot be read ({lost.strerror})")
    if empty and not unreadable:
        yield Source(top, "a folder without images")


def _matching(pattern: str) -> Iterator[Source]:
    """The files that match a pattern, sorted; ``**`` matches folders, too, which are left out."""
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  # Path.glob takes no absolute pattern
    if not found:
        yield Source(pattern, "no file matches this pattern")
    for path in found:
        if "**" not in pattern or not Path(path).is_dir():
            yield from _at(path)


def _listed(stream: BinaryIO, separator: bytes) -> Iterator[str | None]:
    """Paths from a stream, each as soon as it arrives, and None before a read has to wait; empty ones are skipped."""
    rest = b""
    # Below the buffer a read returns what has arrived, and holds no lock that an exiting interpreter would wait for.
    unbuffered = getattr(stream, "raw", stream)
    while True:
        if _has_to_wait(unbuffered):
            yield None
        if not (block := unbuffered.read(1 << 16)):
            break
        *whole, rest = (rest + block).split(separator)
        yield from (_path(raw, separator) for raw in whole if raw.strip(b"\r"))
    if rest.strip(b"\r"):
        yield _path(rest, separator)


def _has_to_wait(stream: BinaryIO) -> bool:
    """Whether nothing has arrived; True also where the system cannot say (Windows), False for what is in memory."""
    try:
        number = stream.fileno()
    except (OSError, ValueError, AttributeError):  # not a file of the system
        return False
    try:
        return not select.select([number], [], [], 0)[0]
    except (OSError, ValueError):
        return True


def _path(raw: bytes, separator: bytes) -> str:
    return os.fsdecode(raw.removesuffix(b"\r") if separator == b"\n" else raw)
