"""MaxNorm: plain's classifier trained on with weight decay, and no class's weights longer than a limit (stage 2 of
weight balancing).

    loss = Σ_n v_{y_n} · CE_n / B,  v_c ∝ 1 / effective number of images (class-balanced), mean 1
    after each epoch  w_c ← w_c · min(1, η / ‖w_c‖),   η = min_c ‖w_c‖ + t · (max_c ‖w_c‖ − min_c ‖w_c‖)  of plain's w

Source: Alshammari et al., "Long-Tailed Recognition via Weight Balancing", CVPR 2022; weights v of Cui et al., CVPR
2019. As in the authors' code, η is fixed before training and biases have no limit; t is 0.1 in their example.
The paper has no such row; the method is later.
Weight decay is part of the method: the recipe's ``train.weight_decay``, here 0.005 unless it is set. The authors tune
it, for both stages, and have 0.1 in stage 2 with a loss that is also divided by K; their stage 1 has 0.005 on
CIFAR-100-LT: --set plain.train.weight_decay=0.005.
Deviation: the features are saved ones, so training uses no image augmentation. The loss is cross-entropy; the authors'
code takes the binary cross-entropy of the softmax.
"""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from oltr_cli.method import FeatureMethod, FeatureSet, MethodParams, Scores, Setup, TrainingData

from ._class_weights import class_balanced_weights, weighted_cross_entropy


class MaxNorm(FeatureMethod):
    """Plain's linear classifier (K, D), trained on, with ``limit`` η in the checkpoint."""

    family = "long-tail, later than the paper"
    source = "Alshammari et al., CVPR 2022"
    # The weights correct for the class frequencies of instance-balanced batches; class-aware ones would correct twice.
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "instance", "schedule": "cosine", "weight_decay": 0.005}
    search_space: ClassVar[dict[str, str]] = {
        "params.threshold": "0:1",
        "train.weight_decay": "0.0001:0.1:log",
        "train.lr.classifier": "0.01:1:log",
    }

    class Params(MethodParams):
        """The limit, and the weights of the classes."""

        threshold: float = Field(
            0.1, ge=0, le=1, description="t, where η is from the shortest (0) to the longest (1) of plain's weights"
        )
        beta: float = Field(
            0.9999, ge=0, lt=1, description="β of the class-balanced weights; 0 weights all classes equally"
        )

    setup: Setup[Params]
    limit: Tensor
    weights: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.classifier = nn.Linear(self.backbone.feature_dim, setup.num_classes)
        self.register_buffer("limit", torch.tensor(torch.inf))
        weights = class_balanced_weights(setup.class_counts, self.setup.params.beta)
        self.register_buffer("weights", weights, persistent=False)

    @torch.no_grad()
    def prepare_features(self, train: FeatureSet, val: FeatureSet) -> None:
        """Set η by the lengths of plain's weights."""
        shortest, longest = self.classifier.weight.norm(dim=1).aminmax()
        self.limit.copy_(shortest + self.setup.params.threshold * (longest - shortest))

    def feature_loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Weighted cross-entropy, divided by the batch's size."""
        return {"class_balanced": weighted_cross_entropy(self.classifier(features), labels, self.weights)}

    def end_epoch(self, data: TrainingData) -> None:
        """Shorten weights that are longer than η."""
        weight = self.classifier.weight
        weight *= (self.limit / weight.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1)

    def score_features(self, features: Tensor) -> Scores:
        return Scores.from_logits(self.classifier(features), features)
