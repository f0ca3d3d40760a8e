"""KNN: confidence = minus the distance to the k-th nearest training feature, on the unit sphere.

    z = h(x) / ‖h(x)‖;  confidence = −‖z − z_(k)‖, z_(k) the k-th nearest of all N training features

Source: Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022; Eqs. 2–3, k = 50 on CIFAR.
Deviation: none known. All training samples count alike, so that a class with fewer than k images has to borrow
neighbours from others: on a long tail a smaller k treats rare classes better.
"""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from oltr_cli.detector import Detector, MethodParams, SavedScores
from oltr_cli.errors import DataProblem

BLOCK = 4096  # samples at a time, fewer where
PAIRS = 2**24  # their similarities to all training samples would take more than 64 MB


class KNN(Detector):
    """Distance to the k-th nearest neighbour; N · D · 2 operations a sample, by matrix products."""

    starts_from = None
    family = "open-set detector"
    source = "Sun et al., ICML 2022"
    search_space: ClassVar[dict[str, str]] = {"detector.k": "1:500:log"}

    class Params(MethodParams):
        """Symbols as in the source."""

        k: int = Field(50, ge=1, description="which neighbour; at most the number of training samples is taken")

    def fit(self, train: SavedScores) -> None:
        """Keep the normalised training features (N, D) float32.

        Raises:
            DataProblem: there are no features, not finite ones, or no training samples.
        """
        p = self.setup.params
        assert isinstance(p, KNN.Params)
        if train.features is None or not len(train):
            raise DataProblem("knn reads the features of training samples, and these scores have none")
        self.train = _normalised(train.features)
        if not np.isfinite(self.train).all():
            raise DataProblem("knn: the training features hold NaN or infinity")
        self.k = min(p.k, len(self.train))

    def score(self, scores: SavedScores) -> SavedScores:
        """Confidence in −2 … 0; the prediction stays the network's.

        Raises:
            DataProblem: there are no features, or not finite ones.
        """
        if scores.features is None:
            raise DataProblem("knn reads the features, and these scores have none")
        confidence = np.empty(len(scores), np.float32)
        block = min(BLOCK, max(1, PAIRS // len(self.train)))
        for start in range(0, len(scores), block):
            z = _normalised(scores.features[start : start + block])
            # torch's topk is three times as fast as numpy's argpartition.
            kth = torch.from_numpy(z @ self.train.T).topk(self.k, dim=1).indices[:, -1].numpy()
            # √(2 − 2 z·t) has lost its digits where t is near: the winner's distance is taken from the difference.
            difference = z.astype(np.float64) - self.train[kth]
            confidence[start : start + block] = -np.sqrt(np.square(difference).sum(axis=1))
        if not np.isfinite(confidence).all():
            raise DataProblem("knn: the features hold NaN or infinity")
        return replace(scores, confidence=confidence)

    def report(self) -> dict[str, int]:
        """The k in use, and how many training features there are."""
        return {"k": self.k, "training features": len(self.train)}


def _normalised(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Features (N, D) at length 1, float32; one of length 0 stays."""
    x = features.astype(np.float32)
    # Divided by the largest entry first: the square of a huge or tiny one would leave float32.
    x /= np.maximum(np.abs(x).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return x
