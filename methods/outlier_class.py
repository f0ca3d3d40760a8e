"""Outlier class: one class more than are known, which outliers are trained to be.

    loss = mean over known images of CE([f, o], y) + λ · mean over outliers of CE([f, o], K + 1)
    scores: softmax([f, o] − τ · log [π, 1]), π_c = N_c / N; logits f − τ · log π, confidence 1 − p_{K+1}

f are the logits of the K known classes, o that of the outliers.

Source: the base that COCL calibrates: Miao et al., "Out-of-Distribution Detection in Long-Tailed Recognition with
Calibrated Outlier Class Learning", AAAI 2024, with λ = 0.05 and τ = 1 of its code.
The paper has no such row; the method is later. It needs outliers, so no table lists it until it has runs.
Deviation: only this base, without COCL's tail prototypes and margins; SGD and stage 2 from the plain model, as in all
other rows, with a new classifier for o.
"""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from oltr_cli.method import LinearMethod, MethodParams, Scores, Setup
from oltr_cli.networks.layers import full_precision

from ._outliers import mean_over


class OutlierClass(LinearMethod):
    """Plain's network with a logit for outliers."""

    starts_from = "plain"
    family = "outlier data, later than the paper"
    source = "Miao et al., AAAI 2024"
    uses_outliers = True
    # π is the prior of instance-balanced batches; after class-aware ones there is none to remove.
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "instance"}
    search_space: ClassVar[dict[str, str]] = {"params.lambda": "0.01:1:log", "params.tau": "0:2.5"}

    class Params(MethodParams):
        """Symbols as in the source."""

        lambda_: float = Field(0.05, ge=0, description="λ, weight of the term on outliers")
        tau: float = Field(1.0, ge=0, description="τ, weight of the log prior that is removed from the scores")

    setup: Setup[Params]
    adjustment: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.outlier = nn.Linear(self.backbone.feature_dim, 1)
        counts = torch.tensor(setup.class_counts, dtype=torch.get_default_dtype())
        self.register_buffer("adjustment", self.setup.params.tau * (counts / counts.sum()).log(), persistent=False)

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy over known images, and λ times that over outliers, whose label is −1."""
        v = self.backbone(images)
        logits = full_precision(torch.cat([self.classifier(v), self.outlier(v)], dim=1))
        outlier = logits.logsumexp(dim=1) - logits[:, -1]  # CE to the last class
        return {
            "cross_entropy": F.cross_entropy(logits, labels, ignore_index=-1),
            "outliers": self.setup.params.lambda_ * mean_over(outlier, labels == -1),
        }

    def score_features(self, features: Tensor) -> Scores:
        logits = full_precision(self.classifier(features)) - self.adjustment
        # 1 − p_{K+1}, exact where p_{K+1} is near 1
        confidence = (logits.logsumexp(dim=1) - full_precision(self.outlier(features)).squeeze(1)).sigmoid()
        return Scores(logits, confidence, features)

    def linear_head(self) -> tuple[Tensor, Tensor] | None:
        return self.classifier.weight, self.classifier.bias - self.adjustment
