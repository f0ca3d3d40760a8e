"""Which test samples a figure shows where nobody names one."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from oltr_cli.runs.scores import SavedScores


def add_surest(
    chosen: list[int],
    scores: SavedScores,
    fitting: NDArray[np.bool_],
    groups: Mapping[str, NDArray[np.bool_]],
    order: Sequence[str],
) -> None:
    """Add to ``chosen`` the sample that ``scores`` is surest of, of the first group in ``order`` that has one.

    Args:
        fitting: which samples (N,) may be chosen; those of classes that were chosen before are left out.
        groups: which classes (K,) are of each shot group.
    """
    fitting = fitting & ~np.isin(scores.labels, scores.labels[chosen])
    for name in order:
        rows = np.flatnonzero(fitting & groups[name][scores.labels])
        if len(rows):
            chosen.append(int(rows[np.argmax(scores.confidence[rows])]))
            return
