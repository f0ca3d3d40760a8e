"""Tables that are never cut to a console: numbers and names in them are copied, and a cut one is useless."""

from collections.abc import Callable, Sequence

from rich.table import Table

from oltr_cli.base.display import make_console

WIDE = 10_000  # more than any table needs


def fitted(table: Callable[[Sequence[str]], Table], side: Sequence[str], width: int) -> tuple[Table, list[str]]:
    """A table without the side columns that do not fit, and the names of these.

    If it does not fit without any of them, it stays wider; print it with ``crop=False``.

    Args:
        table: makes the table without the given columns.
        side: columns that may go, the first to go first.
        width: of the console.
    """
    for number in range(len(side) + 1):
        made = table(side[:number])
        made.width = make_console(width=WIDE).measure(made).maximum
        if made.width <= width:
            break
    return made, list(side[:number])
