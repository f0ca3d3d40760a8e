"""The rows of a table and their runs: the paper's rows, those next to them, then methods that no row names."""

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from oltr_cli.errors import OltrError, UsageProblem
from oltr_cli.planning.registry import PLUS, canonical, list_methods
from oltr_cli.runs.made_with import hint
from oltr_cli.tables.paper import NO_CELL, Beside, Row, Table

APART = "not in the paper's table"
UNPUBLISHED = "without a published figure"
OWN = "your own methods"
LATER = "long-tail, later than the paper"


@dataclass(frozen=True)
class RowSpec:
    """A row before it is filled.

    Attributes:
        key: names the row; ``method``: the canonical name under which its runs are saved.
        asked: the method as the table or the user names it.
        figures: of the paper, one per column; None if its table has no such cell.
        sets, equal_budget: changes to the plain method; its runs are then found only by their exact hash.
        source, published_epochs: of quoted figures, as the table's file says.
        named: by the table or the user; other methods are left out of the table while they have no run.
        known: whether the method is in this version.
    """

    key: str
    label: str
    method: str
    asked: str
    figures: tuple[str | None, ...]
    heading: str
    sets: tuple[str, ...] = ()
    equal_budget: bool = False
    tuned_on_open: bool = False
    quoted: bool = False
    source: str = ""
    published_epochs: str = ""
    in_paper: bool = False
    named: bool = False
    known: bool = True

    @property
    def exact(self) -> bool:
        return bool(self.sets or self.equal_budget)

    def assignments(self, source: str) -> list[str]:
        """The ``--set`` assignments by which the recipe ``source`` becomes the row's.

        Raises:
            UsageProblem: the recipe does not resolve.
        """
        from oltr_cli.planning.plan import equal_budget

        return [*self.sets, *(equal_budget(self.method, source) if self.equal_budget else ())]

    def hash(self, source: str) -> str | None:
        """Hash of the row's run by the current recipe; None if that does not resolve."""
        from oltr_cli.planning.plan import plan

        try:
            return plan(self.method, source, self.assignments(source), seed=0)[-1].link.hash
        except OltrError:
            return None

    def command(self, source: str, option: str) -> str | None:
        """``oltr run …`` as typed, with ``option`` naming the recipe; None if there is nothing to run."""
        if not self.known:
            return None
        try:
            sets = self.assignments(source)
        except OltrError:
            return None
        base, _, detector = self.asked.partition(PLUS)
        words = [base, *(["--detector", detector] if detector else []), option]
        return " ".join(["oltr run", *words, *(f"--set {shlex.quote(s)}" for s in sets)])


def table_rows(table: Table, measured: Iterable[str], patterns: Sequence[str] | None = None) -> list[RowSpec]:
    """The rows of ``table`` in the order shown.

    Args:
        measured: methods (canonical names) that have finished runs.
        patterns: show only these rows: keys, methods or globs of them, several separated by commas; a method that is
            not in the table gets its own row at the end.

    Raises:
        UsageProblem: a pattern that matches nothing.
    """
    rows = [_named(row, table) for row in (*table.rows, *table.beside)]
    there = {row.method for row in rows}
    others = set() if table.other_methods == "none" else set(measured)
    if table.other_methods == "all":
        methods = list_methods()
        # Few datasets have outliers, and few recipes a pre-trained transformer.
        others |= {n for n in _trained() if not (methods[n].uses_outliers or methods[n].adapts_blocks)}
    rows += _apart(others - there, table)
    return rows if patterns is None else _pick(rows, patterns, table)


def _named(row: Beside, table: Table) -> RowSpec:
    """A row from the table's file."""
    try:
        method, known = canonical(canonical(row.method)), True  # twice: a row of its own may stand on an unknown method
    except UsageProblem:
        method, known = row.method, False
    in_paper = isinstance(row, Row)
    figures = row.figures if isinstance(row, Row) else (NO_CELL,) * len(table.columns)
    return RowSpec(
        key=row.name,
        label=row.label,
        method=method,
        asked=row.method,
        figures=tuple(figure if figure != NO_CELL else None for figure in figures),
        heading=row.group if in_paper else row.group or _apart_from(table),
        sets=row.sets,
        equal_budget=row.equal_budget,
        tuned_on_open=row.tuned_on_open,
        quoted=isinstance(row, Row) and row.quoted,
        source=row.source if isinstance(row, Row) else "",
        published_epochs=row.epochs if isinstance(row, Row) else "",
        in_paper=in_paper,
        named=True,
        known=known,
    )


def _apart(names: Iterable[str], table: Table) -> list[RowSpec]:
    """Methods that the table does not name: those later than the paper, all others, then the user's own."""
    methods = list_methods()

    def is_own(name: str) -> bool:
        return any(part not in methods or methods[part].origin != "built-in" for part in name.split(PLUS))

    def order(name: str) -> tuple[bool, bool, bool, str]:
        later = name in methods and methods[name].family == LATER
        return is_own(name), not later, PLUS in name, name

    return [
        RowSpec(
            key=name,
            label=name,
            method=name,
            asked=name,
            figures=(None,) * len(table.columns),
            heading=OWN if is_own(name) else _apart_from(table),
            known=all(part in methods for part in name.split(PLUS)),
        )
        for name in sorted(names, key=order)
    ]


def _apart_from(table: Table) -> str:
    """Heading of the rows without figures."""
    return UNPUBLISHED if table.of_papers else APART


def _trained() -> list[str]:
    return [name for name, info in list_methods().items() if info.kind == "method" and info.family != "broken"]


def _pick(rows: list[RowSpec], patterns: Sequence[str], table: Table) -> list[RowSpec]:
    """The rows that match any pattern, in the table's order, and requested methods that are not in the table."""
    chosen: set[str] = set()
    added: set[str] = set()
    for pattern in (part.strip() for text in patterns for part in text.split(",")):
        if not pattern:
            continue
        fitting = [row.key for row in rows if row.key == pattern] or [
            row.key for row in rows if any(fnmatchcase(name, pattern) for name in _names(row))
        ]
        chosen |= set(fitting)
        if not fitting:
            added |= _methods_like(pattern, {name for row in rows for name in _names(row)})
    return [row for row in rows if row.key in chosen] + _apart(added, table)


def _names(row: RowSpec) -> set[str]:
    """The names of a row: its key, its method, and its detector, if any."""
    return {row.key, row.method, row.asked, row.method.rpartition(PLUS)[2]}


def _methods_like(pattern: str, names: Collection[str]) -> set[str]:
    """Available methods that match a pattern and are not in the table."""
    methods = list_methods()
    fitting = {name for name in _trained() if fnmatchcase(name, pattern)}
    if fitting:
        return fitting
    if pattern in methods or (PLUS in pattern and not set(pattern) & set("*?[")):
        return {canonical(canonical(pattern))}
    raise UsageProblem(f"no method '{pattern}'{hint(pattern, {*names, *methods})}")
