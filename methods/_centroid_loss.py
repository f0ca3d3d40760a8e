"""The large-margin loss of dme, which draws features to the centroids of their classes and away from all others.

Source: Liu et al., "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019; Sec. 3.3.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from oltr_cli.networks.layers import full_precision

CentroidStep = Literal["normalised", "autograd"]


class CentroidLoss(nn.Module):
    """Large-margin loss L_LM between features v (B, D) and centroids c (K, D) (Sec. 3.3).

    attract = Σ_n ‖v_n − c_{y_n}‖² / 2B; repel = max(0, 10 − mean over all B·K pairs of the squared distance, the own
    class counted as 0); L_LM = attract + 0.01 · repel. ``step`` says how attract moves a centroid: by the normalised
    step Σ_{n: y_n=j} (c_j − v_n) / (1 + n_j) / B whatever weight the loss is given (the code), or by autograd.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        margin: float = 10.0,
        repel_weight: float = 0.01,
        step: CentroidStep = "normalised",
    ) -> None:
        super().__init__()
        self.margin, self.repel_weight, self.step = margin, repel_weight, step
        self.centroids = nn.Parameter(torch.randn(num_classes, feature_dim))

    def forward(self, direct: Tensor, labels: Tensor) -> Tensor:
        """Scalar L_LM of direct (B, D) and labels (B,)."""
        with torch.autocast(direct.device.type, enabled=False):
            v, c = full_precision(direct), self.centroids
            squared = (v - c[labels]).square().sum(1)
            if self.step == "normalised":
                attract = _NormalisedAttraction.apply(v, c, labels)
            else:
                attract = squared.sum() / (2 * len(v))
            # Σ_n Σ_k ‖v_n − c_k‖² from sums, taken about the features' mean so that a common offset costs no digits:
            # no (B, K) matrix is needed.
            middle = v.detach().mean(0)
            v0, c0 = v - middle, c - middle
            pairs = len(c) * v0.square().sum() + len(v) * c0.square().sum() - 2 * v0.sum(0) @ c0.sum(0)
            mean = (pairs - squared.sum()) / (len(v) * len(c))
            return attract + self.repel_weight * (self.margin - mean).clamp_min(0)


class _NormalisedAttraction(torch.autograd.Function):
    """Σ_n ‖v_n − c_{y_n}‖² / 2B with the usual gradient for v and the normalised step for c (Wen et al. 2016)."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, c: Tensor, labels: Tensor) -> Tensor:
        difference = v - c[labels]
        ctx.save_for_backward(difference, labels)
        ctx.num_classes = len(c)
        return difference.square().sum() / (2 * len(v))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        difference, labels = ctx.saved_tensors
        batch = len(labels)
        # torch.bincount would make the host wait for a GPU.
        counts = difference.new_zeros(ctx.num_classes).index_add_(0, labels, difference.new_ones(batch))
        pull = difference / (1 + counts[labels]).unsqueeze(1) / batch
        step = torch.zeros(ctx.num_classes, difference.shape[1], dtype=difference.dtype, device=difference.device)
        return grads[0] * difference / batch, step.index_add_(0, labels, -pull), None
