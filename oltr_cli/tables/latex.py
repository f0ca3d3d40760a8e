"""A filled table in LaTeX with booktabs: the measured mean ± sample standard deviation, the paper's figure below it.

It fits over both columns of a page. Below it stands only what a mark in it means. Comments hold the other notes, to be
uncommented by the author, and what is for the author alone: recipes and the commands of missing rows.
"""

import re
from itertools import groupby

from oltr_cli.tables.filled import FilledRow, FilledTable
from oltr_cli.tables.paper import QUOTED, TUNED
from oltr_cli.tables.text import (
    NONE,
    by_heading,
    details,
    measured,
    missing,
    named,
    others,
    paper,
    remarks,
    title,
    two_lines,
)

FROZEN = "‡"  # after the epochs of a row whose last stage kept the backbone as it was


def latex(filled: FilledTable) -> str:
    """A table* environment; needs only the package booktabs."""
    columns = filled.table.columns
    below = (
        f", {filled.table.whose} figure below" if any(paper(cell) for row in filled.grid for cell in row.cells) else ""
    )
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table*}",
        r"\centering\small\setlength{\tabcolsep}{2pt}",
        rf"\caption{{{_tex(title(filled))} Measured mean $\pm$ standard deviation over seeds{below}.}}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}r}}",
        r"\toprule",
        *_head(filled),
        r"\midrule",
    ]
    for number, (heading, rows) in enumerate(by_heading(filled)):
        lines.append(r"\midrule" if number else "")
        if heading:
            lines.append(rf"\multicolumn{{{len(columns) + 2}}}{{l}}{{\emph{{{_tex(heading)}}}}} \\")
        for row in rows:
            cells = [*(_cell(filled, row, i) for i in range(len(columns))), _footing(row)]
            lines.append(" & ".join([_tex(_CITED.sub("", row.label)), *cells]) + r" \\")
            if any(map(paper, row.cells)):
                figures = (rf"\textit{{{_tex(text)}}}" if (text := paper(cell)) else "" for cell in row.cells)
                name = "published" if filled.table.of_papers else "paper"
                lines.append(" & ".join([rf"\quad\textit{{{name}}}", *figures, ""]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    heads, facts, _ = details(filled)
    said = [f"{row[0]}: {'; '.join(map(named, heads[1:], row[1:]))}." for row in facts]
    said += [f"{label}: missing; to train it: {command}" for label, command in missing(filled)]
    unmade = others(filled)
    said += [unmade] if unmade else []
    for remark in remarks(filled):
        if remark != unmade:
            mark = "" if remark.startswith((TUNED, QUOTED)) else "% "
            lines.append(rf"{mark}\par\smallskip{{\footnotesize {_tex(' '.join(remark.split()))}\par}}")
    if any(row.footing.backbone == "frozen" for row in filled.grid):
        lines.append(rf"\par\smallskip{{\footnotesize {_tex(FROZEN)} The last stage kept the backbone frozen.\par}}")
    lines += [f"% {' '.join(remark.split())}" for remark in said]
    return "\n".join([*(line for line in lines if line), r"\end{table*}"]) + "\n"


def _head(filled: FilledTable) -> list[str]:
    """Groups over rules, bounds and names; a line without any text is left out."""
    columns = filled.table.columns
    spans, rules, first = [], [], 2
    for group, members in groupby(columns, key=lambda c: c.group):
        last = first + len(list(members)) - 1
        spans.append(rf"\multicolumn{{{last - first + 1}}}{{c}}{{{_tex(group)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{last}}}" if group else "")
        first = last + 1
    lines = [" & ".join(["", *spans, ""]) + r" \\", "".join(rules)] if any(rules) else []
    for bounds in zip(*(two_lines(c.bounds) for c in columns), strict=True):
        if any(bounds):
            lines.append(" & ".join(["", *map(_tex, bounds), ""]) + r" \\")
    return [*lines, " & ".join(["Methods", *(_tex(c.name.removesuffix("-shot")) for c in columns), "Epochs"]) + r" \\"]


def _cell(filled: FilledTable, row: FilledRow, column: int) -> str:
    mean, std, best = measured(filled, row, column)
    text = rf"\textbf{{{_tex(mean)}}}" if best else _tex(mean)
    return text + (rf"{{\scriptsize$\pm${std}}}" if std else "")


def _footing(row: FilledRow) -> str:
    """The epochs of each stage, marked if the backbone was frozen."""
    return _tex(row.stages + (FROZEN if row.footing.backbone == "frozen" else "")) if row.stages else _tex(NONE)


_TEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    # "[" in braces: at the start of a row it would be read as an option of the preceding \\.
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "[": "{[}", "]": "{]}"},
    **{"<": "$<$", ">": "$>$", "≤": r"$\le$", "≥": r"$\ge$", "±": r"$\pm$", "−": "$-$", "→": r"$\to$"},
    **{
        "–": "--",
        "§": r"\S{}",
        "Δ": r"$\Delta$",
        "ε": r"$\epsilon$",
        "×": r"$\times$",
        "…": r"\dots{}",
        "†": r"$\dagger$",
        "‡": r"$\ddagger$",
        "τ": r"$\tau$",
        "λ": r"$\lambda$",
        "·": r"$\cdot$",
    },
}


_CITED = re.compile(r" \[\d+\]$")  # in the paper's list of references
_HYPHENS = re.compile("(?<=-)(?=-)")


def _tex(text: str) -> str:
    """``text`` with LaTeX's special characters escaped; an option's "--" stays two hyphens."""
    return "{}".join("".join(_TEX.get(sign, sign) for sign in part) for part in _HYPHENS.split(text))
