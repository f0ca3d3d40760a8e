"""HTML by hand: escaped text, sortable tables, JSON that cannot end its own script element."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any


@dataclass(frozen=True)
class Td:
    """A cell of a sortable table.

    Attributes:
        html: what it shows, already escaped.
        value: what it is sorted by: a number, or text; None stands for a missing value, which comes last.
        best: whether it is the column's best.
    """

    html: str
    value: float | str | None
    best: bool = False


@dataclass(frozen=True)
class Th:
    """Head of a column.

    Attributes:
        html: what it shows, already escaped.
        title: how it is told by screen readers and as a tooltip.
        group: what stands above it and those neighbours that have the same, as text.
    """

    html: str
    number: bool = True
    title: str = ""
    group: str = ""


def text(value: Any) -> Td:
    """A cell of plain text; a missing value is a dash."""
    if value is None or value == "":
        return Td("–", None)
    return Td(escape(str(value)), str(value))


def number(value: float | None, shown: str | None = None) -> Td:
    """A cell of a number; ``shown`` says how it looks."""
    if value is None:
        return Td("–", None)
    return Td(escape(shown if shown is not None else f"{value:g}"), float(value))


def sortable(name: str, caption: str, heads: Sequence[Th], rows: Sequence[Sequence[Td]], filter_label: str) -> str:
    """A table whose heads are buttons that sort it, below a field that filters its rows.

    The first cell of a row is its head. ``caption`` is already escaped.
    """
    label = escape(filter_label)
    return (
        f'<div class="tools"><label>{label} <input type="search" data-filters="{name}" autocomplete="off" '
        f'spellcheck="false"></label> <output data-counts="{name}" aria-live="polite"></output></div>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f'<table id="{name}" class="sortable">'
        f"<caption><span>{caption}</span></caption><thead>{_groups(heads)}<tr>{''.join(map(_head, heads))}</tr>"
        "</thead>"
        f"<tbody>{''.join(_row(row, heads) for row in rows)}</tbody></table></div>"
    )


def _groups(heads: Sequence[Th]) -> str:
    """A row of heads that span the columns of a group, where there is any; the first column stays outside."""
    if not any(head.group for head in heads[1:]):
        return ""
    cells = "<td></td>"
    for group, members in groupby(heads[1:], key=lambda head: head.group):
        span = sum(1 for _ in members)
        shown = f'<th scope="col" colspan="{span}"><span>{escape(group)}</span></th>'
        cells += shown if group else f'<td colspan="{span}"></td>'
    return f'<tr class="groups">{cells}</tr>'


def _head(head: Th) -> str:
    kind = "number" if head.number else "text"
    title = f' title="{escape(head.title)}"' if head.title else ""
    return f'<th scope="col" aria-sort="none" data-kind="{kind}"{title}><button type="button">{head.html}</button></th>'


def _row(cells: Sequence[Td], heads: Sequence[Th]) -> str:
    first, *others = zip(cells, heads, strict=True)
    shown = "".join(_cell(cell, head.number) for cell, head in others)
    return f'<tr><th scope="row"{_value(first[0])}>{first[0].html}</th>{shown}</tr>'


def _cell(cell: Td, is_number: bool) -> str:
    kinds = " ".join(kind for kind, holds in (("text", not is_number), ("best", cell.best)) if holds)
    of = f' class="{kinds}"' if kinds else ""
    return f"<td{of}{_value(cell)}>{cell.html}</td>"


def _value(cell: Td) -> str:
    return "" if cell.value is None else f' data-v="{escape(str(cell.value))}"'


def facts(pairs: Sequence[tuple[str, Any]]) -> str:
    """A description list of those that are known."""
    known = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in pairs if v not in (None, ""))
    return f"<dl>{known}</dl>"


def embedded_json(value: Any) -> str:
    """JSON for inside a script element: no ``<`` or ``&`` in it, so no name can end the element or open another."""
    dumped = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        dumped = dumped.replace(sign, f"\\u{ord(sign):04x}")
    return dumped
