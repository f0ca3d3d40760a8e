"""Tables that are never cut to a console: numbers and names in them are copied, and half of one is worth nothing."""

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

WIDE = 10_000  # more than any table needs


def fitted(table: Callable[[Sequence[str]], Table], side: Sequence[str], width: int) -> tuple[Table, list[str]]:
    """A table without as many of its side columns as it takes to fit, and which those are.

    Where none is left and it still does not fit, it stays wider; print it with ``crop=False``.

    Args:
        table: makes it without the columns that it is given.
        side: columns that may go, the first to go first.
        width: of the console.
    """
    for number in range(len(side) + 1):
        made = table(side[:number])
        made.width = Console(width=WIDE).measure(made).maximum
        if made.width <= width:
            break
    return made, list(side[:number])
