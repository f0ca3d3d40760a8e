"""Many small classifiers at once, for methods that learn how a few-shot classifier becomes a many-shot one.

The classifier θ of class c is a ridge regression on z = (whitened feature, 1): targets +1 on its k images P and −1 on
the images N_c of all other classes, each class with the same weight, and each side with half of the total:

    θ = argmin ½ mean_P (θᵀz − 1)² + ½ mean_N (θᵀz + 1)² + λ ‖θ‖²
      ⇔ (A_c + ½ mean_P zzᵀ) θ = ½ (mean_P z − mean_N z),  A_c = ½ mean_N zzᵀ + λI

A convex problem with a closed solution needs no steps and no stopping rule, so two classifiers differ only by their
images. k images change A_c by rank k, so all sampled classifiers of a class share one Cholesky factor (Woodbury's
identity); classes are processed in batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

_BLOCK = 2**23  # elements in the largest tensor of a batch of classes: 32 MB


@dataclass(frozen=True)
class Whitening:
    """z = ((x − mean) · matrix, 1): features with covariance near I, and a one for the bias.

    Distances between classifiers are then meaningful: ‖θ − θ'‖² is the mean squared difference of their scores.

    Attributes:
        mean: (D,), of the class means.
        matrix: (D, D), symmetric.
    """

    mean: Tensor
    matrix: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Features (N, D) → z (N, D + 1)."""
        return F.pad((features - self.mean) @ self.matrix, (0, 1), value=1.0)

    def on_features(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """θ (K, D + 1) on z → weight (K, D) and bias (K,) on features, with the same scores."""
        weight = theta[:, :-1] @ self.matrix
        return weight, theta[:, -1] - weight @ self.mean


def whitening(features: Tensor, labels: Tensor, shrinkage: float) -> Whitening:
    """(Σ + shrinkage · tr(Σ)/D · I)^(−½) of features (N, D), all classes of labels (N,) with the same weight in Σ."""
    counts = torch.bincount(labels)
    mass = (counts[labels] * (counts > 0).sum()).to(features.dtype).reciprocal().unsqueeze(1)  # (N, 1), sums to 1
    mean = (mass * features).sum(0)
    centred = (features - mean) * mass.sqrt()
    values, vectors = torch.linalg.eigh((centred.T @ centred).cpu().double())  # not every device has float64
    values = values.clamp_min(0)
    inverse_root = (values + shrinkage * values.mean()).clamp_min(1e-12).rsqrt()
    return Whitening(mean, ((vectors * inverse_root) @ vectors.T).to(features))


class SmallClassifiers:
    """One-vs-all ridge classifiers of the classes of z (N, D + 1) with labels (N,) in 0 … num_classes − 1.

    Args:
        ridge: λ > 0.
    Attributes:
        counts: (num_classes,), images of each class.
    """

    def __init__(self, z: Tensor, labels: Tensor, num_classes: int, ridge: float) -> None:
        self.z, self.ridge = z, ridge
        self.counts = torch.bincount(labels, minlength=num_classes)
        self._order = labels.argsort(stable=True)
        self._first = self.counts.cumsum(0) - self.counts
        self._present = int((self.counts > 0).sum())
        weighted = z / self.counts[labels].unsqueeze(1)
        self._moment, self._mean = weighted.T @ z, weighted.sum(0)  # Σ_c mean_c zzᵀ and Σ_c mean_c z

    def on_all_images(self, classes: Tensor) -> Tensor:
        """θ (C, D + 1) of ``classes`` (C,), each trained on all of its images."""
        parts = []
        order = self.counts[classes].argsort(stable=True)  # classes of similar size together: less padding
        for chunk in self._chunks(classes[order], 0):
            images, _ = self._images(chunk)
            moment, mean = self._statistics(chunk, images)
            a, mean_rest = self._rest(moment, mean)
            factor = torch.linalg.cholesky(a + moment / 2)
            parts.append(torch.cholesky_solve((mean - mean_rest).unsqueeze(2) / 2, factor).squeeze(2))
        return torch.cat(parts)[order.argsort()] if parts else self.z.new_zeros(0, self.z.shape[1])

    def sampled(self, classes: Tensor, shots: Sequence[int], repeats: Sequence[int], draw: Generator) -> list[Tensor]:
        """For each of ``shots`` k, θ (C, R, D + 1): each class's classifiers from R draws of k of its images.

        A draw never repeats an image: for a class with fewer than k images it is all of them.

        Args:
            classes: (C,), each with at least one image.
            repeats: R for each of ``shots``.
            draw: a generator on the CPU.
        """
        parts: list[list[Tensor]] = [[] for _ in shots]
        for chunk in self._chunks(classes, sum(k * r for k, r in zip(shots, repeats, strict=True))):
            images, there = self._images(chunk)
            a, mean_rest = self._rest(*self._statistics(chunk, images))
            factor = torch.linalg.cholesky(a)
            rest = torch.cholesky_solve(mean_rest.unsqueeze(2), factor).transpose(1, 2)  # (C, 1, D + 1)
            for part, k, repeat in zip(parts, shots, repeats, strict=True):
                order = torch.rand(len(chunk), repeat, images.shape[1], generator=draw).to(there.device)
                chosen = order.masked_fill(~there.unsqueeze(1), -1).topk(min(k, images.shape[1]), dim=2).indices
                part.append(self._few_shot(images, there, chosen, factor, rest))
        return [torch.cat(part) for part in parts]

    def _few_shot(self, images: Tensor, there: Tensor, chosen: Tensor, factor: Tensor, rest: Tensor) -> Tensor:
        """θ (C, R, D + 1) of images ``chosen`` (C, R, k) of ``images`` (C, n, D + 1), from A_c's Cholesky factor."""
        c, r, k = chosen.shape
        row = torch.arange(c, device=chosen.device)[:, None, None]
        mass = there[row, chosen].to(images.dtype)  # 0 if a class has no more images
        mass = mass / mass.sum(2, keepdim=True).clamp_min(1)  # (C, R, k)
        p = images[row, chosen] * (mass / 2).sqrt().unsqueeze(3)  # pᵀp = ½ mean_P zzᵀ
        v = torch.cholesky_solve(p.view(c, r * k, -1).transpose(1, 2), factor).transpose(1, 2).view(p.shape)  # p A⁻¹
        u = ((2 * mass).sqrt().unsqueeze(3) * v).sum(2)  # A⁻¹ mean_P z
        u = (u - rest) / 2
        inner = torch.eye(k, dtype=p.dtype, device=p.device) + v @ p.transpose(2, 3)
        correction = torch.linalg.solve(inner, p @ u.unsqueeze(3))  # (C, R, k, 1)
        return u - (v * correction).sum(2)

    def _chunks(self, classes: Tensor, columns: int) -> Iterator[Tensor]:
        """``classes`` in batches whose tensors fit into ``_BLOCK`` numbers; ``columns`` vectors are solved for each."""
        size = self.z.shape[1]
        longest = int(self.counts[classes].max()) if len(classes) else 0
        yield from classes.split(max(1, _BLOCK // (size * max(size, longest, columns)))) if len(classes) else ()

    def _images(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """z of the classes' images (C, n, D + 1), 0 after a class's last image, and a mask of the images (C, n)."""
        counts = self.counts[classes].unsqueeze(1)
        position = torch.arange(max(1, int(counts.max())), device=classes.device)
        there = position < counts
        rows = self._order[(self._first[classes].unsqueeze(1) + position).clamp_max(len(self.z) - 1)]
        return self.z[rows] * there.unsqueeze(2), there

    def _statistics(self, classes: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """mean_c zzᵀ (C, D + 1, D + 1) and mean_c z (C, D + 1); 0 for a class without images."""
        counts = self.counts[classes].clamp_min(1)[:, None]
        return images.transpose(1, 2) @ images / counts.unsqueeze(2), images.sum(1) / counts

    def _rest(self, moment: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """A_c and mean_N z of the classes with the given statistics."""
        others = max(1, self._present - 1)
        eye = torch.eye(moment.shape[1], dtype=moment.dtype, device=moment.device)
        return (self._moment - moment) / (2 * others) + self.ridge * eye, (self._mean - mean) / others
