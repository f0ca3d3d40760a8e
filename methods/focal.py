"""Focal loss: cross-entropy to which well-classified samples contribute little.

    loss = −(1 − p_t)^γ · log p_t,    p_t = softmax(logits)_y, mean over the batch

Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, Eq. 4, γ = 2.
The paper, ImageNet-LT, ResNet-10: many 36.4, medium 29.9, few 16, overall 30.5 (closed), F-measure 0.371.
p_t keeps its gradient: the factor is part of the loss, not a constant weight.
Deviation: the source has a sigmoid for each class and a class weight α_t; here, with one label per image, a softmax and
no α_t, because class-aware batches are already balanced.
"""

from typing import ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.method import LinearMethod, MethodParams, Setup
from oltr_cli.networks.layers import full_precision


def focal_loss(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Scalar focal loss of logits (B, K) and labels (B,)."""
    log_p = -F.cross_entropy(full_precision(logits), labels, reduction="none")
    miss = (1 - log_p.exp()).clamp_min(1e-12)  # never 0, at which a γ below 1 has no finite gradient
    return -(miss**gamma * log_p).mean()


class Focal(LinearMethod):
    """Plain's network with the focal loss."""

    starts_from = "plain"
    trains_from_scratch = True
    mixes = True
    family = "hard example mining"
    source = "Lin et al., ICCV 2017"
    search_space: ClassVar[dict[str, str]] = {"params.gamma": "0.25:4"}

    class Params(MethodParams):
        """Symbol as in the source."""

        gamma: float = Field(
            2.0, ge=0, description="γ, how strongly well-classified samples are down-weighted; 0 is cross-entropy"
        )

    setup: Setup[Params]

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean focal loss over the batch."""
        return {"focal": focal_loss(self.classifier(self.backbone(images)), labels, self.setup.params.gamma)}
