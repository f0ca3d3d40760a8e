"""RP-GradNorm: the length of the gradient of the classifier's weights, towards the class prior as target.

    confidence = ‖h(x)‖₁ · ‖π − p‖₁,  p = softmax f(x),  π_c = N_c / N

Source: Jiang et al., "Detecting Out-of-distribution Data through In-distribution Class Prior", ICML 2023; the form of
their published code. It is GradNorm (Huang et al., NeurIPS 2021) with π in the place of 1/K: the gradient of a linear
classifier is an outer product, whose L1 norm is this product and needs no network.
Deviation: not divided by D · K, which changes no order.
"""

import numpy as np

from oltr_cli.detector import Detector, Samples

from ._logits import Floats, softmax


class RPGradNorm(Detector):
    """From the saved features and logits, at least 0."""

    source = "Jiang et al., ICML 2023"
    reads = ("features", "logits")
    block = 256  # float64 logits of this many samples fit into the processor's cache

    def confidence(self, block: Samples) -> Floats:
        """Confidence on the scale of the features' L1 norm."""
        away = softmax(block.logits)
        away -= self.setup.prior
        return np.abs(block.features).sum(axis=1, dtype=np.float64) * np.abs(away, out=away).sum(axis=1)
