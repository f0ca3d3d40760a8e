"""Numbers of training images: weights of classes by them, cross-entropy with these weights, and the log prior.

Source of the weights: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.networks.layers import full_precision


def class_balanced_weights(class_counts: Sequence[int], beta: float = 0.9999) -> Tensor:
    """w (K,) ∝ (1 − β) / (1 − β^{n_c}) with mean 1; β = 0 weights all classes equally; counts ≥ 1."""
    counts = torch.tensor(class_counts, dtype=torch.float64)
    # 1 − β^n by expm1, which is precise for a β just below 1.
    weights = -1 / torch.expm1(counts * torch.tensor(beta, dtype=torch.float64).log())
    return (weights / weights.mean()).to(torch.get_default_dtype())


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Σ_n w_{y_n} · CE_n / B of logits (B, K), labels (B,) and weights (K,).

    Divided by the batch size B, not by the sum of its weights: the gradient of a batch is then on average that of the
    weighted risk, and a batch of common classes counts as little as its weights say.
    """
    return F.cross_entropy(full_precision(logits), labels, weights, reduction="sum") / len(labels)


def log_prior(class_counts: Sequence[int]) -> Tensor:
    """log π_c = log(N_c / N), (K,) float64."""
    counts = torch.tensor(class_counts, dtype=torch.float64)
    return (counts / counts.sum()).log()
