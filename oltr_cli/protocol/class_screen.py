"""What goes wrong, on the terminal: classes, pairs of classes, samples."""

from collections.abc import Sequence

import numpy as np
from rich.box import ROUNDED
from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from oltr_cli.base.text import counted, number, visible
from oltr_cli.protocol.confusions import Confusions
from oltr_cli.protocol.mislabelled import METHOD, Suspect
from oltr_cli.protocol.mistakes import Mistake
from oltr_cli.protocol.per_class import PerClass
from oltr_cli.protocol.shots import GROUPS

ROWS = 200  # classes on the terminal
_WIDEST = 30  # cells of a class name beside a file's name
TITLES = {
    "known_as_other": "known, taken for another class",
    "known_as_unknown": "known, rejected",
    "unknown_as_known": "open, taken for a class",
    "tail_as_head": "few-shot, taken for a many-shot class",
}


def class_table(shown: PerClass, names: Sequence[str]) -> RenderableType:
    """The classes, the worst first; "–" marks what cannot be said."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("class", "train", "group", "test", "right\n%", "at τ\n%", "rejected\n%", "taken for", "%", "open"):
        is_name = heading in ("class", "taken for")
        is_text = is_name or heading == "group"
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=not is_name, overflow="fold")
    order = shown.worst_first()
    for label in order[:ROWS].tolist():
        taken_for = int(shown.taken_for[label])
        table.add_row(
            visible(names[label]),
            f"{shown.train[label]:,}",
            GROUPS[shown.group[label]],
            f"{shown.test[label]:,}",
            *(_percent(values[label]) for values in (shown.closed, shown.open, shown.rejected)),
            visible(names[taken_for]) if taken_for >= 0 else "–",
            _percent(shown.share[label]),
            "–" if shown.open_as is None else f"{shown.open_as[label]:,}",
        )
    said = (
        "train, test: images · right: before rejection · at τ: rejected ones count as wrong · taken for: the most "
        "frequent wrong class before rejection, and its share · open: open images taken for the class"
    )
    if len(order) > ROWS:
        said = f"{counted(len(order) - ROWS, 'class')} more; --json has all\n{said}"
    return Group(table, Text(said, style="dim"))


def confusion_table(shown: Confusions, names: Sequence[str]) -> RenderableType:
    """The most frequent mistakes at τ; a share is of the test images of the true class."""
    largest = shown.largest()
    if not len(largest):
        return Text("no mistake at τ", style="dim")
    table = Table(box=ROUNDED)
    for heading in ("true class", "decided to be", "images", "share, %"):
        table.add_column(heading, justify="left" if heading in ("true class", "decided to be") else "right")
    true_names, decided_names = [*names, "open"], [*names, "unknown"]
    for place in largest.tolist():
        table.add_row(
            visible(true_names[shown.true[place]]),
            visible(decided_names[shown.decided[place]]),
            f"{shown.count[place]:,}",
            _percent(shown.share[place]),
        )
    wrong = shown.true != shown.decided
    told = f"{counted(int(wrong.sum()), 'pair')} in all, {counted(int(shown.count[wrong].sum()), 'image')}"
    return Group(table, Text(told, style="dim"))


def mistake_table(shown: Sequence[Mistake], names: Sequence[str]) -> RenderableType:
    """The most confident mistakes of each kind, with the names that the images have in the lists."""
    parts: list[RenderableType] = []
    for kind, title in TITLES.items():
        rows = [
            (
                number(one.confidence),
                visible(names[one.label]) if one.label >= 0 else "open",
                visible(names[one.prediction]),
                visible(one.path) or f"{one.split}, sample {one.row}",
            )
            for one in shown
            if one.kind == kind
        ]
        said = "nearest" if kind == "known_as_unknown" else "taken for"
        parts.append(Text(f"{title}: none" if not rows else title, style="bold"))
        if rows:
            parts.append(_lines([("confidence", "class", said, "image"), *rows]))
    return Group(*parts)


def suspect_table(shown: Sequence[Suspect], names: Sequence[str]) -> RenderableType:
    """Labels that are perhaps wrong, the likeliest first."""
    said = Text(f"by {METHOD}; look before you change a label", style="dim")
    if not shown:
        return Group(Text("perhaps mislabelled: none", style="bold"), said)
    rows = [
        (
            number(one.quality),
            visible(names[one.label]),
            visible(names[one.suggested]),
            one.split,
            visible(one.path) or f"sample {one.row}",
        )
        for one in shown
    ]
    lines = _lines([("probability", "label", "perhaps", "split", "image"), *rows])
    return Group(Text("perhaps mislabelled", style="bold"), lines, said)


def _lines(rows: Sequence[Sequence[str]]) -> Text:
    """Columns below a heading; the last one, a file's name, is never broken or cut, so that it can be copied."""
    widths = [min(_WIDEST, max(map(cell_len, column))) for column in list(zip(*rows, strict=True))[:-1]]
    lines = Text(no_wrap=True, overflow="ignore")
    for row in rows:
        cells = [_cut(text, width) for text, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]) + "\n", "dim" if row is rows[0] else "")
    lines.rstrip()
    return lines


def _cut(text: str, width: int) -> str:
    return set_cell_size(text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…", width)


def _percent(share: float | np.floating) -> str:
    return "–" if np.isnan(share) else f"{100 * share:.1f}"
