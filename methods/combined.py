"""Combined: two detectors as one, by how rare each confidence is among known validation samples.

    p_j(x) = (1 + number of closed validation samples v with conf_j(v) ≤ conf_j(x)) / (1 + their number)
    confidence = log p_1(x) + log p_2(x)

Source: Fisher's sum of log p-values ("Statistical Methods for Research Workers", 1925), with empirical p-values. These
have no scale, so detectors on any scales can be added.
Deviation: the two are not independent, so the sum ranks samples but is no test. Both detectors have their default
parameters; the prediction stays the network's. Samples below all validation samples in both are tied.
"""

from typing import Any

import numpy as np
from pydantic import Field

from oltr_cli.detector import Detector, DetectorSetup, MethodParams, Samples, SavedScores

from ._logits import Floats


class Combined(Detector):
    """The validation confidences (V,) of both detectors, sorted."""

    source = "Fisher, 1925"

    class Params(MethodParams):
        """Which two."""

        first: str = Field("energy", description="name of a detector that works from saved scores")
        second: str = Field("relative-mahalanobis", description="name of another")

    setup: DetectorSetup[Params]

    @classmethod
    def combines(cls, params: Any) -> tuple[str, ...]:
        """Both names."""
        return params.first, params.second

    def calibrate(self, val: SavedScores) -> None:
        """The confidences that known samples have."""
        val = self.require(val)
        self.known = [np.sort(part.score(val).confidence) for part in self.parts]

    def confidence(self, block: Samples) -> Floats:
        """Confidence, at most 0."""
        total = np.zeros(len(block))
        for part, known in zip(self.parts, self.known, strict=True):
            at_most = np.searchsorted(known, part.score(block).confidence, side="right")
            total += np.log((1 + at_most) / (1 + len(known)))
        return total

    def report(self) -> dict[str, Any]:
        """Number of validation samples, and what each detector reports."""
        reports = {f"{part.name}: {key}": value for part in self.parts for key, value in part.report().items()}
        return {"validation samples": len(self.known[0]), **reports}
