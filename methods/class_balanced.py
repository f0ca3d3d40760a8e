"""Class-balanced loss: cross-entropy weighted by the inverse of the effective number of images of each class.

    w_c ∝ (1 − β) / (1 − β^{n_c}) with mean 1 over the classes,    loss = Σ_n w_{y_n} · CE_n / B

Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019; its softmax form.
The effective number of n images is (1 − β^n) / (1 − β): 1 for β = 0, n for β → 1. So β = 0 is plain's loss, and β → 1
weights by the inverse counts, as cost-sensitive does.
The paper has no such row; the method is later.
Deviation: stage 2 from the plain model, as in all other rows. The source chooses β from 0.9, 0.99, 0.999 and 0.9999;
0.9999 is the default.
"""

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from oltr_cli.method import LinearMethod, MethodParams, Setup

from ._class_weights import class_balanced_weights, weighted_cross_entropy


class ClassBalanced(LinearMethod):
    """Plain's network with cross-entropy weighted by effective numbers."""

    starts_from = "plain"
    trains_from_scratch = True
    mixes = True
    family = "re-weighting"
    source = "Cui et al., CVPR 2019"
    # The weights correct for the class frequencies of instance-balanced batches; class-aware ones would correct twice.
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "instance"}
    search_space: ClassVar[dict[str, str]] = {"params.beta": "0.9:0.99999"}

    class Params(MethodParams):
        """Symbol as in the source."""

        beta: float = Field(0.9999, ge=0, lt=1, description="β of the effective number; 0 weights all classes equally")

    setup: Setup[Params]
    weights: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        weights = class_balanced_weights(setup.class_counts, self.setup.params.beta)
        self.register_buffer("weights", weights, persistent=False)

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Weighted cross-entropy, divided by the batch's size."""
        logits = self.classifier(self.backbone(images))
        return {"class_balanced": weighted_cross_entropy(logits, labels, self.weights)}
