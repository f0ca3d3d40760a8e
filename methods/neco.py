"""NECO: confidence = the share of the standardised feature that lies in the principal space of the training features.

    x = (h − μ) / σ, by dimension;  P = the d directions of largest variance of x over the training set
    confidence = ‖Pᵀ x‖ / ‖x‖

Source: Ben Ammar et al., "NECO: NEural Collapse Based Out-of-distribution detection", ICLR 2024; Eq. 6, in the form of
the authors' code for ResNets.
Deviation: the authors set d by hand for each network. Here it is by default the smallest d that holds 90 % of the
variance, and below D. They multiply by the largest logit for other networks than ResNets, which is not done here. A
dimension that is constant is not divided, and x = 0 has confidence 0.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from oltr_cli.detector import Detector, DetectorSetup, MethodParams, Samples, SavedScores

from ._logits import Floats


class NECO(Detector):
    """Mean, scale and principal space of the saved features (N, D), in float64."""

    source = "Ben Ammar et al., ICLR 2024"
    search_space: ClassVar[dict[str, str]] = {"detector.dimension": "8:200:log"}
    reads = ("features",)

    class Params(MethodParams):
        """Symbols as in the source."""

        dimension: int | None = Field(
            None, ge=1, description="d of the principal space, below D; unset: holds 90 % of the variance"
        )

    setup: DetectorSetup[Params]

    def fit(self, train: SavedScores) -> None:
        """μ, σ (D,) and P (D, d)."""
        train = self.require(train)
        dim = train.features.shape[1]
        self.mean = train.features.mean(axis=0, dtype=np.float64)
        covariance = np.zeros((dim, dim))
        for rows in self.blocks(len(train)):
            centred = train.features[rows] - self.mean
            covariance += centred.T @ centred / len(train)
        scale = np.sqrt(covariance.diagonal())
        self.scale = np.where(scale > 1e-12 * np.abs(self.mean), scale, 1.0)
        variances, directions = np.linalg.eigh(covariance / np.outer(self.scale, self.scale))
        variances, directions = variances[::-1].clip(0), directions[:, ::-1]
        self.held = np.cumsum(variances) / max(variances.sum(), np.finfo(np.float64).tiny)
        wanted = self.setup.params.dimension or int(np.searchsorted(self.held, 0.9)) + 1
        self.dimension = max(1, min(wanted, dim - 1))
        self.principal = directions[:, : self.dimension]

    def confidence(self, block: Samples) -> Floats:
        """Confidence in 0 … 1."""
        x = (block.features - self.mean) / self.scale
        length = np.maximum(np.linalg.norm(x, axis=1), np.finfo(np.float64).tiny)
        return np.linalg.norm(x @ self.principal, axis=1) / length

    def report(self) -> dict[str, float]:
        """d, and the share of the training features' variance that it holds."""
        return {"dimension": self.dimension, "share of the variance": float(self.held[self.dimension - 1])}
