"""MARC: plain's classifier stays fixed, and a factor and a margin of each class's logit are learnt.

    logit_c = ω_c · (w_cᵀ z + b_c) + β_c · ‖w_c‖,  ω_c = 1 and β_c = 0 at first, and only these are learnt
    loss = Σ_n v_{y_n} · CE_n / B,  v_c ∝ 1 / effective number of images (class-balanced), mean 1

Source: Wang et al., "Margin Calibration for Long-Tailed Visual Recognition", ACML 2022.
The paper has no such row; the method is later.
Batches are drawn as images come; the weights v correct for that.
Deviation: the features are saved ones, so training uses no image augmentation. The source names class-balanced
re-weighting; the form of the weights here is that of class-balanced (Cui et al., CVPR 2019) at β = 0.9999.
"""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from oltr_cli.method import FeatureMethod, MethodParams, Scores, Setup

from ._class_weights import class_balanced_weights, weighted_cross_entropy


class MARC(FeatureMethod):
    """Plain's linear classifier (K, D), frozen, with ``factors`` ω (K,) and ``margins`` β (K,)."""

    family = "long-tail, later than the paper"
    source = "Wang et al., ACML 2022"
    # The weights correct for the class frequencies of instance-balanced batches; class-aware ones would correct twice.
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "instance", "schedule": "cosine"}
    search_space: ClassVar[dict[str, str]] = {"params.beta": "0.9:0.99999", "train.lr.classifier": "0.01:1:log"}

    class Params(MethodParams):
        """The weights of the classes."""

        beta: float = Field(
            0.9999, ge=0, lt=1, description="β of the class-balanced weights; 0 weights all classes equally"
        )

    setup: Setup[Params]
    weights: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.classifier = nn.Linear(self.backbone.feature_dim, setup.num_classes).requires_grad_(False)
        self.factors = nn.Parameter(torch.ones(setup.num_classes))
        self.margins = nn.Parameter(torch.zeros(setup.num_classes))
        weights = class_balanced_weights(setup.class_counts, self.setup.params.beta)
        self.register_buffer("weights", weights, persistent=False)

    def feature_loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Weighted cross-entropy, divided by the batch's size."""
        return {"class_balanced": weighted_cross_entropy(self._logits(features), labels, self.weights)}

    def score_features(self, features: Tensor) -> Scores:
        return Scores.from_logits(self._logits(features), features)

    def _logits(self, features: Tensor) -> Tensor:
        return self.factors * self.classifier(features) + self.margins * self.classifier.weight.norm(dim=1)
