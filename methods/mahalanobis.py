"""Mahalanobis: confidence = minus the squared distance to the nearest class mean, with one covariance for all classes.

    μ_c = mean of the class;  Σ = 1/N Σ_c Σ_{n: y_n=c} (h_n − μ_c)(h_n − μ_c)ᵀ
    confidence = −min_c (h(x) − μ_c)ᵀ Σ⁻¹ (h(x) − μ_c)

Source: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks",
NeurIPS 2018; Eqs. 1–2, only on the last feature.
Deviation: no ensemble of layers and no perturbation of the image (both need the network and tuning on open samples).
Σ⁻¹ is the pseudo-inverse, as in the authors' code: directions in which no class varies are ignored.
"""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from oltr_cli.detector import Detector, DetectorSetup, MethodParams, Samples, SavedScores


class Mahalanobis(Detector):
    """Class means and one covariance of the saved features, in float64."""

    source = "Lee et al., NeurIPS 2018"
    search_space: ClassVar[dict[str, str]] = {"detector.shrinkage": "0:0.9"}
    reads = ("features",)

    class Params(MethodParams):
        """Shrinkage of the covariance."""

        shrinkage: float = Field(0.0, ge=0, le=1, description="s in Σ ← (1 − s) Σ + s · tr(Σ)/D · I; 0 is the paper's")

    setup: DetectorSetup[Params]

    def fit(self, train: SavedScores) -> None:
        """Means of the classes that have samples, and the shared covariance of the features (N, D)."""
        train = self.require(train)
        dim = train.features.shape[1]
        counts = np.bincount(train.labels, minlength=self.setup.num_classes)
        sums, scatter = torch.zeros(len(counts), dim, dtype=torch.float64), np.zeros((dim, dim))
        for rows in self.blocks(len(train)):
            # numpy's add.at takes seventy times as long.
            features = torch.from_numpy(train.features[rows].astype(np.float64))
            sums.index_add_(0, torch.from_numpy(train.labels[rows]), features)
        means = sums.numpy() / np.maximum(counts, 1)[:, None]
        for rows in self.blocks(len(train)):
            centred = train.features[rows] - means[train.labels[rows]]
            scatter += centred.T @ centred
        sigma, s = scatter / len(train), self.setup.params.shrinkage
        sigma = (1 - s) * sigma + s * np.trace(sigma) / dim * np.eye(dim)
        # Σ⁻¹ = W Wᵀ with W (D, rank): distances in Σ⁻¹ are Euclidean distances after W.
        variances, directions = np.linalg.eigh(sigma)
        kept = variances > variances.max() * dim * np.finfo(np.float64).eps
        self.rank = int(kept.sum())
        # With one image per class there is no variance: use the Euclidean distance.
        self.whiten = directions[:, kept] / np.sqrt(variances[kept]) if self.rank else np.eye(dim)
        self.origin = means[counts > 0].mean(axis=0)
        self.means = (means[counts > 0] - self.origin) @ self.whiten
        self.squared_length = np.square(self.means).sum(axis=1)

    def confidence(self, block: Samples) -> NDArray[np.floating]:
        """Confidence, at most 0."""
        z = (block.features - self.origin) @ self.whiten
        nearest = (self.squared_length - 2 * z @ self.means.T).argmin(axis=1)
        return -np.square(z - self.means[nearest]).sum(axis=1)

    def report(self) -> dict[str, int]:
        """Number of classes with a mean, and of directions in which features vary within classes."""
        return {"classes": len(self.means), "rank of the covariance": self.rank}
