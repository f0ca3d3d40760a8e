"""A filled table on a terminal, from 80 columns on: each row's measured means, below them ± and the paper's figures."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from oltr_cli.tables.fill import FilledTable
from oltr_cli.tables.text import HEADS, details, measured, missing, paper, title

_LABEL_WIDTH = 24  # longest label shown whole


def screen(filled: FilledTable) -> RenderableType:
    """The table, what stands behind its rows, what is missing, and the notes."""
    parts: list[RenderableType] = [Text(title(filled), style="bold"), _Grid(filled)]
    behind = details(filled)
    if behind:
        parts += [Text(), _plain_table(HEADS, behind)]
    to_make, unavailable = missing(filled)
    if to_make:
        parts += [Text(), _plain_table(("missing", "made by"), to_make)]
    remarks = [*filled.notes, *([f"Not in this version: {', '.join(unavailable)}."] if unavailable else [])]
    if remarks:
        parts += [Text(), *(Text(remark) for remark in remarks)]
    return Group(*parts)


class _Grid:
    """The table proper. Laid out by hand: rich's tables have no head that spans columns."""

    def __init__(self, filled: FilledTable) -> None:
        self.filled = filled
        columns = filled.table.columns
        self.heads = [[*_two_lines(c.bounds), c.name.removesuffix("-shot")] for c in columns]
        self.lines = list(self._body())
        self.label_width = max(7, *(min(len(label), _LABEL_WIDTH) for label, _, _ in self.lines))
        self.widths = [
            max(*(len(text) for text in self.heads[i]), *(cells[i].cell_len for _, _, cells in self.lines if cells), 4)
            for i in range(len(columns))
        ]

    def _body(self) -> Iterator[tuple[str, str, list[Text]]]:
        """Lines as (label, style of the label, cells); one without cells is a heading between rules."""
        for in_paper, rows in groupby(self.filled.rows, key=lambda row: row.in_paper):
            if not in_paper:
                yield "not in the paper", "italic", []
            for row in rows:
                texts = [measured(self.filled, cell, i) for i, cell in enumerate(row.cells)]
                there = row.status == "measured"
                yield (
                    row.label,
                    "bold" if there else "dim",
                    [Text(mean, "bold green" if best else "" if there else "dim") for mean, _, best in texts],
                )
                if any(std for _, std, _ in texts):
                    yield (
                        f"  ± over {len(row.seeds)} seeds",
                        "dim",
                        [Text(f"±{s}" if s else "", "dim") for _, s, _ in texts],
                    )
                if in_paper:
                    yield "  paper", "cyan", [Text(paper(cell), "cyan") for cell in row.cells]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        taken = self.label_width + sum(self.widths)
        gap = max(1, min(3, (options.max_width - taken - 2) // len(self.widths)))
        whole = taken + gap * len(self.widths)
        rule = Text("─" * whole, style="dim", no_wrap=True)
        yield rule
        yield self._spans(gap)
        for depth in range(3):
            if any(head[depth] for head in self.heads):
                yield self._line("Methods" if depth == 2 else "", "", [Text(h[depth]) for h in self.heads], gap)
        yield rule
        for label, style, cells in self.lines:
            if cells:
                yield self._line(label, style, cells, gap)
            else:
                yield rule
                yield Text(label, style=style)
        yield rule

    def _spans(self, gap: int) -> Text:
        """The line of group names, each between rules over its columns."""
        line, column = Text(" " * self.label_width, no_wrap=True), 0
        for name, members in groupby(self.filled.table.columns, key=lambda c: c.group):
            count = len(list(members))
            width = sum(self.widths[column : column + count]) + gap * (count - 1)
            line.append(" " * gap).append((f" {name} " if name else "").center(width, "─" if name else " "), "dim")
            column += count
        return line

    def _line(self, label: str, style: str, cells: list[Text], gap: int) -> Text:
        shown = label if len(label) <= _LABEL_WIDTH else label[: _LABEL_WIDTH - 1] + "…"
        line = Text(no_wrap=True).append(shown.ljust(self.label_width), style)
        for cell, width in zip(cells, self.widths, strict=True):
            line.append(" " * (gap + width - cell.cell_len)).append_text(cell)
        return line


def _two_lines(bounds: str) -> tuple[str, str]:
    """ "≤ 100 & > 20" over two lines, a single bound on the lower."""
    upper, sign, lower = bounds.partition(" & ")
    return (upper, f"& {lower}") if sign else ("", upper)


def _plain_table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> RichTable:
    table = RichTable(box=None, pad_edge=False, header_style="dim", style="dim", padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(Text(text) for text in row))
    return table
