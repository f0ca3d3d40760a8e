"""Mean vectors of classes, and Gaussian distances to them, for detectors that are fitted to features."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def class_means(
    blocks: Iterable[tuple[NDArray[np.floating], NDArray[np.integer]]], num_classes: int, dim: int
) -> tuple[Floats, NDArray[np.integer]]:
    """Means (K, D), 0 for a class without samples, and numbers of samples (K,).

    Args:
        blocks: vectors (B, D) with their labels (B,).
    """
    sums, counts = torch.zeros(num_classes, dim, dtype=torch.float64), np.zeros(num_classes, np.int64)
    for vectors, labels in blocks:
        # numpy's add.at takes seventy times as long.
        sums.index_add_(0, torch.from_numpy(labels), torch.from_numpy(vectors.astype(np.float64)))
        counts += np.bincount(labels, minlength=num_classes)
    means = sums.numpy()
    means /= np.maximum(counts, 1)[:, None]
    return means, counts


def class_moments(
    vectors: Callable[[slice], NDArray[np.floating]],
    labels: NDArray[np.integer],
    blocks: Iterable[slice],
    num_classes: int,
) -> tuple[Floats, NDArray[np.integer], Floats]:
    """Means (K, D) and numbers (K,) as ``class_means`` has them, and the covariance Σ (D, D) within classes.

    Args:
        vectors: gives those of a slice of the N samples (B, D).
        labels: (N,).
        blocks: slices that divide the samples.
    """
    blocks = list(blocks)
    dim = vectors(slice(1)).shape[1]
    means, counts = class_means(((vectors(rows), labels[rows]) for rows in blocks), num_classes, dim)
    scatter = np.zeros((dim, dim))
    for rows in blocks:
        centred = vectors(rows) - means[labels[rows]]
        scatter += centred.T @ centred
    return means, counts, scatter / len(labels)


def unit(features: NDArray[np.floating]) -> Floats:
    """Features (B, D) scaled to length 1, float64; one of length 0 stays 0."""
    x, tiny = features.astype(np.float64), np.finfo(np.float64).tiny
    # Divided by the largest entry first: the square of a huge one would exceed the range of float64.
    x /= np.maximum(np.abs(x).max(axis=1, keepdims=True), tiny)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), tiny)
    return x


def whitening(sigma: Floats) -> tuple[Floats, int]:
    """W (D, rank) with Σ⁺ = W Wᵀ, and the rank: distances in Σ⁺ are Euclidean distances after W.

    Without any variance W is the identity, and the rank 0.
    """
    variances, directions = np.linalg.eigh(sigma)
    kept = variances > variances.max() * len(sigma) * np.finfo(np.float64).eps
    rank = int(kept.sum())
    return (directions[:, kept] / np.sqrt(variances[kept]) if rank else np.eye(len(sigma))), rank


class Gaussians:
    """Classes as Gaussians with one covariance.

    Args:
        means: (C, D), of classes that have samples.
        sigma: Σ (D, D).
    Attributes:
        whiten: W (D, R) of ``whitening``.
        rank: of Σ.
        means: after W, from the mean of means ``origin`` (D,), (C, R).
    """

    def __init__(self, means: Floats, sigma: Floats) -> None:
        self.whiten, self.rank = whitening(sigma)
        self.origin = means.mean(axis=0)
        self.means = (means - self.origin) @ self.whiten
        self.squared_length = np.square(self.means).sum(axis=1)

    def whitened(self, features: NDArray[np.floating]) -> Floats:
        """Features (B, D) → (B, R)."""
        return (features - self.origin) @ self.whiten

    def nearest(self, z: Floats) -> Floats:
        """Squared distance (B,) of whitened features z (B, R) to the nearest mean."""
        nearest = (self.squared_length - 2 * z @ self.means.T).argmin(axis=1)
        return np.square(z - self.means[nearest]).sum(axis=1)
