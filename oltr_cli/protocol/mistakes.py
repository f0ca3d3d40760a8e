"""The most confident mistakes: which samples to look at first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oltr_cli.protocol.metrics import Threshold, accepted
from oltr_cli.protocol.shots import ClassCounts, shot_groups
from oltr_cli.runs.scores import SavedScores

KINDS = ("known_as_other", "known_as_unknown", "unknown_as_known", "tail_as_head")
PER_KIND = 12

# Kind → split, its scores, and the rows of samples in them, the most confident mistake first.
Found = dict[str, tuple[str, SavedScores, NDArray[np.int64]]]


@dataclass(frozen=True)
class Mistake:
    """One sample that goes wrong at τ.

    Attributes:
        kind: ``known_as_other``, ``known_as_unknown``, ``unknown_as_known`` or ``tail_as_head``.
        split, row: where its scores are; ``path``: its name in the lists, "" if the scores have none.
        label: its class, −1 = open; ``prediction``: the class that the network gives it, rejected or not.
    """

    kind: str
    split: str
    row: int
    path: str
    label: int
    prediction: int
    confidence: float


def find_mistakes(
    known: SavedScores, open_: SavedScores | None, counts: ClassCounts, shots: str, most: int = PER_KIND
) -> Found:
    """Kind → (split, its scores, the rows of at most ``most`` samples, the most confident mistake first).

    ``known_as_other``: known samples classified as another class, the highest confidence first; ``known_as_unknown``:
    known samples of the lowest confidence; ``unknown_as_known``: open ones of the highest; ``tail_as_head``: those of
    ``known_as_other`` of a few-shot class classified as a many-shot one. Which of them are rejected depends on τ, see
    ``at_threshold``. Samples of equal confidence keep their order.
    """
    groups = shot_groups(counts, shots)
    order = np.argsort(known.confidence, kind="stable")
    falling = np.argsort(-known.confidence, kind="stable")
    wrong = known.prediction != known.labels
    swapped = groups["few"][known.labels] & groups["many"][known.prediction]
    found: Found = {
        "known_as_other": ("test", known, falling[wrong[falling]][:most]),
        "known_as_unknown": ("test", known, order[:most]),
    }
    if open_ is not None:
        found["unknown_as_known"] = ("open", open_, np.argsort(-open_.confidence, kind="stable")[:most])
    found["tail_as_head"] = ("test", known, falling[swapped[falling]][:most])
    return found


def at_threshold(found: Found, threshold: Threshold) -> Found:
    """Of each kind those that are mistakes at τ: ``known_as_unknown`` must be rejected, the others accepted."""
    kept: Found = {}
    for kind, (split, scores, rows) in found.items():
        taken = accepted(scores.take(rows), threshold)
        kept[kind] = (split, scores, rows[~taken if kind == "known_as_unknown" else taken])
    return kept


def samples_of(found: Found) -> list[Mistake]:
    """The samples of all kinds, one after the other."""
    return [
        Mistake(
            kind,
            split,
            row,
            "" if scores.paths is None else str(scores.paths[row]),
            int(scores.labels[row]) if split == "test" else -1,
            int(scores.prediction[row]),
            float(scores.confidence[row]),
        )
        for kind, (split, scores, rows) in found.items()
        for row in rows.tolist()
    ]
