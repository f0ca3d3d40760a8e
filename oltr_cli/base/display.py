"""What the user sees on stderr during a run: a table that grows by one line per epoch, and a bar with an ETA.

Without a terminal the same lines are plain and the bar is left out.
"""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

_COLUMNS = (("epoch", 7), ("loss", 8), ("val", 6), ("many", 6), ("med.", 6), ("few", 6), ("images/s", 9), ("time", 7))


_TAG = re.compile(r"\\*\[[a-z#/@][^[]*?\]")  # what rich takes for markup, with backslashes that say it is none
_STYLES = ("[dim]", "[bold]", "[green]", "[red]")


class _Console(Console):
    """Takes ``_STYLES`` and ``[/]`` for markup; other brackets are text, as paths and names have them."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(text if options.get("markup") is False else _only_styles(text), **options)


def make_console(**options: Any) -> Console:
    """The console on which all commands print; its options are rich's."""
    return _Console(**{"highlight": False, "emoji": False, **options})  # 0.1:100:log is a range


def _only_styles(text: str) -> str:
    """``text`` with brackets escaped that are no style of ours, and ``[/]`` where nothing is to be closed."""
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
        self.console = make_console(stderr=True)
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
