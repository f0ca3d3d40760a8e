"""Lifted structured loss added to cross-entropy: each positive pair against all negatives of both its samples.

    J_ij = log(Σ_{k: y_k≠y_i} e^{m − D_ik} + Σ_{l: y_l≠y_j} e^{m − D_jl}) + D_ij    for each pair i < j, y_i = y_j
    L_lifted = Σ max(0, J_ij)² / 2|P|,    D_ij = ‖v_i − v_j‖₂,    loss = cross-entropy + weight · L_lifted

Source: Oh Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding", CVPR 2016.
The paper, ImageNet-LT, ResNet-10: many 35.8, medium 30.4, few 17.9, overall 30.8 (closed), F-measure 0.374.
The paper's authors use m = 5 on features that are not normalised.
Deviation: neither paper gives the weight relative to cross-entropy. With 0.01 the gradient is about a tenth of
cross-entropy's in batches of a trained plain model (tiny-imagenet-lt); choose it on validation.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.method import LinearMethod, MethodParams, Setup
from oltr_cli.networks.layers import full_precision


def lifted_loss(features: Tensor, labels: Tensor, margin: float = 5.0) -> Tensor:
    """Scalar L_lifted of features (B, D) and labels (B,), in (B, B) memory.

    A batch without a positive or without a negative pair gives 0, with gradient 0.
    """
    with torch.autocast(features.device.type, enabled=False):
        v = full_precision(features)
        # cdist goes by a matrix product, 50 times as fast as by differences; about the mean, a common offset costs it
        # no digits. Coinciding features, such as one image drawn twice, get a gradient of 0 or at most of rounding.
        v = v - v.detach().mean(0)
        distance = torch.cdist(v, v)
        same = labels[:, None] == labels[None, :]
        # Finite, unlike −∞, so that in a batch of one class J is merely far below 0 and no gradient on the way is NaN.
        none = torch.finfo(distance.dtype).min / 4
        negatives = (margin - distance).masked_fill(same, none).logsumexp(dim=1)
        j = torch.logaddexp(negatives[:, None], negatives[None, :]) + distance
        pairs = same.triu(diagonal=1)
        return torch.where(pairs, j.clamp_min(0), 0).square().sum() / (2 * pairs.sum().clamp_min(1))


class Lifted(LinearMethod):
    """Plain's network, with the lifted structured loss on its pooled feature v (B, D)."""

    starts_from = "plain"
    family = "metric learning"
    source = "Oh Song et al., CVPR 2016"
    search_space: ClassVar[dict[str, str]] = {"params.weight": "0.001:0.3:log"}

    class Params(MethodParams):
        """Weight and margin of the loss."""

        weight: float = Field(0.01, ge=0, description="weight of the lifted loss relative to cross-entropy")
        margin: float = Field(5.0, ge=0, description="m, margin of the lifted loss, a distance of features")

    setup: Setup[Params]

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, and weight · L_lifted."""
        p, v = self.setup.params, self.backbone(images)
        return {
            "cross_entropy": F.cross_entropy(full_precision(self.classifier(v)), labels),
            "lifted": p.weight * lifted_loss(v, labels, p.margin),
        }
