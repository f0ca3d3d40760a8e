"""Prior-MSP: the largest softmax probability after the training set's class prior is removed from the logits.

    confidence = max_c softmax(f(x) − τ · log π)_c,  π_c = N_c / N

Source: the adjustment of Menon et al., "Long-Tail Learning via Logit Adjustment", ICLR 2021 (Eq. 9, τ = 1), under the
maximum softmax probability of Hendrycks & Gimpel, ICLR 2017. Under msp, images of rare classes look less known than
those of no class, because the prior lowers their probability.
Deviation: only the confidence is adjusted; the prediction stays the network's (the method logit-adjustment changes it).
A class without training images takes no part. On a method whose logits have a uniform prior (balanced-softmax, crt,
logit-adjustment) msp is the one to use.
"""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from oltr_cli.detector import DetectorSetup, LogitDetector, MethodParams

if TYPE_CHECKING:
    from torch import Tensor


class PriorMSP(LogitDetector):
    """Maximum softmax probability of adjusted logits, 1/K … 1."""

    source = "Menon et al., ICLR 2021"
    search_space: ClassVar[dict[str, str]] = {"detector.tau": "0:2"}

    class Params(MethodParams):
        """The only parameter."""

        tau: float = Field(1.0, ge=0, description="τ, weight of the log prior; 0 is msp")

    setup: DetectorSetup[Params]

    def from_logits(self, logits: "Tensor") -> "Tensor":
        prior = self.setup.prior
        present = prior > 0
        log_prior = np.log(np.where(present, prior, 1))
        added = np.where(present, -self.setup.params.tau * log_prior, -np.inf)
        return (logits + logits.new_tensor(added.tolist())).softmax(dim=1).amax(dim=1)
