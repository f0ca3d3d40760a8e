"""Mahalanobis: confidence = minus the squared distance to the nearest class mean, in a covariance all classes share.

    μ_c = mean of the class;  Σ = 1/N Σ_c Σ_{n: y_n=c} (h_n − μ_c)(h_n − μ_c)ᵀ
    confidence = −min_c (h(x) − μ_c)ᵀ Σ⁻¹ (h(x) − μ_c)

Source: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks",
NeurIPS 2018; Eqs. 1–2, on the last feature alone.
Deviation: no ensemble of layers and no perturbation of the image (both need the network and tuning on open samples).
Σ⁻¹ is the pseudo-inverse, as in the authors' code: directions in which no class varies do not count.
"""

from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from oltr_cli.detector import Detector, MethodParams, SavedScores
from oltr_cli.errors import DataProblem

BLOCK = 4096  # samples at a time


class Mahalanobis(Detector):
    """Class means and one covariance of the saved features, in float64."""

    starts_from = None
    family = "open-set detector"
    source = "Lee et al., NeurIPS 2018"
    search_space: ClassVar[dict[str, str]] = {"detector.shrinkage": "0:0.9"}

    class Params(MethodParams):
        """Of the covariance."""

        shrinkage: float = Field(0.0, ge=0, le=1, description="s in Σ ← (1 − s) Σ + s · tr(Σ)/D · I; 0 is the paper's")

    def fit(self, train: SavedScores) -> None:
        """Means of the classes that have samples, and the shared covariance of the features (N, D).

        Raises:
            DataProblem: there are no features, not finite ones, or no training samples.
        """
        p = self.setup.params
        assert isinstance(p, Mahalanobis.Params)
        if train.features is None or not len(train):
            raise DataProblem("mahalanobis reads the features of training samples, and these scores have none")
        dim = train.features.shape[1]
        counts = np.bincount(train.labels, minlength=self.setup.num_classes)
        sums, scatter = np.zeros((len(counts), dim)), np.zeros((dim, dim))
        for start in range(0, len(train), BLOCK):
            np.add.at(sums, train.labels[start : start + BLOCK], train.features[start : start + BLOCK])
        means = sums / np.maximum(counts, 1)[:, None]
        for start in range(0, len(train), BLOCK):
            centred = train.features[start : start + BLOCK] - means[train.labels[start : start + BLOCK]]
            scatter += centred.T @ centred
        sigma = scatter / len(train)
        if not np.isfinite(sigma).all():
            raise DataProblem("mahalanobis: the training features hold NaN or infinity")
        sigma = (1 - p.shrinkage) * sigma + p.shrinkage * np.trace(sigma) / dim * np.eye(dim)
        # Σ⁻¹ = W Wᵀ with W (D, rank): distances in Σ⁻¹ are Euclidean ones after W.
        variances, directions = np.linalg.eigh(sigma)
        kept = variances > variances.max() * dim * np.finfo(np.float64).eps
        self.rank = int(kept.sum())
        # One image a class leaves no variance at all: Euclidean distance is what remains.
        self.whiten = directions[:, kept] / np.sqrt(variances[kept]) if self.rank else np.eye(dim)
        self.origin = means[counts > 0].mean(axis=0)
        self.means = (means[counts > 0] - self.origin) @ self.whiten

    def score(self, scores: SavedScores) -> SavedScores:
        """Confidence ≤ 0; the prediction stays the network's.

        Raises:
            DataProblem: there are no features, or not finite ones.
        """
        if scores.features is None:
            raise DataProblem("mahalanobis reads the features, and these scores have none")
        confidence = np.empty(len(scores), np.float32)
        squared_length = np.square(self.means).sum(axis=1)
        for start in range(0, len(scores), BLOCK):
            z = (scores.features[start : start + BLOCK] - self.origin) @ self.whiten
            nearest = (squared_length - 2 * z @ self.means.T).argmin(axis=1)
            distance = np.square(z - self.means[nearest]).sum(axis=1)
            if not np.isfinite(distance).all():
                raise DataProblem("mahalanobis: the features hold NaN or infinity")
            confidence[start : start + BLOCK] = -np.minimum(distance, np.finfo(np.float32).max)
        return replace(scores, confidence=confidence)

    def report(self) -> dict[str, int]:
        """Classes that have a mean, and the number of directions in which features vary within classes."""
        return {"classes": len(self.means), "rank of the covariance": self.rank}
