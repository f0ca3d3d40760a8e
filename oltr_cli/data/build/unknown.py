"""What is unknown by ``--open-by``, and which unknown images are for the test and which for validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from oltr_cli.base.text import counted, some
from oltr_cli.data.build.group import column_of
from oltr_cli.data.build.split import Photographs, split_open
from oltr_cli.data.sources.table import Photograph, iso_date, start_of
from oltr_cli.errors import DataProblem, UsageProblem, nearest


def open_by(photographs: list[Photograph], by: str, warnings: list[str]) -> list[Photograph]:
    """``photographs``, where those of classes that have no others than those that ``by`` selects are open.

    Selected photographs of other classes stay known: a detector that is tested on them as unknown would be right to
    accept them. A warning counts them.

    Args:
        by: ``date:2024-01-01`` (that day and later), ``group:NAME`` or ``COLUMN:VALUE``.
    Raises:
        UsageProblem: ``by`` is none of these, or selects nothing.
        DataProblem: every selected photograph is of a class that has others, too, or no others are left.
    """
    selects = _rule(photographs, by)
    selected = [selects(photograph) for photograph in photographs]
    known = {p.label for p, chosen in zip(photographs, selected, strict=True) if not chosen and not p.open}
    both = [p for p, chosen in zip(photographs, selected, strict=True) if chosen and not p.open and p.label in known]
    new = {p.label for p, chosen in zip(photographs, selected, strict=True) if chosen and not p.open} - known
    if not known:
        raise DataProblem(f"--open-by {by}: selects every photograph, so no known class is left")
    if not new:
        raise DataProblem(
            f"--open-by {by}: selects {counted(sum(selected), 'photograph')}, but all are of classes that are seen "
            "otherwise, too, so none is unknown; for single photographs that are to be unknown give the CSV a column "
            "'open' with true or false"
        )
    opened = [
        replace(p, open=True, split=p.split.replace("train", "")) if chosen and p.label in new else p
        for p, chosen in zip(photographs, selected, strict=True)
    ]
    if both:
        warnings.append(
            f"--open-by {by}: {counted(len(new), 'class')} only seen there {'is' if len(new) == 1 else 'are'} unknown "
            f"({some(sorted(new))}); {counted(len(both), 'photograph')} of classes that are seen otherwise, too, "
            "stay known"
        )
    return opened


def split_unknown(
    kinds: Photographs, given: Mapping[Path, str], together: Sequence[Sequence[Path]], seed: int, warnings: list[str]
) -> tuple[list[Path], list[Path]]:
    """(open test, open validation): images that ``given`` names as it says, of the others different kinds.

    Kinds that share a group of ``together`` count as one kind, unless that leaves only one.
    """
    fixed = {
        split: [p for files in kinds.values() for p in files if given.get(p) == split] for split in ("test", "val")
    }
    free = {name: left for name, files in kinds.items() if (left := [p for p in files if p not in given])}
    merged = _merged(free, together)
    if len(merged) == 1 < len(free):
        warnings.append(
            f"groups have images of all {len(free)} kinds of open images, so kinds are kept apart, but not groups: "
            "some are in both open and open_val"
        )
        merged = free
    open_, open_val = split_open(merged, seed, together) if merged else ([], [])
    open_, open_val = sorted({*open_, *fixed["test"]}), sorted({*open_val, *fixed["val"]})
    if not open_val:
        warnings.append(
            "only one open image or group: it goes to the open test, and no threshold can be tuned on unknowns"
            if free
            else "no open image has the split val, so no threshold can be tuned on unknowns"
        )
    elif len(merged) == 1 and not fixed["val"]:
        warnings.append(
            "all open images are of one kind, which open validation and open test share: a tuned threshold will look "
            "better than it is on new kinds; sort open images into one folder per kind"
        )
    return open_, open_val


def _merged(kinds: Photographs, together: Sequence[Sequence[Path]]) -> Photographs:
    """Kinds that share a group as one, called after the first of them."""
    kind_of = {path: name for name, files in kinds.items() for path in files}
    leader = {name: name for name in kinds}

    def first(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for group in together:
        names = sorted({first(kind_of[path]) for path in group if path in kind_of})
        for name in names[1:]:
            leader[name] = names[0]
    merged: Photographs = {}
    for name, files in kinds.items():
        merged.setdefault(first(name), []).extend(files)
    return merged


def _rule(photographs: list[Photograph], by: str) -> Callable[[Photograph], bool]:
    name, colon, value = by.partition(":")
    option = f"--open-by {by}"
    if not colon or not name or not value:
        raise UsageProblem(f"{option}: write date:2024-01-01, group:NAME or COLUMN:VALUE")
    if name == "date":
        try:
            first = start_of(iso_date(value))
        except ValueError:
            raise UsageProblem(f"{option}: '{value}' is no date; write it as 2024-01-01") from None
        dates = [photograph.date for photograph in photographs if photograph.date]
        if not dates:
            raise UsageProblem(f"{option}: no photograph has a date (a column 'date' of a CSV, or EXIF)")
        if start_of(last := max(dates, key=start_of)) < first:
            raise UsageProblem(f"{option}: the last photograph is of {last}")
        return lambda photograph: bool(photograph.date) and start_of(photograph.date) >= first
    if name == "group":
        there = {photograph.group for photograph in photographs} - {""}
        if value not in there:
            hint = nearest(value, there) if there else "; give --group-by, or a column 'group' of a CSV"
            raise UsageProblem(f"{option}: no group '{value}'{hint}")
        return lambda photograph: photograph.group == value
    column = column_of(photographs, name, option)
    values = {photograph.columns.get(column, "") for photograph in photographs}
    if value not in values:
        raise UsageProblem(f"{option}: no photograph has '{value}' in the column '{column}'{nearest(value, values)}")
    return lambda photograph: photograph.columns.get(column, "") == value
