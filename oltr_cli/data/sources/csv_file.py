"""Tables of other programs: CSV or TSV with a header, read row by row; columns are found whatever their case."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from oltr_cli.errors import DataProblem

Row = dict[str, str]


def header_of(file: Path) -> list[str]:
    """The names in the first line; [] for a file that is no UTF-8 text."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            line = text.readline(100_000)
        return [name.strip() for name in next(csv.reader([line], delimiter=_separator(line)), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def rows_of(file: Path) -> Iterator[tuple[str, Row]]:
    """(file and line, cells by column) of each row; cells have no blanks around them.

    Raises:
        DataProblem: unreadable, not UTF-8, or a row with too many values; the message names file and line.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # Darwin Core has whole lists of URLs in a cell
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            separator = _separator(text.readline(100_000))
            text.seek(0)
            if separator == "\t":  # then quotes are plain characters
                reader = csv.reader(text, delimiter=separator, quoting=csv.QUOTE_NONE)
            else:
                reader = csv.reader(text, delimiter=separator)
            names = [name.strip() for name in next(reader, [])]
            for cells in reader:
                if not any(cells):
                    continue
                if len(cells) > len(names):
                    raise DataProblem(f"{file}:{reader.line_num}: {len(cells)} values for {len(names)} columns")
                cells += [""] * (len(names) - len(cells))
                yield f"{file}:{reader.line_num}", dict(zip(names, map(str.strip, cells), strict=True))
    except UnicodeDecodeError:
        raise DataProblem(f"{file}: not UTF-8 text") from None
    except (OSError, csv.Error) as error:
        raise DataProblem(f"{file}: cannot be read ({error})") from None


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
