"""The numbers of each class: how many of its samples are right, how many are rejected, what it is taken for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oltr_cli.protocol.confusions import most_confused
from oltr_cli.protocol.metrics import Floats, Threshold, accepted, per_class_accuracy
from oltr_cli.protocol.shots import GROUPS, ClassCounts, shot_groups
from oltr_cli.runs.scores import SavedScores


@dataclass(frozen=True)
class PerClass:
    """Numbers by label, all (K,); NaN and −1 stand for what cannot be said: no test sample, no mistake, no open one.

    Attributes:
        train, test: images; ``group``: 0, 1, 2 for many, medium, few.
        closed: accuracy if nothing is rejected; ``open``: at τ, with rejected samples as wrong.
        rejected: share of the samples that are rejected at τ.
        taken_for, share: most frequent wrong prediction before any rejection, and its part of the samples.
        open_as: open samples that are taken for this class at τ; None without open samples.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    group: NDArray[np.int64]
    closed: Floats
    open: Floats
    rejected: Floats
    taken_for: NDArray[np.int64]
    share: Floats
    open_as: NDArray[np.int64] | None

    @classmethod
    def of(
        cls,
        known: SavedScores,
        open_: SavedScores | None,
        class_counts: ClassCounts,
        threshold: Threshold,
        shots: str = "paper",
    ) -> "PerClass":
        """Of test samples of known classes and open ones; without open samples nothing is said of τ, as in metrics."""
        classes = len(class_counts)
        groups = shot_groups(class_counts, shots)
        test = np.bincount(known.labels, minlength=classes)
        taken_for, share = most_confused(known, classes)
        nothing = np.full(classes, np.nan)
        at_tau, rejected, open_as = nothing, nothing, None
        if open_ is not None and len(open_):
            at_tau = per_class_accuracy(known, classes, threshold)
            lost = np.bincount(known.labels[~accepted(known, threshold)], minlength=classes)
            rejected = np.divide(lost, test, out=nothing.copy(), where=test > 0)
            open_as = np.bincount(open_.prediction[accepted(open_, threshold)], minlength=classes)
        return cls(
            np.asarray(class_counts, np.int64),
            test,
            np.select([groups[name] for name in GROUPS], range(3)),
            per_class_accuracy(known, classes),
            at_tau,
            rejected,
            taken_for,
            share,
            open_as,
        )

    def worst_first(self) -> NDArray[np.int64]:
        """Labels (K,) by rising accuracy; of equal ones fewer training images first, then label order.

        Classes without a test sample come last.
        """
        return np.lexsort((np.arange(len(self.train)), self.train, np.where(np.isnan(self.closed), 2.0, self.closed)))
