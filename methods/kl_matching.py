"""KL matching: confidence = minus the divergence of the softmax from the nearest typical softmax of a class.

    d_k = mean of p over the closed validation samples that are predicted as class k,  p = softmax f
    confidence = −min_k KL(p(x) ‖ d_k)

Source: Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World Settings", ICML 2022. It has no
parameter and reads no label.
Deviation: classes that no validation sample is predicted as have no d_k (on a long tail often the rare ones; ``report``
counts them). An entry of d_k below 1e-300 counts as 1e-300, so that no divergence is infinite.
"""

import numpy as np

from oltr_cli.detector import Detector, Samples, SavedScores

from ._class_means import class_means
from ._logits import Floats, softmax

LEAST = 1e-300


class KLMatching(Detector):
    """Typical distributions (C, K) of the classes that are predicted on the validation split."""

    source = "Hendrycks et al., ICML 2022"
    reads = ("logits",)
    block = 256  # float64 logits of this many samples fit into the processor's cache

    def calibrate(self, val: SavedScores) -> None:
        """The logarithm of d_k."""
        val = self.require(val)
        # Only rows that are needed, and one copy: with 20,000 classes a (K, K) array takes 3 GB.
        classes, position = np.unique(val.prediction, return_inverse=True)
        pairs = ((softmax(val.logits[rows]), position[rows]) for rows in self.blocks(len(val)))
        typical, _ = class_means(pairs, len(classes), val.logits.shape[1])
        np.maximum(typical, LEAST, out=typical)
        self.log_typical = np.log(typical, out=typical)

    def confidence(self, block: Samples) -> Floats:
        """Confidence, at most 0 up to rounding."""
        p = softmax(block.logits)
        negative_entropy = (p * np.log(np.maximum(p, LEAST))).sum(axis=1)
        return (p @ self.log_typical.T).max(axis=1) - negative_entropy

    def report(self) -> dict[str, int]:
        """Number of classes with a typical distribution, and without."""
        found, num_classes = self.log_typical.shape
        return {"classes": found, "classes never predicted on val": num_classes - found}
