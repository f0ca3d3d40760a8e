"""Where datasets and files of weights are. Needs no torch."""

import os
from pathlib import Path


def data_home() -> Path:
    """``$OLTR_DATA``, or ``data`` in the current folder."""
    return Path(os.environ.get("OLTR_DATA", "") or "data").expanduser()


def weights_file(weights: str) -> Path:
    """The file that ``backbone.weights`` names; a relative path is looked for here, then in the folder of datasets."""
    path = Path(weights).expanduser()
    if path.is_absolute() or path.exists():
        return path
    with_data = data_home() / path
    return with_data if with_data.exists() else path
