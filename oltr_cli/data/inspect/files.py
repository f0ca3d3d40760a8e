"""What is wrong with the listed files: missing, empty, copies of others, not images."""

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.display import Display
from oltr_cli.base.pool import over_files
from oltr_cli.base.text import counted, some
from oltr_cli.data.inspect.findings import Finding
from oltr_cli.data.inspect.lists import Lists
from oltr_cli.data.inspect.near import look
from oltr_cli.data.lists.lists import REQUIRED
from oltr_cli.data.lists.locate import Found, why_not_found
from oltr_cli.protocol.open_sets import OUTLIERS, is_open

Located = dict[str, list[str | None]]  # by split: where each listed path is below the root
_EVERY = 500  # files between two steps of the bar: a look at a file's size takes microseconds


def missing_findings(read: Lists, located: Found) -> Iterator[Finding]:
    """Listed files that are missing, and folders that are missing entirely, as after an interrupted download."""
    files = located.files
    for split, names in read.names.items():
        missing = [name for name, file in zip(names, files[split], strict=True) if file is None]
        if not missing:
            continue
        message = f"{len(missing):,} of {counted(len(names), 'image')} missing"
        if len(missing) < len(names):
            there = {_folder(name) for name, file in zip(names, files[split], strict=True) if file is not None}
            gone = [folder for folder in dict.fromkeys(map(_folder, missing)) if folder not in there]
            if gone and len(missing) > 1:
                message += f", {counted(len(gone), 'folder')} entirely ({some(gone)})"
        message += f": {some(missing)}{why_not_found(missing[0], located)}"
        yield Finding("error", "missing_files", message, (split,), len(missing))


def elsewhere_findings(read: Lists, located: Found) -> Iterator[Finding]:
    """Images that are in the other layout than their list, as ``val/<class>/x`` for ``val/x``."""
    for split, names in read.names.items():
        pairs = [f"{name} is {located.elsewhere[name]}" for name in names if name in located.elsewhere]
        if pairs:
            message = f"{counted(len(pairs), 'image')} found elsewhere than listed: {some(pairs)}"
            yield Finding("note", "found_elsewhere", message, (split,), len(pairs))


def _folder(name: str) -> str:
    return str(PurePosixPath(name).parent)


def file_sizes(root: Path, files: Located, display: Display) -> dict[str, int]:
    """Bytes of each file that was found; −1 for a folder or a broken link."""
    unique = list(dict.fromkeys(file for found in files.values() for file in found if file is not None))
    sizes: dict[str, int] = {}
    folder = str(root)
    with display.bar("looking at files", max(1, len(unique)), "files") as bar:
        for start in range(0, len(unique), _EVERY):
            for file in unique[start : start + _EVERY]:
                try:
                    status = os.stat(f"{folder}/{file}")  # noqa: PTH116 (a Path for each of a million files costs many seconds)
                    sizes[file] = status.st_size if stat.S_ISREG(status.st_mode) else -1
                except OSError:
                    sizes[file] = -1
            bar.advance(min(_EVERY, len(unique) - start))
    return sizes


def size_findings(files: Located, sizes: dict[str, int]) -> Iterator[Finding]:
    """Empty files, and paths that are not files."""
    for split, found in files.items():
        for kind, size, what in (("empty_files", 0, "that is empty"), ("no_files", -1, "that is not a file")):
            wrong = [file for file in found if file is not None and sizes[file] == size]
            if wrong:
                message = f"{counted(len(wrong), 'image')} {_are(what, len(wrong))}: {some(wrong)}"
                yield Finding("error", kind, message, (split,), len(wrong))


def _are(what: str, count: int) -> str:
    return what if count == 1 else what.replace("that is", "that are").replace("not a file", "not files")


def copy_findings(
    root: Path, read: Lists, files: Located, sizes: dict[str, int], workers: int, display: Display
) -> Iterator[Finding]:
    """Files with the same bytes; only those of equal size are read.

    An error where training sees what is tested, or an image is both known and open; published sets have copies of every
    other kind.
    """
    by_size: dict[int, list[str]] = defaultdict(list)
    for file, size in sizes.items():
        if size > 0:
            by_size[size].append(file)
    suspects = [file for group in by_size.values() if len(group) > 1 for file in group]
    digests = over_files(content_digest, [root / file for file in suspects], "comparing contents", workers, display)
    by_content: dict[str, list[str]] = defaultdict(list)
    for file, digest in zip(suspects, digests, strict=True):
        if digest:
            by_content[digest].append(file)
    copies = [sorted(group) for group in by_content.values() if len(group) > 1]
    # Only for files that have a copy: the splits they are in, and their label in each.
    wanted = {file for group in copies for file in group}
    uses: dict[str, dict[str, int]] = defaultdict(dict)
    for split, found in files.items():
        for path, label in zip(found, read.labels[split].tolist(), strict=True):
            if path in wanted:
                uses[str(path)][split] = label
    pairs: dict[tuple[tuple[str, ...], bool], list[str]] = defaultdict(list)
    for group in copies:
        splits = tuple(split for split in files if any(split in uses[file] for file in group))
        known = {uses[file][split] for file in group for split in uses[file] if split in REQUIRED}
        pairs[splits, len(known) > 1].append(" = ".join(group[:2]))
    for (splits, torn), groups in pairs.items():
        message = f"{counted(len(groups), 'image')} listed as several files with the same bytes"
        message += " under different labels" if torn else ""
        closed, opened = {*splits} & {*REQUIRED}, list(filter(is_open, splits))
        trained = OUTLIERS in opened and len(opened) > 1  # on what is tested
        leak = trained or (closed and (opened or ("train" in closed and len(closed) > 1)))
        yield Finding("error" if leak else "warning", "copies", f"{message}: {some(groups)}", splits, len(groups))


def content_digest(file: Path) -> str:
    """SHA-256 of the bytes; empty where they cannot be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""


def decode(
    root: Path, files: Located, sizes: dict[str, int], workers: int, display: Display
) -> tuple[list[Finding], dict[str, NDArray[np.uint8]]]:
    """Files whose pixels cannot be read, the empty ones were reported already; and thumbnails of the others."""
    import oltr_cli.data.images  # noqa: F401 (once: forked processes have it then)

    whole = [file for file, size in sizes.items() if size > 0]
    answers = over_files(look, [root / file for file in whole], "decoding", workers, display)
    reasons: dict[str, str] = {}
    thumbnails: dict[str, NDArray[np.uint8]] = {}
    for file, answer in zip(whole, answers, strict=True):
        if isinstance(answer, str):
            reasons[file] = answer.removeprefix("cannot be decoded (").removesuffix(")")
        else:
            thumbnails[file] = answer[1]
    findings = []
    for split, found in files.items():
        broken = [f"{file} ({reasons[file]})" for file in found if file in reasons]
        if broken:
            message = f"{counted(len(broken), 'image')} that cannot be decoded: {some(broken)}"
            findings.append(Finding("error", "undecodable", message, (split,), len(broken)))
    return findings, thumbnails
