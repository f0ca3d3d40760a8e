"""Where ``oltr predict`` prints its rows."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from oltr_cli.base.display import Display
    from oltr_cli.inference.formats.rows import Line


class RowOutput:
    """stdout, flushed after each batch."""

    def __init__(self, display: "Display", stdout: TextIO) -> None:
        # Kept from before the bar starts: on a terminal rich then sends everything printed to stderr.
        self.stdout, self.console = stdout, None
        if hasattr(stdout, "reconfigure"):
            # Names that are not UTF-8 are written as the bytes that they have on the disk.
            stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        if stdout.isatty():
            from oltr_cli.base.display import SafeConsole

            # If both are the terminal, rows are printed above the bar.
            barred = display.console.is_terminal and not display.quiet
            self.console = display.console if barred else SafeConsole(file=stdout)

    def write(self, lines: "Iterable[Line]") -> None:
        if self.console is None:
            self.stdout.writelines(f"{text}\n" for text, _ in lines)
            self.stdout.flush()
            return
        if not (lines := list(lines)):
            return
        from rich.text import Text

        self.console.print(Text("\n").join(Text(text, style) for text, style in lines), soft_wrap=True)

    def abandon(self) -> None:
        """The reader has closed the pipe (``oltr predict … | head``): keep the interpreter from complaining at exit."""
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())
