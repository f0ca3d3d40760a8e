"""metrics.jsonl: one JSON object per epoch."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from oltr_cli.base.digests import with_digest, without_digest


def as_lines(history: list[dict[str, Any]]) -> str:
    """The rows as JSON lines."""
    return "".join(json.dumps(with_digest(row), allow_nan=False) + "\n" for row in history)


def read_history(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl before the first that is half written or damaged; none when there is no file.

    Each has a whole number as its "epoch"; all other values are numbers or None.
    """
    rows: list[dict[str, Any]] = []
    with suppress(OSError, ValueError, RecursionError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("epoch"), int):
                break
            rows.append(
                {name: value for name, value in without_digest(row).items() if isinstance(value, int | float | None)}
            )
    return rows
