"""LWS: plain's classifier stays fixed, and one factor per class is learnt, with all classes equally often.

    logit_c = f_c · (w_cᵀ z + b_c),  f_c = 1 at first, and only f_c is learnt

Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020; Sec. 4.
Its authors, ImageNet-LT, ResNeXt-50: many 60.2, medium 47.2, few 30.3, overall 49.9 (closed).
Deviation: the features are saved ones, so training uses no image augmentation. The paper writes f_c w_c; here the
factor also applies to the bias.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oltr_cli.method import FeatureMethod, Scores, Setup
from oltr_cli.networks.layers import full_precision


class LWS(FeatureMethod):
    """Plain's linear classifier (K, D), frozen, and ``factors`` f (K,)."""

    family = "long-tail, later than the paper"
    source = "Kang et al., ICLR 2020"
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "class_aware", "schedule": "cosine"}

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.classifier = nn.Linear(self.backbone.feature_dim, setup.num_classes).requires_grad_(False)
        self.factors = nn.Parameter(torch.ones(setup.num_classes))

    def feature_loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean softmax cross-entropy over the batch."""
        return {"cross_entropy": F.cross_entropy(full_precision(self._logits(features)), labels)}

    def score_features(self, features: Tensor) -> Scores:
        return Scores.from_logits(self._logits(features), features)

    def _logits(self, features: Tensor) -> Tensor:
        return self.factors * self.classifier(features)
