"""The text that all formats of a filled table share: titles, rounded cells, how rows were measured, what is missing.

Numbers are rounded as in the paper; the best measured mean of a column is marked.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from oltr_cli.base.display import duration
from oltr_cli.planning.registry import PLUS
from oltr_cli.protocol.catalogue import metric
from oltr_cli.tables.filled import Cell, FilledRow, FilledTable
from oltr_cli.tables.paper import QUOTED, TUNED

NONE = "–"
_HEADS = ("row", "recipe", "seeds", "epochs", "backbone", "detector", "threshold", "τ", "training", "on")
_ONCE = ("seeds", "backbone", "threshold", "τ", "on")  # shown once for all rows if they agree
_OF_SOME = ("backbone", "detector")  # left out if no row has one

Lines = list[tuple[str, ...]]


def title(filled: FilledTable) -> str:
    """Which table of which paper, for which dataset."""
    table = filled.table
    if not filled.comparable:
        return f"{table.label} of {table.source}, measured on {filled.dataset}."
    return f"{table.label} of {table.source}: {table.caption}."


def by_heading(filled: FilledTable) -> Iterator[tuple[str, list[FilledRow]]]:
    """The rows to show, grouped by heading ("" above the paper's own, unless its rows have groups)."""
    for heading, rows in groupby(filled.grid, key=lambda row: row.spec.heading):
        yield heading, list(rows)


def measured(filled: FilledTable, row: FilledRow, column: int) -> tuple[str, str, bool]:
    """Mean, standard deviation ("" with fewer than two seeds) and whether it is the column's best."""
    cell = row.cells[column]
    if cell.mean is None:
        return NONE, "", False
    digits = filled.table.decimals(column)
    leaks = filled.marks_test_leak and metric(filled.table.columns[column].metric).needs_threshold
    std = "" if cell.std is None else f"{cell.std:.{digits}f}"
    best = cell.mean == filled.best(column, row.tuned_on_open)
    return f"{cell.mean:.{digits}f}{TUNED if leaks else ''}", std, best


def paper(cell: Cell) -> str:
    """The paper's figure as printed, with its dash as an en dash; empty if its table has no such cell."""
    if cell.paper is None:
        return ""
    return NONE if cell.paper_limits is None else f"{cell.paper}{QUOTED if cell.quoted else ''}"


def difference(filled: FilledTable, cell: Cell, column: int) -> str:
    """Measured mean − the paper's figure with its sign, none for 0; "" if they are not comparable."""
    if cell.delta is None or not filled.comparable:
        return ""
    text = f"{cell.delta:+.{filled.table.decimals(column)}f}"
    return text.replace("-", "−") if float(text) else text[1:]


def details(filled: FilledTable) -> tuple[tuple[str, ...], Lines, str]:
    """How each row was measured: headings, a line per row, and a sentence on what is the same for all."""
    measured_rows = [row for row in filled.rows if row.status == "measured"]
    # The detectors of two methods have the same labels, under headings that are not repeated here.
    labels = Counter(row.label for row in measured_rows)
    lines = [(row.label if labels[row.label] == 1 else row.spec.key, *_facts(row)) for row in measured_rows]
    columns = list(zip(_HEADS, zip(*lines, strict=True), strict=True)) if lines else []
    same = {head: texts[0] for head, texts in columns if head in _ONCE and len(lines) > 1 and len(set(texts)) == 1}
    kept = [(h, texts) for h, texts in columns if h not in same and (h not in _OF_SOME or set(texts) != {NONE})]
    told = "; ".join(named(head, text) for head, text in same.items() if text != NONE)
    sentence = f"All rows: {told}." if told else ""
    return tuple(h for h, _ in kept), list(zip(*(texts for _, texts in kept), strict=True)), sentence


def named(head: str, text: str) -> str:
    """A fact in a sentence: ``epochs 18+6``, and ``seed 0`` of a single one."""
    return f"seed {text}" if head == "seeds" and text.isdigit() else f"{head} {text}"


def _facts(row: FilledRow) -> tuple[str, ...]:
    return (
        row.hash or NONE,
        ", ".join(map(str, row.seeds)) if len(row.seeds) < 6 else f"{len(row.seeds)} of them",
        f"{row.stages} from scratch" if row.footing.from_scratch else row.stages or NONE,
        row.footing.backbone or NONE,
        _detector(row),
        row.threshold_rule or NONE,
        _range(row),
        f"{duration(row.seconds)} per seed" if row.seconds is not None else NONE,
        ", ".join(row.devices) or NONE,
    )


def _detector(row: FilledRow) -> str:
    """Its name, which fit was used if there are several, and whether it was tuned."""
    if not row.detector:
        return NONE
    fit = row.detector.report.get("fit")
    return row.detector.name + (f" ({fit})" if fit else "") + (", tuned" if row.tuned_on_open else "")


def missing(filled: FilledTable) -> Lines:
    """Missing rows as (label, command); see ``others`` for those that the table does not name."""
    together = _alike(filled)
    return [(row.label, row.command) for row in filled.rows if row.command and row not in together]


def others(filled: FilledTable) -> str:
    """A sentence for the missing methods that the table does not name: their commands differ only in the name."""
    together = _alike(filled)
    if not together:
        return ""
    first = together[0]
    command = str(first.command).replace(f" run {first.spec.asked} ", " run METHOD ", 1)
    return f"Not run yet ({command}): {', '.join(row.label for row in together)}."


def _alike(filled: FilledTable) -> list[FilledRow]:
    rows = [row for row in filled.rows if row.command and not row.spec.named and PLUS not in row.spec.asked]
    return rows if len(rows) > 1 else []


def remarks(filled: FilledTable) -> list[str]:
    """Notes below the table, as sentences."""
    _, _, same = details(filled)
    unavailable = [row.label for row in filled.rows if row.status == "unavailable"]
    last = f"Not in this version: {', '.join(unavailable)}." if unavailable else ""
    return [sentence for sentence in (same, *filled.notes, others(filled), last) if sentence]


def two_lines(bounds: str) -> tuple[str, str]:
    """ "≤ 100 & > 20" over two lines, a single bound on the lower."""
    upper, sign, lower = bounds.partition(" & ")
    return (upper, f"& {lower}") if sign else ("", upper)


def _range(row: FilledRow) -> str:
    """One τ, or the range from the lowest to the highest of the seeds, and of the classes where each has its own."""
    by_class = [tau for one in row.chosen for tau in one.by_class or ()]
    values = by_class or row.thresholds
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low}–{high}"
