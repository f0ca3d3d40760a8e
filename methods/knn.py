"""KNN: confidence = minus the distance to the k-th nearest training feature, on the unit sphere.

    z = h(x) / ‖h(x)‖;  confidence = −‖z − z_(k)‖, z_(k) the k-th nearest of all N training features

Source: Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022; Eqs. 2–3, k = 50 on CIFAR.
Deviation: none known. All training samples count equally, so for a class with fewer than k images the k-th neighbour is
of another class: on a long tail a smaller k treats rare classes better.
"""

import math
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from oltr_cli.detector import Detector, DetectorSetup, MethodParams, Samples, SavedScores

PAIRS = 2**24  # number of similarities of a block to all training samples, 64 MB


class KNN(Detector):
    """Distance to the k-th nearest neighbour; N · D · 2 operations per sample, in matrix products."""

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
        # Written again for each block, since fresh memory takes longer than what is done with it. Columns beyond the
        # training samples fill the last rows of ``_kth`` and are never among the nearest.
        rows = max(1, math.isqrt(len(self.train) // self.k))
        columns = math.ceil(len(self.train) / rows)
        self.similarity = np.full((self.block, rows, columns), -np.inf, np.float32)

    def confidence(self, block: Samples) -> NDArray[np.floating]:
        """Confidence in −2 … 0."""
        z = _normalised(block.features)
        kth = self._kth(z)
        # √(2 − 2 z·t) is imprecise if t is near: the distance is computed from the difference.
        difference = z.astype(np.float64) - self.train[kth]
        return -np.sqrt(np.square(difference).sum(axis=1))

    def _kth(self, z: NDArray[np.float32]) -> NDArray[np.integer]:
        """Index (B,) of the k-th most similar training sample of each z (B, D), of B ≤ ``block``.

        The similarities of a sample stand in a table whose columns are longer than one. The k largest of all are in the
        k columns with the largest maxima: one outside of these has k larger ones above it. So only these are sorted.
        """
        similarity = self.similarity[: len(z)]
        samples, rows, columns = similarity.shape
        flat = similarity.reshape(samples, rows * columns)
        np.matmul(z, self.train.T, out=flat[:, : len(self.train)])
        best = torch.from_numpy(similarity.max(axis=1)).topk(self.k, dim=1, sorted=False).indices.numpy()
        inside = np.arange(rows)[None, :, None] * columns + best[:, None, :]  # (B, rows, k): indices of samples
        inside = inside.reshape(samples, rows * self.k)
        candidates = torch.from_numpy(np.take_along_axis(flat, inside, axis=1))
        last = candidates.topk(self.k, dim=1).indices[:, -1:].numpy()
        return np.take_along_axis(inside, last, axis=1)[:, 0]

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
