"""Cost-sensitive learning: cross-entropy in which errors on rare classes cost more.

    w_c ∝ (N_min / N_c)^γ with mean 1 over the classes,    loss = Σ_n w_{y_n} · CE_n / B

Source: Huang et al., "Learning Deep Representation for Imbalanced Classification", CVPR 2016, as the row
"Cost-Sensitive" of Table 4 (b).
The paper, SUN-LT: 52.4; it has no such row for ImageNet-LT.
Deviation: the paper gives neither weights nor sampling; γ = 1 and instance-balanced batches, see ``train_defaults``.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from oltr_cli.method import LinearMethod, MethodParams, Setup

from ._class_weights import weighted_cross_entropy


def cost_weights(class_counts: Sequence[int], gamma: float = 1.0) -> Tensor:
    """w (K,), mean 1, from the training images of each class, all at least 1."""
    counts = torch.tensor(class_counts, dtype=torch.float64)
    weights = (counts.min() / counts) ** gamma
    return (weights / weights.mean()).to(torch.get_default_dtype())


class CostSensitive(LinearMethod):
    """Plain's network with class-weighted cross-entropy."""

    starts_from = "plain"
    trains_from_scratch = True
    mixes = True
    family = "re-weighting"
    source = "Huang et al., CVPR 2016"
    # The weights correct for the class frequencies of instance-balanced batches; class-aware ones would correct twice.
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "instance"}
    search_space: ClassVar[dict[str, str]] = {"params.gamma": "0:1.5"}

    class Params(MethodParams):
        """How strongly the weights follow the counts."""

        gamma: float = Field(
            1.0, ge=0, description="γ, exponent of the class counts in the weights; 0 weights all classes equally"
        )

    setup: Setup[Params]
    weights: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        weights = cost_weights(setup.class_counts, self.setup.params.gamma)
        self.register_buffer("weights", weights, persistent=False)

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Weighted cross-entropy, divided by the batch's size."""
        logits = self.classifier(self.backbone(images))
        return {"weighted_cross_entropy": weighted_cross_entropy(logits, labels, self.weights)}
