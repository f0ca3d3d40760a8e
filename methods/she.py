"""SHE: confidence = inner product of the feature with the stored pattern of the predicted class.

    μ_c = mean feature of the correctly classified training images of class c
    confidence = h(x) · μ_ŷ

Source: Zhang et al., "Out-of-Distribution Detection based on In-Distribution Data Patterns Memorization with Modern
Hopfield Energy", ICLR 2023; the form with the inner product. It has no parameter.
Deviation: a class without a correctly classified training image has the mean of all its images, and one without images
the pattern 0; ``report`` counts them.
"""

import numpy as np

from oltr_cli.detector import Detector, Samples, SavedScores

from ._class_means import class_means
from ._logits import Floats


class SHE(Detector):
    """Patterns (K, D) from the saved features (N, D)."""

    source = "Zhang et al., ICLR 2023"
    reads = ("features",)

    def fit(self, train: SavedScores) -> None:
        """The patterns."""
        train, num_classes = self.require(train), self.setup.num_classes
        right = train.prediction == train.labels
        no_correct = np.bincount(train.labels[right], minlength=num_classes) == 0
        rows = np.flatnonzero(right | no_correct[train.labels])
        pieces = ((train.features[rows[p]], train.labels[rows[p]]) for p in self.blocks(len(rows)))
        self.patterns, counts = class_means(pieces, num_classes, train.features.shape[1])
        self._report = {
            "classes without correct samples": int((no_correct & (counts > 0)).sum()),
            "classes without training samples": int((counts == 0).sum()),
        }

    def confidence(self, block: Samples) -> Floats:
        """Confidence on the scale of the squared features."""
        return np.vecdot(block.features.astype(np.float64), self.patterns[block.prediction])

    def report(self) -> dict[str, int]:
        """How many classes had less data than the source assumes."""
        return self._report
