"""Names of the splits of open images: ``open`` and ``open_val``, further test sets ``open_NAME``, and ``open_train``.

Each further set is scored and evaluated on its own, by the metrics ``open_NAME/…``. No threshold is chosen on it.
"""

from pathlib import Path

OUTLIERS = "open_train"  # images that methods with ``uses_outliers`` train on
_PREFIX = "open_"


def is_open(split: str) -> bool:
    """Whether the images of the split are of no known class, with the label −1; not the case of distractors."""
    return split == "open" or split.startswith(_PREFIX)


def is_open_set(split: str) -> bool:
    """Whether it is a further open test set, as ``open_far``."""
    return split.startswith(_PREFIX) and split not in ("open_val", OUTLIERS)


def is_further(split: str) -> bool:
    """Whether a run may do without it: a further open test set, or the outliers.

    Such a list has a digest of its own and is not part of that of the lists, so adding one leaves finished runs valid.
    """
    return is_open_set(split) or split == OUTLIERS


def scored_sets(run_dir: Path) -> list[str]:
    """The further open sets whose scores are saved in a run's folder, by name."""
    names = (path.stem for path in (run_dir / "scores").glob(f"{_PREFIX}*.npz"))
    return sorted(filter(is_open_set, names))
