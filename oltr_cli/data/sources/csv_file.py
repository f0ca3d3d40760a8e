"""Tables of other programs: CSV or TSV with a header, read row by row; columns are found whatever their case."""

import csv
import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO, cast

from oltr_cli.errors import DataProblem

Row = dict[str, str]


def header_of(file: Path) -> list[str]:
    """The names in the first line; [] for a file that is no UTF-8 text."""
    try:
        with open_text(file) as text:
            line = text.readline(100_000)
        return [name.strip() for name in next(csv.reader([line], delimiter=_separator(line)), [])]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error):
        return []


def rows_of(*files: Path) -> Iterator[tuple[str, Row]]:
    """(file and line, cells by column) of each row; cells have no blanks around them.

    Args:
        files: one table; parts after the first one may repeat its header.
    Raises:
        DataProblem: unreadable, not UTF-8, or a row with too many values; the message names file and line.
    """
    names: list[str] = []
    for file in files:
        for position, (line, cells) in enumerate(records(file, _separator, quotes_in_tabs=False)):
            if position == 0:
                names = names or cells
            if not any(cells) or (position == 0 and cells == names):
                continue
            if len(cells) > len(names):
                raise DataProblem(f"{file}:{line}: {len(cells)} values for {len(names)} columns")
            cells += [""] * (len(names) - len(cells))
            yield f"{file}:{line}", dict(zip(names, cells, strict=True))


def records(
    file: Path, separator: Callable[[str], str], quotes_in_tabs: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """(the line in which it begins, its cells without blanks around them) of each record, empty ones too.

    Args:
        separator: from the first line.
        quotes_in_tabs: whether a quote has its meaning where columns are separated by tabs, or is a plain character.
    Raises:
        DataProblem: unreadable or not UTF-8; the message names the file.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # Darwin Core has whole lists of URLs in a cell
    try:
        with open_text(file) as text:
            mark = separator(text.readline(100_000))
            text.seek(0)
            if mark == "\t" and not quotes_in_tabs:
                reader = csv.reader(text, delimiter=mark, quoting=csv.QUOTE_NONE)
            else:
                reader = csv.reader(text, delimiter=mark)
            begin = 1  # a quote that is never closed is in the line where its record begins
            for cells in reader:
                yield begin, [cell.strip() for cell in cells]
                begin = reader.line_num + 1
    except UnicodeDecodeError:
        raise DataProblem(f"{file}: not UTF-8 text; save it as 'CSV UTF-8'") from None
    except (OSError, EOFError, zlib.error, ValueError, csv.Error) as error:
        raise DataProblem(f"{file}: cannot be read ({error})") from None


def open_text(file: Path) -> TextIO:
    """A table for reading, as it is or compressed by gzip."""
    if file.suffix.lower() == ".gz":
        return cast(TextIO, gzip.open(file, "rt", newline="", encoding="utf-8-sig"))
    return file.open(newline="", encoding="utf-8-sig")


def need(file: Path, *columns: str) -> None:
    """Raise DataProblem unless the table has all ``columns``."""
    present = header_of(file)
    for column in columns:
        if column not in present:
            raise DataProblem(f"{file}:1: has no column {column} (there are: {', '.join(present) or 'none'})")


def keyed(name: str) -> str:
    """``scientific_name``, ``scientificName`` and ``Scientific name`` are one column."""
    return "".join(c for c in name.lower() if c.isalnum())


def _separator(line: str) -> str:
    return max("\t,;", key=line.count)
