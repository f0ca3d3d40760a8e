"""KNN: confidence = minus the distance to the k-th nearest training feature, on the unit sphere.

    z = h(x) / ‖h(x)‖;  confidence = −‖z − z_(k)‖, z_(k) the k-th nearest of all N training features

Source: Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022; Eqs. 2–3, k = 50 on CIFAR.
Deviation: none known. All training samples count equally, so for a class with fewer than k images the k-th neighbour is
of another class: on a long tail a smaller k treats rare classes better.
"""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from oltr_cli.detector import Detector, DetectorSetup, MethodParams, Samples, SavedScores

PAIRS = 2**24  # number of similarities of a block to all training samples, 64 MB


class KNN(Detector):
    """Distance to the k-th nearest neighbour; N · D · 2 operations per sample, by matrix products."""

    source = "Sun et al., ICML 2022"
    search_space: ClassVar[dict[str, str]] = {"detector.k": "1:500:log"}
    reads = ("features",)

    class Params(MethodParams):
        """Symbols as in the source."""

        k: int = Field(50, ge=1, description="k, which neighbour counts; at most the number of training samples")

    setup: DetectorSetup[Params]

    def fit(self, train: SavedScores) -> None:
        """Keep the normalised training features (N, D) float32."""
        train = self.require(train)
        self.train = _normalised(train.features)
        self.k = min(self.setup.params.k, len(self.train))
        self.block = min(type(self).block, max(1, PAIRS // len(self.train)))

    def confidence(self, block: Samples) -> NDArray[np.floating]:
        """Confidence in −2 … 0."""
        z = _normalised(block.features)
        # torch's topk is three times as fast as numpy's argpartition.
        kth = torch.from_numpy(z @ self.train.T).topk(self.k, dim=1).indices[:, -1].numpy()
        # √(2 − 2 z·t) is imprecise if t is near: the distance is computed from the difference.
        difference = z.astype(np.float64) - self.train[kth]
        return -np.sqrt(np.square(difference).sum(axis=1))

    def report(self) -> dict[str, int]:
        """The k in use, and the number of training features."""
        return {"k": self.k, "training features": len(self.train)}


def _normalised(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Features (N, D) scaled to length 1, float32; one of length 0 stays 0."""
    x = features.astype(np.float32)
    # Divided by the largest entry first: the square of a huge or tiny one would exceed the range of float32.
    x /= np.maximum(np.abs(x).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return x
