"""metrics.jsonl: one JSON object per epoch."""

import json
from pathlib import Path
from typing import Any


def as_lines(history: list[dict[str, Any]]) -> str:
    """The rows as JSON lines."""
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in history)


def read_history(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, without a half-written line; none if there is no file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
