"""A filled table for terminals of 80 columns and more: measured means, below them ± and the figures of the paper."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from textwrap import wrap

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from oltr_cli.tables.filled import FilledTable
from oltr_cli.tables.text import by_heading, details, difference, measured, missing, paper, remarks, title, two_lines

_LABEL_WIDTH = 25  # longest label shown in full
_SPACES = r"(?<= )"  # a command is broken between its words
_SIGNS = _SPACES + r"|(?<=\w[-+_:–])(?=\w)"  # a name, a rule or a range after a sign in it
_NAME_WIDTH = 12  # longer column names take two lines


def screen(filled: FilledTable) -> RenderableType:
    """The table, how its rows were measured, what is missing, and the notes."""
    parts: list[RenderableType] = [Text(title(filled), style="bold"), _Grid(filled)]
    heads, facts, _ = details(filled)
    if facts:
        parts += [Text(), _Facts(heads, facts, _SIGNS)]
    to_make = missing(filled)
    if to_make:
        parts += [Text(), _Facts(("missing", "to train it"), to_make, _SPACES)]
    below = remarks(filled)
    if below:
        parts += [Text(), *map(Text, below)]
    return Group(*parts)


class _Grid:
    """The table itself. Laid out by hand: headings of rich's tables cannot span columns."""

    def __init__(self, filled: FilledTable) -> None:
        self.filled = filled
        columns = filled.table.columns
        heads = [[*two_lines(c.bounds), *wrap(c.name.removesuffix("-shot"), _NAME_WIDTH)] for c in columns]
        self.depth = max(map(len, heads), default=0)
        self.heads = [[""] * (self.depth - len(head)) + head for head in heads]
        self.lines = list(self._body())
        rows = [(label, cells) for label, _, cells in self.lines if cells]
        self.label_width = max([7, *(min(len(label), _LABEL_WIDTH) for label, _ in rows)])
        self.widths = [
            max([4, *map(len, self.heads[i]), *(cells[i].cell_len for _, cells in rows)]) for i in range(len(columns))
        ]

    def _groups(self) -> Iterator[tuple[str, list[int]]]:
        """Name of each group and its columns."""
        columns = self.filled.table.columns
        for name, members in groupby(range(len(columns)), key=lambda i: columns[i].group):
            yield name, list(members)

    def _body(self) -> Iterator[tuple[str, str, list[Text]]]:
        """Lines as (label, style of the label, cells); a line without cells is a heading."""
        filled = self.filled
        for heading, rows in by_heading(filled):
            if heading:
                yield heading, "italic", []
            for row in rows:
                texts = [measured(filled, row, i) for i in range(len(row.cells))]
                there = row.status == "measured"
                means = [Text(mean, "bold green" if best else "" if there else "dim") for mean, _, best in texts]
                yield row.label, "bold" if there else "dim", means
                if any(std for _, std, _ in texts):
                    spread = [Text(f"±{std}" if std else "", "dim") for _, std, _ in texts]
                    yield f"  ± over {len(row.seeds)} seeds", "dim", spread
                if any(map(paper, row.cells)):
                    yield (
                        "  published" if filled.table.of_papers else "  paper",
                        "cyan",
                        [Text(paper(cell), "cyan") for cell in row.cells],
                    )
                deltas = [difference(filled, cell, i) for i, cell in enumerate(row.cells)]
                if any(deltas):
                    yield "  Δ", "dim", [Text(delta, "dim") for delta in deltas]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        parts = self._parts(options.max_width)
        gap = min(self._gap(part, options.max_width) for part in parts)
        for number, part in enumerate(parts):
            if number:
                yield Text()
            yield from self._part(part, gap)

    def _parts(self, width: int) -> list[list[int]]:
        """The columns of each table: one, or several below each other, split between groups, if one is too wide."""
        parts: list[list[int]] = [[]]
        for _, members in self._groups():
            if parts[-1] and self._taken([*parts[-1], *members]) > width:
                parts.append([])
            parts[-1] += members
        return parts

    def _taken(self, part: list[int]) -> int:
        """Width of a table of some columns, with the least space between them."""
        return self.label_width + sum(self.widths[i] + 1 for i in part)

    def _gap(self, part: list[int], width: int) -> int:
        free = width - self._taken(part) - 2
        return max(1, min(3, 1 + free // len(part)))

    def _part(self, part: list[int], gap: int) -> Iterator[Text]:
        """The table of some columns."""
        whole = self.label_width + sum(self.widths[i] + gap for i in part)
        rule = Text("─" * whole, style="dim", no_wrap=True)
        yield rule
        if any(name for name, _ in self._groups()):
            yield self._spans(part, gap)
        for depth in range(self.depth):
            if any(self.heads[i][depth] for i in part):
                first = "Methods" if depth == self.depth - 1 else ""
                yield self._line(first, "", [Text(self.heads[i][depth]) for i in part], part, gap)
        yield rule
        for number, (label, style, all_cells) in enumerate(self.lines):
            cells = [all_cells[i] for i in part] if all_cells else []
            if cells and (any(cells) or not label.startswith(" ")):
                yield self._line(label, style, cells, part, gap)
            elif not all_cells:
                if number:
                    yield rule
                yield Text(label, style=style)
        yield rule

    def _spans(self, part: list[int], gap: int) -> Text:
        """The line of group names, each between rules across its columns."""
        line = Text(" " * self.label_width, no_wrap=True)
        for name, members in self._groups():
            span = [i for i in members if i in part]
            if span:
                width = sum(self.widths[i] for i in span) + gap * (len(span) - 1)
                line.append(" " * gap).append((f" {name} " if name else "").center(width, "─" if name else " "), "dim")
        return line

    def _line(self, label: str, style: str, cells: list[Text], part: list[int], gap: int) -> Text:
        shown = label if len(label) <= _LABEL_WIDTH else label[: _LABEL_WIDTH - 1] + "…"
        line = Text(no_wrap=True).append(shown.ljust(self.label_width), style)
        for i, cell in zip(part, cells, strict=True):
            line.append(" " * (gap + self.widths[i] - cell.cell_len)).append_text(cell)
        return line


class _Facts:
    """A plain table of texts, no wider than the console: cells break where ``breaks`` matches, not in a word."""

    def __init__(self, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], breaks: str) -> None:
        self.heads, self.rows = heads, rows
        self.breaks = re.compile(breaks)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = list(zip(self.heads, *self.rows, strict=True))
        widths = [max(map(cell_len, texts)) for texts in columns]
        least = [max(cell_len(piece) for text in texts for piece in self._pieces(text)) for texts in columns]
        gap = 2 if sum(least) + 2 * (len(widths) - 1) <= options.max_width else 1
        room = options.max_width - gap * (len(widths) - 1)
        while (too_wide := sum(widths) - room) > 0 and widths != least:
            # The widest column that can still break gives way.
            widest = max((i for i in range(len(widths)) if widths[i] > least[i]), key=lambda i: widths[i])
            widths[widest] = max(least[widest], widths[widest] - too_wide, widths[widest] - 4)
        table = RichTable(box=None, pad_edge=False, header_style="dim", style="dim", padding=(0, gap, 0, 0))
        for head, width in zip(self.heads, widths, strict=True):
            table.add_column(Text(self._wrapped(head, width)), overflow="fold", min_width=width)
        for row in self.rows:
            table.add_row(*(Text(self._wrapped(text, width)) for text, width in zip(row, widths, strict=True)))
        yield table

    def _pieces(self, text: str) -> list[str]:
        return [piece.rstrip() for piece in self.breaks.split(text)]

    def _wrapped(self, text: str, width: int) -> str:
        lines = [""]
        for piece in self.breaks.split(text):
            if lines[-1] and cell_len(lines[-1] + piece.rstrip()) > width:
                lines.append("")
            lines[-1] += piece
        return "\n".join(line.rstrip() for line in lines)
