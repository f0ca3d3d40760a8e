"""What every source of photographs gives: a ``Photograph`` for each image; and the source that is a CSV of any columns.

Readers look at no image: ``find_photographs`` checks afterwards that the files exist, once for all sources.
"""

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from oltr_cli.data.images import KNOWN_SUFFIXES
from oltr_cli.data.sources.csv_file import keyed, records
from oltr_cli.data.sources.left_out import UNLABELLED, LeftOut
from oltr_cli.data.sources.local_files import is_file
from oltr_cli.errors import DataProblem

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_YES, _NO = ("1", "1.0", "true", "yes", "y"), ("", "0", "0.0", "false", "no", "n")
# 2024:05:31 10:00:00, 2024/5/31 9:05, 2024/05
_YEAR_FIRST = re.compile(r"(\d{4})[:/](\d\d?)(?:[:/](\d\d?)(?:[ T]+(\d\d?)(:.+))?)?")
# Names of columns, as ``keyed`` writes them.
ALIASES = {
    "path": ("path", "file", "filename", "filepath", "image", "imagepath", "imagefile", "relativefilepath"),
    "folder": ("relativepath",),  # Timelapse writes the folder of `File` into this column
    "label": ("label", "class", "classname", "category", "categoryname", "species", "scientificname", "commonname"),
    "split": ("split", "subset", "partition"),
    "group": ("group", "groupid"),
    "date": ("date", "datetime", "timestamp", "eventdate", "dateobserved", "datecaptured", "observedon"),
    "open": ("open", "isopen"),
}


@dataclass(frozen=True, slots=True)
class Photograph:
    """One image and what its source says about it.

    Attributes:
        path: absolute, without ``..``; whether the file exists is not known yet.
        label: its class; of an open image its kind, which may be "".
        split: "train", "val", "test", or "" for one that is to be drawn.
        group: photographs of one group stay together; "" is a group of its own.
        date: ISO 8601 as ``iso_date`` writes it, or "".
        open: of no known class.
        columns: everything the source says, by its own names, for options that name a column.
        where: file and line or the like, for messages.
    """

    path: Path
    label: str
    split: str = ""
    group: str = ""
    date: str = ""
    open: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    where: str = ""


def read_csv(file: Path, warnings: list[str], all_open: bool = False) -> list[Photograph]:
    """The lines of a CSV, in its order, without those that have no label.

    Columns are known by the names in its first line, in any order and case: path and label (or file, filename, class,
    species, …), and where there are such columns split, group, date, open. Without a header, or with two columns of
    other names, lines are ``path,label``. Paths start from the file's folder. Where the first line has no comma,
    columns are separated by semicolons or tabs.

    Args:
        warnings: what was left out is appended.
        all_open: all are of no known class, so they need no label, and no column of labels.
    Raises:
        DataProblem: unreadable, a line with too few or too many values, or a value that is none of its column's; the
            message names file and line.
    """
    folder = str(file.parent.absolute())
    rows = ((line, cells) for line, cells in records(file, _separator) if any(cells))
    left_out = LeftOut()
    found = list(_photographs(rows, file, folder, all_open, left_out))
    warnings += left_out.warnings()
    if not found:
        raise DataProblem(f"{file}: no image is left: {left_out}" if left_out else f"{file}: lists no images")
    return found


def iso_date(text: str) -> str:
    """A date or a time as ISO 8601 in local time; such strings can be compared once ``start_of`` has filled them up.

    Takes ISO 8601 (an interval counts by its start, an offset from UTC is left out: what matters is the day at the
    site), EXIF's ``2024:05:31 10:00:00``, ``2024/5/31 9:05`` of spreadsheets, and a year or a month alone.

    Raises:
        ValueError: anything else.
    """
    text = text.strip()
    if match := _YEAR_FIRST.fullmatch(text):
        year, month, day, hour, rest = match.groups()
        start = f"{year}-{int(month):02}" + (f"-{int(day):02}" if day else "")
        start += f"T{int(hour):02}{rest}" if hour else ""
    else:
        start = text.partition("/")[0].strip()
    short = len(start) in (4, 7)  # datetime takes neither a year nor a month
    moment = datetime.fromisoformat(f"{start}-01-01"[:10] if short and start[:4].isdecimal() else start)
    if short:
        return start
    return moment.date().isoformat() if len(start) <= 10 else moment.replace(tzinfo=None).isoformat()


def start_of(date: str) -> str:
    """The first second of a year, a month or a day as ``iso_date`` writes them; a time as it is."""
    return date + "2000-01-01T00:00:00"[len(date) :]


def label_of(text: str, where: str) -> str:
    """A label as class names are written: composed Unicode, on one line.

    Raises:
        DataProblem: it contains a line break.
    """
    label = unicodedata.normalize("NFC", text.strip())
    if len(label.splitlines()) > 1:
        raise DataProblem(f"{where}: the label {label!r} contains a line break")
    return label


class _Columns(NamedTuple):
    """Positions in a line; −1 where there is no such column."""

    path: int
    label: int
    folder: int = -1
    split: int = -1
    group: int = -1
    date: int = -1
    open: int = -1


