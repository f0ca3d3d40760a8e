"""NCI: how well the feature points along the weights of its class, and how long it is.

    confidence = w_ŷ · (h(x) − μ) / ‖h(x) − μ‖ + α ‖h(x)‖₁,  μ the mean training feature

Source: Liu & Qin, "Detecting Out-of-Distribution Through the Lens of Neural Collapse", CVPR 2025; the score of their
code in OpenOOD, α = 1e-4 of its grid 1e-4 … 0.1. Needs a linear classifier.
Deviation: a feature equal to μ has 0 as its first term.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from oltr_cli.detector import Detector, DetectorSetup, MethodParams, Samples, SavedScores

from ._logits import Floats


class NCI(Detector):
    """The method's weights (K, D) and the mean feature (D,)."""

    source = "Liu & Qin, CVPR 2025"
    search_space: ClassVar[dict[str, str]] = {"detector.alpha": "0.0001:0.1:log"}
    reads = ("features", "logits")
    needs_head = True

    class Params(MethodParams):
        """Symbols as in the source."""

        alpha: float = Field(1e-4, ge=0, description="α, weight of the feature's L1 norm")

    setup: DetectorSetup[Params]

    def fit(self, train: SavedScores) -> None:
        """The mean feature."""
        self.mean = self.require(train).features.mean(axis=0, dtype=np.float64)

    def confidence(self, block: Samples) -> Floats:
        """Confidence on the scale of the weights."""
        centred = block.features - self.mean
        length = np.maximum(np.linalg.norm(centred, axis=1), np.finfo(np.float64).tiny)
        along = np.vecdot(self.head.weight[block.prediction], centred) / length
        return along + self.setup.params.alpha * np.abs(block.features).sum(axis=1, dtype=np.float64)
