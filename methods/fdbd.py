"""fDBD: the mean distance of the feature to the decision boundaries of its class, relative to how far out it lies.

    confidence = 1/(K−1) Σ_{c ≠ ŷ} |f_ŷ − f_c| / ‖w_ŷ − w_c‖ / ‖h(x) − μ‖,  μ the mean training feature

Source: Liu & Qin, "Fast Decision Boundary based Out-of-Distribution Detector", ICML 2024. It has no parameter and
needs a linear classifier: |f_ŷ − f_c| / ‖w_ŷ − w_c‖ is then the distance to the boundary between ŷ and c.
Deviation: classes with the same weights as ŷ have no boundary to it and count as distance 0.
"""

import numpy as np

from oltr_cli.detector import Detector, Samples, SavedScores

from ._logits import Floats

SAME = 1e-12  # ‖w_a − w_b‖² below this share of ‖w_a‖² + ‖w_b‖² is rounding


class FDBD(Detector):
    """Distances to boundaries from saved logits, and the mean feature (D,)."""

    source = "Liu & Qin, ICML 2024"
    reads = ("features", "logits")
    needs_head = True
    block = 256  # float64 logits of this many samples fit into the processor's cache

    def fit(self, train: SavedScores) -> None:
        """The mean feature, and 1 / ‖w_a − w_b‖ of all pairs of classes (K, K) float32."""
        self.mean = self.require(train).features.mean(axis=0, dtype=np.float64)
        weight = self.head.weight
        lengths = np.square(weight).sum(axis=1)
        self.inverse = np.zeros((len(weight), len(weight)), np.float32)
        for rows in self.blocks(len(weight)):
            both = lengths[rows, None] + lengths
            squared = both - 2 * weight[rows] @ weight.T
            apart = squared > SAME * both
            self.inverse[rows][apart] = 1 / np.sqrt(squared[apart])

    def confidence(self, block: Samples) -> Floats:
        """Confidence, at least 0."""
        logits = block.logits.astype(np.float64)
        own = np.take_along_axis(logits, block.prediction[:, None], axis=1)
        boundaries = (np.abs(own - logits) * self.inverse[block.prediction]).sum(axis=1)
        away = np.linalg.norm(block.features - self.mean, axis=1)
        return boundaries / max(logits.shape[1] - 1, 1) / np.maximum(away, np.finfo(np.float32).tiny)
