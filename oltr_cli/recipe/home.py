"""Where datasets are. Needs no torch."""

import os
from pathlib import Path


def data_home() -> Path:
    """``$OLTR_DATA``, or ``data`` in the current folder."""
    return Path(os.environ.get("OLTR_DATA", "") or "data").expanduser()
