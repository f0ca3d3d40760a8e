"""What the user sees on stderr during a run: a table that grows by one line per epoch, and a bar with an ETA.

Without a terminal the same lines are plain and the bar is left out.
"""

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from oltr_cli.base.text import visible_lines

_COLUMNS = (("epoch", 7), ("loss", 8), ("val", 6), ("many", 6), ("med.", 6), ("few", 6), ("images/s", 9), ("time", 7))


_TAG = re.compile(r"\\*\[[a-z#/@][^[]*?\]")  # what rich takes for markup, with backslashes that say it is none
_STYLES = ("[dim]", "[bold]", "[green]", "[red]", "[yellow]")


class SafeConsole(Console):
    """The console on which all commands print: names, paths and errors reach the terminal as plain text.

    Only ``_STYLES`` and ``[/]`` are markup; other brackets are text. Control characters are spelled out where text
    becomes segments, whatever it was part of: a line, a table, a bar.
    """

    def __init__(self, *, stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> None:
        # Without emoji: 0.1:100:log is a range.
        super().__init__(stderr=stderr, file=file, width=width, highlight=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible_lines(text), style, control)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(text if options.get("markup") is False else _only_styles(text), **options)


def _only_styles(text: str) -> str:
    """``text`` with all brackets escaped but our styles, and ``[/]`` where nothing is open."""
    opened = 0

    def checked(match: re.Match[str]) -> str:
        nonlocal opened
        tag = match.group()
        if tag in _STYLES or (tag == "[/]" and opened):
            opened += 1 if tag in _STYLES else -1
            return tag
        return tag if tag.startswith("\\") else f"\\{tag}"

    return _TAG.sub(checked, text)


class Display:
    """Writes to ``console`` (stderr); ``quiet`` shows warnings only."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = SafeConsole(stderr=True)
        self.quiet = quiet

    def say(self, text: str) -> None:
        """A line of progress."""
        if not self.quiet:
            self.console.print(text, soft_wrap=True)

    def starting_torch(self) -> None:
        """Explain the next seconds before torch is imported; nothing if it is imported already."""
        if "torch" not in sys.modules:
            self.say("[dim]starting torch …[/]")

    def warn(self, text: str) -> None:
        """A line that is always shown."""
        self.console.print(Text("warning: ", style="yellow"), Text(text), sep="", soft_wrap=True)

    @contextmanager
    def bar(self, title: str, total: int, unit: str = "images") -> Iterator["Bar"]:
        """A progress bar with the time left; silent if quiet or not on a terminal."""
        shown = self.console.is_terminal and not self.quiet
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[rate]}[/]"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not shown,
        ) as progress:
            yield Bar(progress, title, total, unit)


class Bar:
    """One running bar; ``advance`` counts and shows the rate over the last seconds."""

    def __init__(self, progress: Progress, title: str, total: int, unit: str) -> None:
        self.progress, self.unit = progress, unit
        self.task = progress.add_task(title, total=total, rate="")
        self.mark = (time.monotonic(), 0)
        self.done = 0

    def reached(self, done: int, total: int) -> None:
        """``done`` of ``total`` so far, for a total that is known only now."""
        self.progress.update(self.task, completed=done, total=total)

    def advance(self, amount: int = 1, per_step: int = 1, title: str | None = None) -> None:
        """Count ``amount``; each counts as ``per_step`` units in the shown rate."""
        self.done += amount * per_step
        now = time.monotonic()
        since, then = self.mark
        if now - since > 1.0:
            self.progress.update(self.task, rate=f"{(self.done - then) / (now - since):,.0f} {self.unit}/s")
            self.mark = (now, self.done)
        self.progress.update(self.task, advance=amount, description=title)


def epoch_header() -> str:
    """The header of the epoch table."""
    return "[dim]" + " ".join(f"{name:>{width}}" for name, width in _COLUMNS) + "[/]"


def epoch_line(row: dict[str, Any], epochs: int, best: bool) -> str:
    """One epoch as a line; accuracies in percent, the best so far marked."""
    cells = [
        f"{row['epoch']}/{epochs}",
        f"{row['loss']:.3f}",
        *(percent(row.get(f"val/closed/{group}")) for group in ("overall", "many", "medium", "few")),
        f"{row['images_per_second']:,.0f}",
        duration(row["seconds"]),
    ]
    line = " ".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, _COLUMNS, strict=True))
    return f"{line}  [green]best[/]" if best else line


def fitted(table: Callable[[Sequence[str]], Table], side: Sequence[str], width: int) -> tuple[Table, list[str]]:
    """A table without the side columns that do not fit, and the names of these.

    If it does not fit without any of them, it stays wider; print it with ``crop=False``: numbers and names in it are
    copied, and a cut one is useless.

    Args:
        table: makes the table without the given columns.
        side: columns that may go, the first to go first.
        width: of the console.
    """
    for number in range(len(side) + 1):
        made = table(side[:number])
        made.width = SafeConsole(width=10_000).measure(made).maximum
        if made.width <= width:
            break
    return made, list(side[:number])


def percent(value: float | None) -> str:
    """0.312 → 31.2, None → –."""
    return "–" if value is None else f"{100 * value:.1f}"


def duration(seconds: float) -> str:
    """Seconds as ``42 s``, ``3:05`` or ``2:10:00``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
