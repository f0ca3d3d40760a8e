"""How all commands print ``--json``."""

import math
from pathlib import Path
from typing import Any


def print_json(value: Any) -> None:
    """One line of strict JSON on stdout, written at once: paths as text, numbers that are not finite as null.

    Text that cannot be written as UTF-8 (a file name in another encoding) is escaped.
    """
    from oltr_cli.base.text import json_text

    print(json_text(_strict(value)), flush=True)


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
