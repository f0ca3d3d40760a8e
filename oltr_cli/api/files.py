"""What ``oltr evaluate --confusions`` writes: every pair of classes as CSV, and a picture if there are few classes."""

import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oltr_cli.api.examination import Examination
from oltr_cli.base.files import write_text
from oltr_cli.base.text import spreadsheet_cell
from oltr_cli.protocol.confusions import Confusions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MATRIX = 1000  # classes up to which the CSV is a matrix; above it has a line for each pair that occurs


def write_confusions(examined: Examination, shown: Confusions, folder: Path, name: str) -> list[Path]:
    """Write ``confusions-NAME.csv``, and ``.png`` for up to 60 classes, into ``folder``; returns the files.

    Up to 1,000 classes the CSV is a matrix of counts: true classes in rows, decisions in columns, open samples in the
    last row and rejections in the last column. Above it has the columns true, decided, count, share.
    """
    from oltr_cli.drawing.confusions import MOST, confusion_matrix
    from oltr_cli.drawing.style import save_pngs

    stem = f"confusions-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{stem}.csv"]
    write_text(files[0], confusions_csv(shown, examined.class_names))
    if shown.classes <= MOST:
        threshold, shots = examined.evaluation.threshold, examined.evaluation.shots
        title = examined.evaluation.run or name
        names, counts = examined.class_names, examined.class_counts

        def draw() -> "Figure":
            return confusion_matrix(shown, names, counts, title, shots, threshold.tau)

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the CSV has every letter
            files += save_pngs(folder, {stem: draw})
    return files


def confusions_csv(shown: Confusions, names: Sequence[str], matrix: int = MATRIX) -> str:
    """The pairs as CSV: a matrix of counts up to ``matrix`` classes, otherwise a line for each pair that occurs."""
    true_names, decided_names = [*names, "open"], [*names, "unknown"]
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    if shown.classes <= matrix:
        out.writerow(map(spreadsheet_cell, ["true \\ decided", *decided_names]))
        for name, row in zip(true_names, shown.table().tolist(), strict=True):
            out.writerow([spreadsheet_cell(name), *row])
        return text.getvalue()
    out.writerow(["true", "decided", "count", "share"])
    pairs = zip(shown.true.tolist(), shown.decided.tolist(), shown.count.tolist(), shown.share.tolist(), strict=True)
    for true, decided, count, share in pairs:
        out.writerow([*map(spreadsheet_cell, (true_names[true], decided_names[decided])), count, round(share, 6)])
    return text.getvalue()