def _photographs(
    rows: Iterator[tuple[int, list[str]]], file: Path, folder: str, all_open: bool, left_out: LeftOut
) -> Iterator[Photograph]:
    """A photograph for each of ``rows`` (line number, cells) but the header and those without a label."""
    names: list[str] = []
    columns = _Columns(0, 1)
    for position, (line, cells) in enumerate(rows):
        where = f"{file}:{line}"
        if position == 0:
            if _is_header(cells, folder):
                names, columns = cells, _columns(cells, where, all_open)
                continue
            names = ["path"] if all_open and len(cells) == 1 else ["path", "label"]
            columns = _Columns(0, 1 if len(names) == 2 else -1)
        while len(cells) > len(names) and not cells[-1]:
            cells.pop()
        if len(cells) != len(names):
            raise DataProblem(f"{where}: {_wrong_length(cells, names)}")
        photograph = _photograph(cells, columns, dict(zip(names, cells, strict=True)), where, folder)
        if photograph.label or photograph.open or all_open:
            yield photograph
        else:
            left_out.add(UNLABELLED, where)


def _photograph(cells: list[str], columns: _Columns, named: dict[str, str], where: str, folder: str) -> Photograph:
    split, group, date, open_ = (
        cells[at] if at >= 0 else "" for at in (columns.split, columns.group, columns.date, columns.open)
    )
    path = cells[columns.path]
    label = label_of(cells[columns.label], where) if columns.label >= 0 else ""
    is_open = open_.lower() in _YES
    if not is_open and open_.lower() not in _NO:
        raise DataProblem(f"{where}: open is '{open_}'; write true or false")
    if not path:
        raise DataProblem(f"{where}: the path is missing")
    if columns.folder >= 0:
        path = os.path.join(cells[columns.folder].replace("\\", "/"), path)  # noqa: PTH118 (see below)
    if split and split.lower() not in SPLITS:
        raise DataProblem(f"{where}: split is '{split}'; write train, val, test or nothing")
    if is_open and SPLITS.get(split.lower()) == "train":
        raise DataProblem(f"{where}: an open image cannot be for training; write val, test or nothing as its split")
    if date:
        try:
            date = iso_date(date)
        except ValueError:
            raise DataProblem(f"{where}: date is '{date}'; write it as 2024-05-31 or 2024-05-31T10:00:00") from None
    whole = os.path.normpath(os.path.join(folder, path))  # noqa: PTH118 (pathlib takes seconds for 200,000)
    if "\\" in path and not is_file(whole):  # as Windows writes it
        whole = os.path.normpath(os.path.join(folder, path.replace("\\", "/")))  # noqa: PTH118
    return Photograph(Path(whole), label, SPLITS.get(split.lower(), ""), group, date, is_open, named, where)


def _is_header(cells: Sequence[str], folder: str) -> bool:
    """Whether no cell of the first line is an image."""
    return not any(
        Path(cell).suffix.lower() in KNOWN_SUFFIXES or (cell and is_file(Path(folder, cell))) for cell in cells
    )


def _columns(header: list[str], where: str, all_open: bool) -> _Columns:
    """Where the header has each column.

    Raises:
        DataProblem: no column for the path or the label, several that could be it, or a name twice.
    """
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise DataProblem(f"{where}: two columns are called '{twice[0]}'; rename one of them")
    at: dict[str, int] = {}
    for column, aliases in ALIASES.items():
        fits = [position for position, name in enumerate(header) if keyed(name) in aliases]
        exact = [position for position in fits if keyed(header[position]) == column]
        if len(fits) > 1 and len(exact) != 1:
            shown = " and ".join(f"'{header[position]}'" for position in fits)
            raise DataProblem(f"{where}: the columns {shown} could all be the {column}; rename one of them '{column}'")
        if fits:
            at[column] = (exact or fits)[0]
    if "path" in at and ("label" in at or all_open):
        return _Columns(**{"label": -1} | at)
    if len(header) == 1 and all_open:
        return _Columns(0, -1)
    if len(header) == 2 and len(at) <= 1 and at.get("path") != 1 and at.get("label") != 0:
        return _Columns(0, 1)  # names in another language
    column = "label" if "path" in at else "path"
    raise DataProblem(f"{where}: no column is called '{column}' (there are: {', '.join(header)})")


def _wrong_length(cells: list[str], names: list[str]) -> str:
    """What is wrong with a line that has not a value for each of ``names``."""
    if names == ["path", "label"]:
        hint = (
            f": it has {len(cells)} columns; put a path or label that contains a comma in double quotes, or begin "
            "with a line that names the columns"
        )
        return f"not 'path,label'{hint if len(cells) > 2 else ''}"
    return f"{len(cells)} values for {len(names)} columns; put a value that contains a comma in double quotes"


def _separator(line: str) -> str:
    """Only where there is no comma: a header has two columns or more."""
    return "," if "," in line else max(",;\t", key=line.count)
