"""SCALE: the energy of the logits after features are enlarged, most where the largest values hold least of the sum.

    r = Σ_d h_d / Σ of the (100 − p) % largest h_d
    confidence = log Σ_c exp(W (h(x) · exp(r)) + b)_c

Source: Xu et al., "Scaling for Training Time and Post-hoc Out-of-distribution Detection Enhancement", ICLR 2024;
p = 85. Needs a linear classifier and features ≥ 0, as after a ReLU.
Deviation: at least one value counts as largest, and a feature of zeros stays as it is. p is at most 99, because exp(r)
can reach e^(100 / (100 − p)).
"""

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from oltr_cli.detector import Detector, DetectorSetup, MethodParams, Samples, SavedScores
from oltr_cli.errors import UsageProblem

from ._logits import Floats, energy


class SCALE(Detector):
    """Scaled features under the method's classifier."""

    source = "Xu et al., ICLR 2024"
    search_space: ClassVar[dict[str, str]] = {"detector.percentile": "65:95"}
    reads = ("features", "logits")
    needs_head = True

    class Params(MethodParams):
        """Symbols as in the source."""

        percentile: float = Field(85.0, ge=0, le=99, description="p, share of values that are not among the largest")

    setup: DetectorSetup[Params]

    def fit(self, train: SavedScores) -> None:
        """Check that features are ≥ 0.

        Raises:
            UsageProblem: they are not.
        """
        if self.require(train).features.min() < 0:
            raise UsageProblem(
                f"{self.name} divides by sums of features and needs them ≥ 0, and some training features are negative "
                "(a network that ends without a ReLU); use react or energy instead"
            )

    def confidence(self, block: Samples) -> Floats:
        """Confidence on the logits' scale."""
        h = torch.from_numpy(block.features.astype(np.float64))
        dim = h.shape[1]
        largest = max(1, dim - round(dim * self.setup.params.percentile / 100))
        top = h.topk(largest, dim=1, sorted=False).values.sum(dim=1, keepdim=True)
        ratio = torch.where(top > 0, h.sum(dim=1, keepdim=True) / top, 0.0)
        return energy(self.head.logits((h * ratio.exp()).numpy()))
