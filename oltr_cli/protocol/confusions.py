"""Which classes are taken for which: counts of the pairs that occur, never a dense K × K table of all of them.

K known classes have the labels 0 … K − 1. Label K is open as a true class, and "unknown" as a decision: a sample with
confidence < τ.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oltr_cli.protocol.metrics import Floats, Threshold, accepted
from oltr_cli.runs.scores import SavedScores

LARGEST = 50  # pairs that a table shows


@dataclass(frozen=True)
class Confusions:
    """The P pairs of true class and decision that occur, in the order of (true, decided).

    Attributes:
        classes: K.
        true, decided, count: (P,).
        samples: (K + 1,) samples of each true class, open ones last.
    """

    classes: int
    true: NDArray[np.int64]
    decided: NDArray[np.int64]
    count: NDArray[np.int64]
    samples: NDArray[np.int64]

    @classmethod
    def of(
        cls, known: SavedScores, open_: SavedScores | None, num_classes: int, threshold: Threshold | None
    ) -> "Confusions":
        """Of test samples of known classes and open ones at τ; None rejects nothing."""
        codes = []
        for scores, is_open in ((known, False), (open_, True)):
            if scores is not None:
                true = np.full(len(scores), num_classes) if is_open else scores.labels
                decided = np.where(accepted(scores, threshold), scores.prediction, num_classes)
                codes.append(true * (num_classes + 1) + decided)
        pairs, count = np.unique(np.concatenate(codes), return_counts=True)
        true, decided = np.divmod(pairs, num_classes + 1)
        samples = np.bincount(true, count, num_classes + 1).astype(np.int64)
        return cls(num_classes, true, decided, count.astype(np.int64), samples)

    @property
    def share(self) -> Floats:
        """Of each pair, its part of the samples of the true class (P,)."""
        return self.count / self.samples[self.true]

    def largest(self, most: int = LARGEST) -> NDArray[np.int64]:
        """Places of the most frequent mistakes among the pairs; of equal counts the larger share, then label order."""
        wrong = np.flatnonzero(self.true != self.decided)
        order = np.lexsort((self.decided[wrong], self.true[wrong], -self.share[wrong], -self.count[wrong]))
        return wrong[order[:most]]

    def table(self) -> NDArray[np.int64]:
        """The counts as (K + 1, K + 1), true classes in rows; for a K that allows it."""
        dense = np.zeros((self.classes + 1, self.classes + 1), np.int64)
        dense[self.true, self.decided] = self.count
        return dense


def most_confused(known: SavedScores, num_classes: int) -> tuple[NDArray[np.int64], Floats]:
    """The most frequent wrong prediction for each class (K,), −1 for none, and its share of the samples (K,).

    Nothing is rejected. Of several as frequent ones it is the lowest label.
    """
    found = Confusions.of(known, None, num_classes, None)
    wrong = found.true != found.decided
    true, decided, count = found.true[wrong], found.decided[wrong], found.count[wrong]
    order = np.lexsort((decided, -count, true))
    _, first = np.unique(true[order], return_index=True)
    best = order[first]
    result, share = np.full(num_classes, -1, np.int64), np.full(num_classes, np.nan)
    result[true[best]] = decided[best]
    share[true[best]] = count[best] / found.samples[true[best]]
    return result, share
