"""``--group-by``: which photographs belong together, by what their source, their names or their EXIF say."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.base.machine import cores
from oltr_cli.base.pool import over_files
from oltr_cli.base.text import counted, some
from oltr_cli.data.images import taken
from oltr_cli.data.sources.table import Photograph
from oltr_cli.errors import UsageProblem, nearest

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # seconds
_OPTION = "--group-by"


def group_by(photographs: list[Photograph], by: str, display: Display, warnings: list[str]) -> list[Photograph]:
    """``photographs`` with the groups that ``by`` says.

    Args:
        by: a column, ``day`` (of the date), ``folder``, ``name-pattern:REGEX`` or ``exif-time:10m``.
    Raises:
        UsageProblem: ``by`` is none of these, or no photograph has a group by it.
    """
    kind, _, value = by.partition(":")
    if kind == "exif-time":
        found = _sequences(photographs, _seconds(value), display)
    else:
        of = _rule(kind, value, by, photographs)
        found = [of(photograph) for photograph in photographs]
    sizes = Counter(filter(None, found))
    if not sizes:
        raise UsageProblem(f"{_OPTION} {by}: no photograph has a group by it{_why_none(kind)}")
    if max(sizes.values()) == 1:
        warnings.append(f"{_OPTION} {by}: each photograph is a group of its own, so no two are kept together by it")
    if without := [photograph.path.name for photograph, group in zip(photographs, found, strict=True) if not group]:
        warnings.append(f"{_OPTION} {by}: {counted(len(without), 'photograph')} of no group: {some(without)}")
    return [replace(photograph, group=group) for photograph, group in zip(photographs, found, strict=True)]


def with_dates(photographs: list[Photograph], display: Display) -> list[Photograph]:
    """``photographs`` with the date that EXIF has for those whose source has none."""
    moments = _moments([photograph.path for photograph in photographs if not photograph.date], display)
    return [
        photograph if photograph.date else replace(photograph, date=moments[photograph.path][0])
        for photograph in photographs
    ]


def column_of(photographs: Sequence[Photograph], name: str, option: str) -> str:
    """The column called ``name``, whatever the case.

    Raises:
        UsageProblem: there is none.
    """
    columns = {column for photograph in photographs for column in photograph.columns}
    if name in columns:
        return name
    fits = [column for column in columns if column.casefold() == name.casefold()]
    if len(fits) == 1:
        return fits[0]
    if not columns:
        raise UsageProblem(f"{option}: no column '{name}' (columns are those of a CSV)")
    hint = nearest(name, columns)
    there = "" if hint.startswith("; known") else f" (there are: {', '.join(sorted(columns))})"
    raise UsageProblem(f"{option}: no column '{name}'{hint}{there}")


def _rule(kind: str, value: str, by: str, photographs: list[Photograph]) -> Callable[[Photograph], str]:
    """The group of a photograph, "" for one of no group."""
    if by == "folder":
        if not any(photograph.columns for photograph in photographs):
            raise UsageProblem(
                f"{_OPTION} folder: each class is a folder, so each would be in one split; it is for the images of a "
                "CSV (for a part of the file names: name-pattern:REGEX)"
            )
        return lambda photograph: str(photograph.path.parent)
    if kind == "name-pattern":
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise UsageProblem(f"{_OPTION} {by}: not a regular expression ({error})") from None
        return lambda photograph: _matched(pattern, photograph.path.name)
    if by == "day" and not any("day" in photograph.columns for photograph in photographs):
        return lambda photograph: photograph.date[:10] if len(photograph.date) >= 10 else ""
    column = column_of(photographs, by, f"{_OPTION} {by}")
    return lambda photograph: photograph.columns.get(column, "")


def _matched(pattern: re.Pattern[str], name: str) -> str:
    """What the parts in parentheses match, or the whole pattern if there are none."""
    match = pattern.search(name)
    if match is None:
        return ""
    return " ".join(filter(None, match.groups())) if pattern.groups else match[0]


def _why_none(kind: str) -> str:
    return {
        "exif-time": "; they have no time of exposure (EXIF, or a column date with the time)",
        "day": "; the column date has no days",
        "name-pattern": "; the pattern is looked for in file names",
    }.get(kind, "; the column is empty")


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None or not int(match[1]):
        raise UsageProblem(f"{_OPTION} exif-time:{text}: write the longest gap inside of a sequence as 30s, 10m or 2h")
    return int(match[1]) * _UNITS[match[2]]


def _sequences(photographs: list[Photograph], gap: int, display: Display) -> list[str]:
    """The sequence of each photograph: those of a group and a camera that follow each other within ``gap`` seconds."""
    without_time = [photograph.path for photograph in photographs if "T" not in photograph.date]
    moments = _moments(without_time, display)
    taken_at: list[tuple[tuple[str, str], float, int]] = []
    for i, photograph in enumerate(photographs):
        time, camera = moments.get(photograph.path, (photograph.date, ""))
        if "T" in time:
            # As if it were UTC: only differences count.
            seconds = datetime.fromisoformat(f"{time}+00:00").timestamp()
            taken_at.append(((photograph.group, camera), seconds, i))
    found = [""] * len(photographs)
    last: tuple[tuple[str, str], float] = (("", ""), float("-inf"))
    name = ""
    for camera_key, seconds, i in sorted(taken_at):
        if camera_key != last[0] or seconds - last[1] > gap:
            start = datetime.fromtimestamp(seconds, tz=UTC).replace(tzinfo=None)
            name = " ".join(filter(None, (*camera_key, start.isoformat())))
        last = (camera_key, seconds)
        found[i] = name
    return found


def _moments(paths: list[Path], display: Display) -> dict[Path, tuple[str, str]]:
    unique = list(dict.fromkeys(paths))
    answers = over_files(taken, unique, "reading times", cores(), display)
    return dict(zip(unique, answers, strict=True))
