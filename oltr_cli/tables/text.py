"""A filled table as people read it in a document: Markdown, and LaTeX with booktabs.

They see the measured mean ± sample standard deviation with the paper's figure beside or below it, rounded as the paper
rounds; the best measured mean of a column is bold.
"""

import re
from itertools import groupby

from oltr_cli.progress import duration
from oltr_cli.tables.fill import Cell, FilledTable

NONE = "–"
HEADS = ("row", "recipe", "seeds", "epochs", "threshold", "τ", "training", "on")


def title(filled: FilledTable) -> str:
    """Which table, of whom, over what."""
    table = filled.table
    if filled.dataset != table.dataset:
        return f"{table.label} of {table.source}, laid over {filled.dataset}."
    return f"{table.label} of {table.source}: {table.caption}."


def measured(filled: FilledTable, cell: Cell, column: int) -> tuple[str, str, bool]:
    """Mean, standard deviation ("" below two seeds) and whether it is the column's best."""
    if cell.mean is None:
        return NONE, "", False
    digits = filled.table.decimals(column)
    leaks = filled.marks_test_leak and filled.table.columns[column].metric.startswith("open/")
    std = "" if cell.std is None else f"{cell.std:.{digits}f}"
    return f"{cell.mean:.{digits}f}{'†' if leaks else ''}", std, cell.mean == filled.best(column)


def paper(cell: Cell) -> str:
    """The paper's figure as printed, its dash as ours."""
    return NONE if cell.paper_value is None else str(cell.paper)


def details(filled: FilledTable) -> list[tuple[str, ...]]:
    """What stands behind each measured row: ``HEADS``, all as text."""
    return [
        (
            row.label,
            row.hash or NONE,
            ", ".join(map(str, row.seeds)) if len(row.seeds) < 6 else f"{len(row.seeds)} of them",
            str(row.epochs or NONE),
            row.threshold_rule or NONE,
            _range(row.thresholds),
            f"{duration(row.seconds)} a seed" if row.seconds is not None else NONE,
            ", ".join(row.devices) or NONE,
        )
        for row in filled.rows
        if row.status == "measured"
    ]


def missing(filled: FilledTable) -> tuple[list[tuple[str, str]], list[str]]:
    """Rows to be made as (label, command), and the labels of methods that are not in this version."""
    to_make = [(row.label, row.command) for row in filled.rows if row.status == "missing" and row.command]
    return to_make, [row.label for row in filled.rows if row.status == "unavailable"]


def _range(values: tuple[float, ...]) -> str:
    """One τ, or from the lowest to the highest of the seeds."""
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low}–{high}"


def markdown(filled: FilledTable) -> str:
    """A GitHub table: mean ± std (paper)."""

    def line(cells: list[str]) -> str:
        return f"| {' | '.join(cells)} |"

    columns = filled.table.columns
    heads = ["<br>".join(_md(part) for part in (c.group, c.bounds, c.name) if part) for c in columns]
    lines = [f"**{_md(title(filled))}** Measured mean ± std over seeds (the paper's figure).", ""]
    lines += [line(["Methods", *heads]), line(["---", *["---:"] * len(columns)])]
    for row in filled.rows:
        label = _md(row.label) if row.in_paper else f"{_md(row.label)} *(not in the paper)*"
        lines.append(line([label, *(_md_cell(filled, cell, i) for i, cell in enumerate(row.cells))]))
    behind = details(filled)
    if behind:
        lines += ["", line(list(HEADS)), line(["---"] * len(HEADS))]
        lines += [line([_md(text) for text in row]) for row in behind]
    to_make, unavailable = missing(filled)
    remarks = [_md(note) for note in filled.notes]
    remarks += [f"{_md(label)}: missing, made by `{command}`" for label, command in to_make]
    remarks += [f"Not in this version: {_md(', '.join(unavailable))}."] if unavailable else []
    return "\n".join([*lines, *([""] if remarks else []), *(f"- {remark}" for remark in remarks)]) + "\n"


def _md_cell(filled: FilledTable, cell: Cell, column: int) -> str:
    mean, std, best = measured(filled, cell, column)
    text = (f"**{mean}**" if best else mean) + (f" ± {std}" if std else "")
    if cell.paper is None or text == paper(cell) == NONE:
        return text
    return f"{text} ({paper(cell)})"


def _md(text: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(plain, escaped)
    for sign in "|*_`[]":
        text = text.replace(sign, f"\\{sign}")
    return text


def latex(filled: FilledTable) -> str:
    """A table environment; needs the package booktabs and nothing else."""
    columns = filled.table.columns
    spans, rules, first = [], [], 2
    for group, members in groupby(columns, key=lambda c: c.group):
        last = first + len(list(members)) - 1
        spans.append(rf"\multicolumn{{{last - first + 1}}}{{c}}{{{_tex(group)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{last}}}" if group else "")
        first = last + 1
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{_tex(title(filled))} Measured mean $\pm$ standard deviation over seeds, the paper's below.}}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(["", *spans]) + r" \\",
        "".join(rules),
        " & ".join(["", *(_tex(c.bounds) for c in columns)]) + r" \\",
        " & ".join(["Methods", *(_tex(c.name) for c in columns)]) + r" \\",
        r"\midrule",
    ]
    for in_paper, rows in groupby(filled.rows, key=lambda row: row.in_paper):
        if not in_paper:
            lines += [r"\midrule", rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{\emph{{not in the paper}}}} \\"]
        for row in rows:
            cells = [_tex_cell(filled, cell, i) for i, cell in enumerate(row.cells)]
            lines.append(" & ".join([_tex(row.label), *cells]) + r" \\")
            if in_paper:
                figures = (rf"\textit{{{_tex(paper(cell))}}}" for cell in row.cells)
                lines.append(" & ".join([r"\quad\textit{paper}", *figures]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    to_make, unavailable = missing(filled)
    remarks = [
        f"{row[0]}: {', '.join(f'{head} {text}' for head, text in zip(HEADS[1:], row[1:], strict=True))}."
        for row in details(filled)
    ]
    remarks += [*filled.notes, *(f"{label}: missing, made by {command}" for label, command in to_make)]
    remarks += [f"Not in this version: {', '.join(unavailable)}."] if unavailable else []
    lines += [rf"\par\smallskip{{\footnotesize {_tex(remark)}\par}}" for remark in remarks]
    return "\n".join([*(line for line in lines if line), r"\end{table}"]) + "\n"


def _tex_cell(filled: FilledTable, cell: Cell, column: int) -> str:
    mean, std, best = measured(filled, cell, column)
    text = rf"\textbf{{{_tex(mean)}}}" if best else _tex(mean)
    return text + (rf"{{\scriptsize$\,\pm\,${std}}}" if std else "")


_TEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    # "[" in braces: at the start of a row it would be read as the option of the \\ before.
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "[": "{[}", "]": "{]}"},
    **{"<": "$<$", ">": "$>$", "≤": r"$\le$", "≥": r"$\ge$", "±": r"$\pm$", "−": "$-$", "→": r"$\to$"},
    **{"–": "--", "…": r"\dots{}", "†": r"$\dagger$", "τ": r"$\tau$", "λ": r"$\lambda$", "·": r"$\cdot$"},
}


_HYPHENS = re.compile("(?<=-)(?=-)")


def _tex(text: str) -> str:
    """``text`` with LaTeX's own signs escaped; an option's "--" stays two hyphens."""
    return "{}".join("".join(_TEX.get(sign, sign) for sign in part) for part in _HYPHENS.split(text))
