"""MaxLogit: confidence = the largest logit, which keeps the magnitude that a softmax normalises away.

    confidence = max_c f(x)_c

Source: Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World Settings", ICML 2022.
Deviation: none known.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from oltr_cli.detector import LogitDetector, Samples

if TYPE_CHECKING:
    from torch import Tensor


class MaxLogit(LogitDetector):
    """Maximum of the saved logits, on the logits' scale."""

    source = "Hendrycks et al., ICML 2022"

    def from_logits(self, logits: "Tensor") -> "Tensor":
        return logits.amax(dim=1)

    def confidence(self, block: Samples) -> NDArray[np.floating]:
        """In the logits' own precision: a maximum is exact in any, and float64 takes twice the time."""
        import torch

        return self.from_logits(torch.from_numpy(block.logits)).numpy()
