"""What ``oltr data check`` finds: one finding per line, with its severity."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


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
