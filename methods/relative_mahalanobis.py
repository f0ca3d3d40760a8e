"""Relative Mahalanobis: the distance to the nearest class mean, less the distance to the mean of all training features.

    d_c(h) = (h − μ_c)ᵀ Σ⁻¹ (h − μ_c), Σ the covariance within classes, as in mahalanobis
    d_0(h) = (h − μ_0)ᵀ Σ_0⁻¹ (h − μ_0), μ_0 and Σ_0 the mean and covariance of all training features
    confidence = −min_c (d_c(h(x)) − d_0(h(x)))

Source: Ren et al., "A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection", 2021 (arXiv 2106.09022).
It has no parameter.
Deviation: directions in which no class varies within itself (fewer samples than dimensions, units that are always 0)
are left out of d_0 as they are of d_c. Otherwise a sample far away in such a direction alone would count as known.
With one class d_c and d_0 are the same, and the confidence is 0 for all samples.
"""

import numpy as np

from oltr_cli.detector import Detector, Samples, SavedScores

from ._class_means import Floats, Gaussians, class_moments


class RelativeMahalanobis(Detector):
    """Class means, the covariance within classes and that of all saved features, in float64."""

    source = "Ren et al., 2021"
    reads = ("features",)

    def fit(self, train: SavedScores) -> None:
        """Both Gaussian models of the features (N, D)."""
        train = self.require(train)
        blocks = self.blocks(len(train))
        means, counts, sigma = class_moments(
            lambda rows: train.features[rows], train.labels, blocks, self.setup.num_classes
        )
        self.classes = Gaussians(means[counts > 0], sigma)
        # Σ_0 after W: the covariance within classes, there the identity, and that of their means.
        share = counts[counts > 0] / len(train)
        centre = share @ self.classes.means
        away = self.classes.means - centre
        within = self.classes.whiten.T @ sigma @ self.classes.whiten
        self.all = Gaussians(centre[None], within + (away * share[:, None]).T @ away)

    def confidence(self, block: Samples) -> Floats:
        """Confidence; above 0 where a class fits better than all classes together."""
        if len(self.classes.means) == 1:  # the difference would be rounding, and rank samples by it
            return np.zeros(len(block))
        z = self.classes.whitened(block.features)
        return self.all.nearest(self.all.whitened(z)) - self.classes.nearest(z)

    def report(self) -> dict[str, int]:
        """Number of classes with a mean, and of directions in which features vary within classes."""
        return {"classes": len(self.classes.means), "rank of the covariance": self.classes.rank}
