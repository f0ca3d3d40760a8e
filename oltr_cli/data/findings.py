"""What ``oltr data check`` finds: one finding a line, with how bad it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
SHOWN = 3  # examples of a finding


@dataclass(frozen=True)
class Finding:
    """One thing to know about a dataset.

    Attributes:
        severity: "error": a run would stop or its figures would be wrong; "warning": worth a look; "note".
        kind: a word that scripts can rely on, such as ``missing_files``.
        message: a line for people.
        splits: those it is about; empty: the whole dataset.
        count: how many images, lines or classes.
    """

    severity: Severity
    kind: str
    message: str
    splits: tuple[str, ...] = ()
    count: int = 1


def some(items: Sequence[object]) -> str:
    """The first few, and "…" where there are more."""
    return ", ".join(map(str, items[:SHOWN])) + (", …" if len(items) > SHOWN else "")


def number(count: int, thing: str) -> str:
    """``1 image``, ``2,000 images``; ``thing`` ends in "s" or "es" for many."""
    if count == 1:
        return f"1 {thing}"
    return f"{count:,} {thing}{'es' if thing.endswith('s') else 's'}"
