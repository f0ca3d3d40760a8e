"""Writing files so that a kill or a full disk never leaves a partial one, and reading them without trusting them."""

import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from oltr_cli.base.digests import with_digest, without_digest
from oltr_cli.errors import DataProblem, OltrError

DEEPEST = 20  # tables and lists inside of each other in a TOML file; a recipe has four
TOO_DEEP = "tables or lists are nested too deeply"
_NESTS = (dict, list)


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Run ``write`` on a temporary file beside ``path``, flush it to disk and put it in place in one step.

    Raises:
        OltrError: the disk is full or the folder cannot be written; a file that was at ``path`` before is unchanged.
    """
    temporary = None
    failures: list[OSError] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with _Noting(os.fdopen(handle, "wb"), failures) as file:
            write(cast("IO[bytes]", file))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
        temporary = None
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        # torch.save reports a full disk as a RuntimeError about positions in its zip file: the first failure counts.
        # str(error) would name the temporary file, which means nothing to the user.
        first = failures[0] if failures else error
        reason = getattr(first, "strerror", None) or first
        raise OltrError(f"cannot write {path}: {reason}; an existing file is unchanged") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


class _Noting:
    """A binary file that notes why a write failed, for writers that report something else."""

    def __init__(self, file: IO[bytes], failures: list[OSError]) -> None:
        self._file, self._failures = file, failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, content: Any) -> int:
        try:
            return self._file.write(content)
        except OSError as error:
            self._failures.append(error)
            raise

    def __enter__(self) -> "_Noting":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as strict JSON (no NaN), atomically; an object with its digest (oltr_cli/base/digests.py)."""
    value = with_digest(value) if isinstance(value, dict) else value
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def check_regular(path: Path) -> None:
    """Refuse a folder, and a pipe, which would be waited for without end. A path that does not exist passes.

    Raises:
        DataProblem: it is something else than a file.
    """
    if path.is_dir():
        raise DataProblem(f"{path}: cannot be read (it is a folder)")
    if path.exists() and not path.is_file():
        raise DataProblem(f"{path}: cannot be read (it is not a regular file); save it to a file first")


def read_json(path: Path) -> Any:
    """The JSON in ``path`` without its digest, or None if it is missing, cut short or otherwise damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return without_digest(value) if isinstance(value, dict) else value
    except (OSError, ValueError, RecursionError):
        return None


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of ``folder`` in one step once the block has filled it.

    The caller holds a lock; what a process that was killed here has left is removed.
    """
    for stale in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(stale, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        new = temporary / "new"
        new.mkdir()
        yield new
        if folder.exists():
            folder.replace(temporary / "old")
        new.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def parse_toml(text: str) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ValueError: it is not TOML, has a number that Python does not read, or nests more than ``DEEPEST`` tables.
    """
    try:
        content = tomllib.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    level: list[Any] = [content]
    for _ in range(DEEPEST):
        level = [v for one in level for v in (one.values() if isinstance(one, dict) else one) if isinstance(v, _NESTS)]
        if not level:
            return content
    raise ValueError(TOO_DEEP)


def toml_or_text(text: str) -> Any:
    """A value as it is typed: TOML if it parses as such, otherwise the text itself.

    Raises:
        ValueError: it begins like TOML and is not valid TOML.
    """
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        if text[0] in "[{\"'":
            raise
        return text


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, if the system can open folders."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    with suppress(OSError):
        os.fsync(handle)
    os.close(handle)
