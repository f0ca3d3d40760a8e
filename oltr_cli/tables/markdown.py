"""A filled table in Markdown: measured mean ± sample standard deviation with the paper's figure in brackets."""

from oltr_cli.tables.filled import FilledRow, FilledTable
from oltr_cli.tables.text import NONE, by_heading, details, difference, measured, missing, paper, remarks, title


def markdown(filled: FilledTable) -> str:
    """Two tables (the paper's with a one-line heading, and how the rows were measured) and the notes."""

    def line(cells: list[str]) -> str:
        return f"| {' | '.join(cells)} |"

    columns = filled.table.columns
    heads = ["<br>".join(_md(part) for part in (c.group, c.bounds, c.name) if part) for c in columns]
    printed = f" ({filled.table.whose} figure)" if any(paper(cell) for row in filled.grid for cell in row.cells) else ""
    lines = [f"**{_md(title(filled))}** Measured mean ± std over seeds{printed}.", ""]
    lines += [line(["Methods", *heads]), line(["---", *["---:"] * len(columns)])]
    for heading, rows in by_heading(filled):
        if heading:
            lines.append(line([f"*{_md(heading)}*", *[""] * len(columns)]))
        for row in rows:
            lines.append(line([_md(row.label), *(_md_cell(filled, row, i) for i in range(len(columns)))]))
    behind, facts, _ = details(filled)
    if facts:
        lines += ["", line([_md(head) for head in behind]), line(["---"] * len(behind))]
        lines += [line([_md(text) for text in row]) for row in facts]
    below = [_md(note) for note in remarks(filled)]
    below += [f"{_md(label)}: missing; to train it: `{command}`" for label, command in missing(filled)]
    return "\n".join([*lines, *([""] if below else []), *(f"- {remark}" for remark in below)]) + "\n"


def _md_cell(filled: FilledTable, row: FilledRow, column: int) -> str:
    cell = row.cells[column]
    mean, std, best = measured(filled, row, column)
    text = (f"**{mean}**" if best else mean) + (f" ± {std}" if std else "")
    printed, delta = paper(cell), difference(filled, cell, column)
    if not printed or text == printed == NONE:
        return text
    return f"{text} ({printed}{f', Δ {delta}' if delta else ''})"


def _md(text: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(plain, escaped)
    for sign in "|*_`[]":
        text = text.replace(sign, f"\\{sign}")
    return text
