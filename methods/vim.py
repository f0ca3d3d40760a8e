"""ViM: confidence = energy of the logits minus a virtual logit, the feature's part outside the principal space.

    o = −W⁺ b;  R = the D − d directions of least variance of h − o over the training set
    α = mean over the training set of max_c f_c / mean of ‖Rᵀ(h − o)‖
    confidence = log Σ_c exp f(x)_c − α ‖Rᵀ(h(x) − o)‖

Source: Wang et al., "ViM: Out-Of-Distribution with Virtual-logit Matching", CVPR 2022; Eqs. 3–6 and Algorithm 1, whose
score is the softmax probability of the virtual logit: it falls where this confidence rises, in the same order.
Deviation: W and b are found by least squares from the training set's features and logits, exactly for a linear
classifier and as the nearest linear map for others (a cosine classifier, dme); ``report`` gives the quality of the fit.
W⁺ drops singular values below 1e-4 of the largest, which saved logits do not resolve. α is an absolute value, since
logits may all be negative.
"""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oltr_cli.detector import Detector, DetectorSetup, MethodParams, Samples, SavedScores
from oltr_cli.errors import UsageProblem

from ._logits import Floats, energy

NOTHING = 1e-6  # a part of a feature relative to its length, which float32 does not tell from 0


class ViM(Detector):
    """Virtual-logit matching on the saved features (N, D) and logits (N, K)."""

    source = "Wang et al., CVPR 2022"
    search_space: ClassVar[dict[str, str]] = {"detector.dimension": "16:200:log"}
    reads = ("features", "logits")

    class Params(MethodParams):
        """Symbols as in the source."""

        dimension: int | None = Field(
            None,
            ge=1,
            description="d of the principal space, below D; unset: 1000 if D ≥ 2048, 512 if D ≥ 768, else D/2",
        )

    setup: DetectorSetup[Params]

    def fit(self, train: SavedScores) -> None:
        """Origin o (D,), residual space R (D, D − d) and α.

        Raises:
            UsageProblem: the training features have no part in R, so that α would be infinite: fewer samples than
                dimensions, or dimensions that are always 0.
        """
        train = self.require(train)
        dim = train.features.shape[1]
        self.dimension = min(self.setup.params.dimension or principal_dimension(dim), dim - 1)
        mean, covariance = self._linear_map(train.features, train.logits)
        away = mean - self.origin
        # Second moments about o, not about the mean, as the paper has it.
        moments, directions = np.linalg.eigh(covariance + np.outer(away, away))
        self.residual_space = directions[:, : dim - self.dimension]  # eigenvalues rise
        residual = np.concatenate([self._residual(train.features[rows]) for rows in self.blocks(len(train))]).mean()
        highest = train.logits.max(axis=1).mean(dtype=np.float64)
        if residual <= NOTHING * np.sqrt(np.trace(covariance) + away @ away):
            rank = int((moments > NOTHING**2 * moments.max()).sum())
            remedy = f"set detector.dimension below {rank}, or use" if rank > 1 else "use"
            raise UsageProblem(
                f"vim: the features of {len(train)} training samples span {rank} of {dim} dimensions, so none "
                f"has a part outside the principal space of {self.dimension}; {remedy} another detector"
            )
        self.alpha = abs(highest) / residual

    def _linear_map(self, features: NDArray[np.floating], logits: NDArray[np.floating]) -> tuple[Floats, Floats]:
        """Set the origin from W and b of the best logits ≈ W h + b; mean (D,) and covariance (D, D) of the features."""
        mean, mean_logit = features.mean(axis=0, dtype=np.float64), logits.mean(axis=0, dtype=np.float64)
        dim, total = len(mean), 0.0
        covariance, cross = np.zeros((dim, dim)), np.zeros((dim, len(mean_logit)))
        for rows in self.blocks(len(features)):
            h, f = features[rows] - mean, logits[rows] - mean_logit
            covariance += h.T @ h / len(features)
            cross += h.T @ f / len(features)
            total += float(np.square(f).sum()) / len(features)
        weight = np.linalg.pinv(covariance, rcond=dim * np.finfo(np.float64).eps, hermitian=True) @ cross  # (D, K)
        bias = mean_logit - mean @ weight
        self.explained = float((cross * weight).sum() / total) if total > 0 else 1.0
        self.origin = -np.linalg.pinv(weight.T, rcond=1e-4) @ bias
        return mean, covariance

    def _residual(self, features: NDArray[np.floating]) -> Floats:
        """‖Rᵀ(h − o)‖ of features (N, D), (N,)."""
        return np.sqrt(np.square((features - self.origin) @ self.residual_space).sum(axis=1))

    def confidence(self, block: Samples) -> Floats:
        """Confidence on the logits' scale."""
        return energy(block.logits) - self.alpha * self._residual(block.features)

    def report(self) -> dict[str, float]:
        """d, α, and the fraction of the logits' variance that a linear map of the features explains (1 = all)."""
        return {"dimension": self.dimension, "alpha": float(self.alpha), "linear share": self.explained}


def principal_dimension(dim: int) -> int:
    """The paper's d for features of ``dim`` dimensions."""
    return 1000 if dim >= 2048 else 512 if dim >= 768 else dim // 2
