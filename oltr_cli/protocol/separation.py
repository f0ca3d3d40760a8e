"""What confidences are judged by on *validation*, and how far chance explains their differences.

With open validation images: the AUROC of known against open ones, by default the mean over the shot groups, so rare
classes count as much as frequent ones. Without: the AUROC of right against wrong predictions on closed validation. The
intervals are from a bootstrap that draws the same samples for all confidences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from oltr_cli.errors import DataProblem
from oltr_cli.protocol.resampling import Floats, group_aurocs
from oltr_cli.protocol.shots import GROUPS
from oltr_cli.runs.scores import SavedScores

By = Literal["groups", "worst", "all"]
CRITERIA: dict[By, str] = {
    "groups": "mean over the shot groups of AUROC against open_val",
    "worst": "AUROC of the worst shot group against open_val",
    "all": "AUROC of all of val against open_val",
}
CLOSED = "AUROC of right against wrong predictions on val"
DRAWS = 2000  # of the bootstrap
# A bootstrap of fewer samples sees too little of how they vary: with one image in a shot group, two choices of three on
# pure noise were wrong, with 5 of them or 6 open ones every fifth to fourth, with 15 as few as with hundreds.
LEAST = 15


@dataclass(frozen=True)
class Samples:
    """Which validation samples a confidence has to tell apart.

    Attributes:
        positive: rows of val; ``negative``: rows of open_val, or of val if there is none.
        groups: of the positive samples (N_p,), an index into ``names``.
    """

    positive: NDArray[np.integer]
    negative: NDArray[np.integer]
    groups: NDArray[np.integer]
    names: list[str]

    @classmethod
    def of(
        cls, run: str, val: SavedScores, open_val: SavedScores | None, masks: Mapping[str, NDArray[np.bool_]]
    ) -> "Samples":
        """With open images: all of val, by shot group, against all of open_val. Without: right against wrong ones.

        Args:
            run: its name, for messages.
            masks: the classes (K,) of each shot group.
        Raises:
            DataProblem: there is nothing to tell apart.
        """
        if not len(val):
            raise DataProblem(f"{run}: no validation samples, so detectors cannot be compared")
        if open_val is None:
            right = val.prediction == val.labels
            if right.all() or not right.any():
                kind = "right" if right.all() else "wrong"
                raise DataProblem(
                    f"{run}: all predictions on val are {kind} and there are no open validation images, so detectors "
                    "cannot be compared"
                )
            return cls(np.flatnonzero(right), np.flatnonzero(~right), np.zeros(int(right.sum()), np.int64), ["all"])
        group_of_class = np.select([masks[name] for name in GROUPS], range(len(GROUPS)))
        present, groups = np.unique(group_of_class[val.labels], return_inverse=True)
        return cls(np.arange(len(val)), np.arange(len(open_val)), groups.reshape(-1), [GROUPS[i] for i in present])

    def too_few(self, by: By) -> str | None:
        """Which samples are fewer than ``LEAST``, so that intervals cannot be trusted; None if there are enough."""
        sizes = {"known": len(self.positive)}
        if by != "all" and self.names != ["all"]:
            sizes = dict(zip((f"{name}-shot" for name in self.names), np.bincount(self.groups).tolist(), strict=True))
        if self.names == ["all"]:
            sizes = {"rightly classified": len(self.positive), "wrongly classified": len(self.negative)}
        else:
            sizes["open"] = len(self.negative)
        few = [f"{size} {what}" for what, size in sizes.items() if size < LEAST]
        if not few:
            return None
        remedy = "; --by all takes the shot groups together" if by != "all" and len(self.names) > 1 else ""
        return f"a choice takes {LEAST} validation images of each kind, and there are {', '.join(few)}{remedy}"

    def pair(self, val: SavedScores, open_val: SavedScores | None) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Confidences of the positive (N_p,) and of the negative samples (N_n,)."""
        return val.confidence[self.positive], (val if open_val is None else open_val).confidence[self.negative]


@dataclass(frozen=True)
class Separation:
    """How well C confidences tell the samples apart; the first is the one that others have to beat.

    Attributes:
        groups: AUROC (C, G) by group; ``overall``: (C,) of all samples.
        value: of the criterion (C,), ``drawn``: (draws, C) of it in each draw.
    """

    groups: Floats
    overall: Floats
    value: Floats
    drawn: Floats

    @property
    def interval(self) -> tuple[Floats, Floats]:
        """Ends (C,) of the 95 % intervals of ``value``, each by itself."""
        low, high = np.percentile(self.drawn, (2.5, 97.5), axis=0)
        return low, high

    @property
    def gain(self) -> tuple[Floats, Floats, Floats]:
        """``value`` less that of the first, and the ends of its interval, (C,) each; those of all others together
        hold with 95 %."""
        gains = self.drawn - self.drawn[:, :1]
        tail = 100 * 0.05 / 2 / max(1, len(self.value) - 1)
        low, high = np.percentile(gains, [tail, 100 - tail], axis=0)
        return self.value - self.value[0], low, high


def separation(
    pairs: Sequence[tuple[NDArray[np.floating], NDArray[np.floating]]],
    groups: NDArray[np.integer],
    by: By = "groups",
    draws: int = DRAWS,
    seed: int = 0,
) -> Separation:
    """How well confidences separate the samples of ``Samples.pair``.

    Args:
        pairs: of each of C confidences.
        groups: of the positive samples (N_p,), 0 … G−1, each with at least one.
        seed, draws: of the bootstrap.
    """
    observed, drawn = group_aurocs(pairs, groups, draws, seed)
    sizes = np.bincount(groups)
    overall = observed @ sizes / sizes.sum()
    return Separation(observed, overall, _criterion(observed, sizes, by), _criterion(drawn, sizes, by))


def _criterion(auroc: Floats, sizes: NDArray[np.integer], by: By) -> Floats:
    """Of AUROCs by group (…, G)."""
    if by == "all":
        return auroc @ sizes / sizes.sum()
    return auroc.min(axis=-1) if by == "worst" else auroc.mean(axis=-1)
