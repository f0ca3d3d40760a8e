"""ViM: confidence = energy of the logits minus a virtual logit, the feature's part outside the principal space.

    o = −W⁺ b;  R = the D − d directions of least variance of h − o over the training set
    α = mean over the training set of max_c f_c / mean of ‖Rᵀ(h − o)‖
    confidence = log Σ_c exp f(x)_c − α ‖Rᵀ(h(x) − o)‖

Source: Wang et al., "ViM: Out-Of-Distribution with Virtual-logit Matching", CVPR 2022; Eqs. 3–6 and Algorithm 1, whose
score is the softmax probability of the virtual logit: it falls where this confidence rises, in the same order.
Deviation: W and b are found by least squares from the training set's features and logits, exactly for a linear
classifier and as the nearest linear map for others (a cosine classifier, dme); ``report`` tells how near it is.
W⁺ cuts singular values below 1e-4 of the largest, which saved logits do not resolve. α is taken as a size, without
sign, since logits may all be negative.
"""

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oltr_cli.detector import Detector, MethodParams, SavedScores
from oltr_cli.errors import DataProblem

BLOCK = 4096  # samples at a time
Floats = NDArray[np.float64]


class ViM(Detector):
    """Virtual-logit matching on the saved features (N, D) and logits (N, K)."""

    starts_from = None
    family = "open-set detector"
    source = "Wang et al., CVPR 2022"
    search_space: ClassVar[dict[str, str]] = {"detector.dimension": "16:200:log"}

    class Params(MethodParams):
        """Symbols as in the source."""

        dimension: int | None = Field(
            None, ge=1, description="d of the principal space, below D; unset: 1000 from D = 2048 on, 512 from 768, D/2"
        )

    def fit(self, train: SavedScores) -> None:
        """Origin o (D,), residual space R (D, D − d) and α.

        Raises:
            DataProblem: there are no features or logits, not finite ones, or no training samples.
        """
        p = self.setup.params
        assert isinstance(p, ViM.Params)
        if train.features is None or train.logits is None or not len(train):
            raise DataProblem("vim reads features and logits of training samples, and these scores lack them")
        dim = train.features.shape[1]
        self.dimension = min(p.dimension or principal_dimension(dim), dim - 1)
        mean, covariance = self._linear_map(train.features, train.logits)
        away = mean - self.origin
        # Second moments about o, not about the mean, as the paper has it.
        _, directions = np.linalg.eigh(covariance + np.outer(away, away))
        self.residual_space = directions[:, : dim - self.dimension]  # eigenvalues rise
        residual = self._residual(train.features).mean()
        highest = train.logits.max(axis=1).mean(dtype=np.float64)
        self.alpha = abs(highest) / residual if residual > 0 else 0.0

    def _linear_map(self, features: NDArray[np.floating], logits: NDArray[np.floating]) -> tuple[Floats, Floats]:
        """Set the origin from W and b of the best logits ≈ W h + b; mean (D,) and covariance (D, D) of the features."""
        mean, mean_logit = features.mean(axis=0, dtype=np.float64), logits.mean(axis=0, dtype=np.float64)
        dim, total = len(mean), 0.0
        covariance, cross = np.zeros((dim, dim)), np.zeros((dim, len(mean_logit)))
        for start in range(0, len(features), BLOCK):
            h, f = features[start : start + BLOCK] - mean, logits[start : start + BLOCK] - mean_logit
            covariance += h.T @ h / len(features)
            cross += h.T @ f / len(features)
            total += float(np.square(f).sum()) / len(features)
        if not np.isfinite(covariance).all() or not np.isfinite(cross).all():
            raise DataProblem("vim: the training features or logits hold NaN or infinity")
        weight = np.linalg.pinv(covariance, rcond=dim * np.finfo(np.float64).eps, hermitian=True) @ cross  # (D, K)
        bias = mean_logit - mean @ weight
        self.explained = float((cross * weight).sum() / total) if total > 0 else 1.0
        self.origin = -np.linalg.pinv(weight.T, rcond=1e-4) @ bias
        return mean, covariance

    def _residual(self, features: NDArray[np.floating]) -> Floats:
        """‖Rᵀ(h − o)‖ of features (N, D), (N,)."""
        norms = np.empty(len(features))
        for start in range(0, len(features), BLOCK):
            block = (features[start : start + BLOCK] - self.origin) @ self.residual_space
            norms[start : start + BLOCK] = np.sqrt(np.square(block).sum(axis=1))
        return norms

    def score(self, scores: SavedScores) -> SavedScores:
        """Confidence on the logits' scale; the prediction stays the network's.

        Raises:
            DataProblem: there are no features or logits, or not finite ones.
        """
        if scores.features is None or scores.logits is None:
            raise DataProblem("vim reads features and logits, and these scores lack them")
        energy = np.empty(len(scores))
        for start in range(0, len(scores), BLOCK):
            block = scores.logits[start : start + BLOCK].astype(np.float64)
            highest = block.max(axis=1)
            energy[start : start + BLOCK] = highest + np.log(np.exp(block - highest[:, None]).sum(axis=1))
        confidence = energy - self.alpha * self._residual(scores.features)
        if not np.isfinite(confidence).all():
            raise DataProblem("vim: the features or logits hold NaN or infinity")
        limit = np.finfo(np.float32).max
        return replace(scores, confidence=confidence.clip(-limit, limit).astype(np.float32))

    def report(self) -> dict[str, float]:
        """d, α, and the share of the logits' variance that a linear map of the features explains (1 = all)."""
        return {"dimension": self.dimension, "alpha": float(self.alpha), "linear share": self.explained}


def principal_dimension(dim: int) -> int:
    """The paper's d for features of ``dim`` dimensions."""
    return 1000 if dim >= 2048 else 512 if dim >= 768 else dim // 2
