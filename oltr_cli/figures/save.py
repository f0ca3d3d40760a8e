"""Writing a figure: the picture in the requested formats, and its numbers as CSV.

The runs are named in the CSV's comment lines and in the pictures' metadata, not in the picture, which is meant for a
paper. The same numbers give the same bytes.
"""

import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context

from oltr_cli.base.files import write_atomically, write_text
from oltr_cli.base.text import spreadsheet_cell
from oltr_cli.drawing.style import RC
from oltr_cli.errors import UsageProblem, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from oltr_cli.figures.request import FigureSpec, Gathered

FORMATS = ("png", "svg", "pdf")
DPI = 200
PAGE = {
    **RC,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titleweight": "normal",
    "axes.labelsize": 10,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.6,
    "hatch.linewidth": 0.6,
    "pdf.fonttype": 42,  # TrueType: printers and conferences refuse matplotlib's default
    "svg.hashsalt": "oltr",
}


def read_formats(texts: Sequence[str]) -> list[str]:
    """``png,pdf`` and repeated options as a list without repetition.

    Raises:
        UsageProblem: an unknown format.
    """
    formats = [part.strip().lower() for text in texts for part in text.split(",") if part.strip()] or ["png"]
    for fmt in formats:
        if fmt not in FORMATS:
            raise UsageProblem(f"--format: no format '{fmt}'{nearest(fmt, FORMATS)}")
    return list(dict.fromkeys(formats))


def save(spec: "FigureSpec", gathered: "Gathered", dataset: str, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Draw and write ``folder/figure-NAME.FORMAT`` and ``.csv``; returns the paths written.

    Raises:
        OltrError: the folder cannot be written.
    """
    about = [
        f"Figure {spec.name} of Liu et al., CVPR 2019, on {dataset}: {spec.title}",
        f"runs: {', '.join(run.name for run in gathered.runs)}",
        *gathered.notes,
    ]
    paths = []
    with rc_context(PAGE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a class name in a rare script
        figure = spec.draw(gathered.data)
        for fmt in formats:
            paths.append(folder / f"figure-{spec.name}.{fmt}")
            _picture(figure, paths[-1], fmt, about)
    paths.append(folder / f"figure-{spec.name}.csv")
    write_text(paths[-1], as_csv(gathered, about))
    return paths


def as_csv(gathered: "Gathered", about: Sequence[str]) -> str:
    """Lines of ``about`` after #, then names of columns and rows, every number unrounded."""
    columns, rows = gathered.data.table()
    out = io.StringIO()
    for line in about:
        out.write(f"# {' '.join(line.split())}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if value is None else spreadsheet_cell(value) for value in row] for row in rows])
    return out.getvalue()


def _picture(figure: "Figure", path: Path, fmt: str, about: Sequence[str]) -> None:
    text = "\n".join(about)
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Description": text, "Software": "oltr"},
        "svg": {"Description": text, "Creator": "oltr", "Date": None},
        "pdf": {"Subject": text, "Creator": "oltr", "CreationDate": None},
    }
    write_atomically(path, lambda file: figure.savefig(file, format=fmt, dpi=DPI, metadata=metadata[fmt]))
