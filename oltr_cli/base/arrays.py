"""Reading .npy files without trusting them."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from oltr_cli.errors import with_type


def load_npy(path: Path, mmap_mode: Literal["r"] | None = None) -> Any:
    """What ``np.load`` reads from ``path`` without pickle: an array, or an archive of arrays.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not such a file, or damaged: numpy's header reader raises many kinds of errors then.
    """
    try:
        return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except (OSError, ValueError):
        raise
    except Exception as error:
        raise ValueError(with_type(error)) from None
