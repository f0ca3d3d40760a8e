"""ReAct: the energy of the logits after large features are cut off.

    c = the p-th percentile of all values of the training features
    confidence = log Σ_c exp(W min(h(x), c) + b)_c

Source: Sun et al., "ReAct: Out-of-distribution Detection With Rectified Activations", NeurIPS 2021; p = 90. Needs
a linear classifier on the features.
Deviation: c is of training features; OpenOOD's copy takes validation features. The paper has "in-distribution data".
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from oltr_cli.detector import Detector, DetectorSetup, MethodParams, Samples, SavedScores

from ._logits import Floats, energy


class ReAct(Detector):
    """Cut-off c and the method's classifier on saved features (N, D)."""

    source = "Sun et al., NeurIPS 2021"
    search_space: ClassVar[dict[str, str]] = {"detector.percentile": "80:99.9"}
    reads = ("features", "logits")
    needs_head = True

    class Params(MethodParams):
        """Symbols as in the source."""

        percentile: float = Field(90.0, ge=0, le=100, description="p, share of values below the cut-off, in percent")

    setup: DetectorSetup[Params]

    def fit(self, train: SavedScores) -> None:
        """The cut-off c."""
        values = self.require(train).features
        values = values.astype(np.promote_types(values.dtype, np.float32)).ravel()
        self.cut = float(np.percentile(values, self.setup.params.percentile, overwrite_input=True))

    def confidence(self, block: Samples) -> Floats:
        """Confidence on the logits' scale."""
        return energy(self.head.logits(np.minimum(block.features.astype(np.float64), self.cut)))

    def report(self) -> dict[str, float]:
        """The cut-off c."""
        return {"cut-off": self.cut}
