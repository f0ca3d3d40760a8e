"""``groups.csv``: which images of a built dataset are of one group, as a site or a sequence, and so in one split."""

import csv
from pathlib import Path

from oltr_cli.errors import DataProblem

GROUPS = "groups.csv"


def read_groups_of(lists: Path) -> dict[str, str]:
    """The group by path; empty where there is no such file.

    Raises:
        DataProblem: it cannot be read, is not ``path,group``, or has an image in two groups.
    """
    file = lists / GROUPS
    if not file.is_file():
        return {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            rows = [row for row in csv.reader(text) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise DataProblem(f"{file}: cannot be read ({error})") from None
    if not rows or rows[0] != ["path", "group"] or any(len(row) != 2 for row in rows):
        raise DataProblem(f"{file}: its lines are not 'path,group'")
    found: dict[str, str] = {}
    for path, group in rows[1:]:
        if found.setdefault(path, group) != group:
            raise DataProblem(f"{file}: {path} is in two groups, '{found[path]}' and '{group}'")
    return found
