"""cRT: the classifier retrained from random weights on frozen features, with all classes equally often.

    min over W, b of  −Σ_n log softmax(W z_n + b)_{y_n},  each class drawn with probability 1/K

Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020; Sec. 4.
Its authors, ImageNet-LT, ResNeXt-50: many 61.8, medium 46.2, few 27.4, overall 49.6 (closed).
Deviation: the features are saved ones, so the retraining uses no image augmentation.
"""

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from oltr_cli.method import FeatureMethod, Scores, Setup
from oltr_cli.networks.layers import full_precision


class CRT(FeatureMethod):
    """Linear classifier (K, D) on plain's features, without plain's classifier."""

    family = "long-tail, later than the paper"
    source = "Kang et al., ICLR 2020"
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "class_aware", "schedule": "cosine"}

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        # Under the name ``classifier`` it would get plain's weights.
        self.retrained = nn.Linear(self.backbone.feature_dim, setup.num_classes)

    def feature_loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean softmax cross-entropy over the batch."""
        return {"cross_entropy": F.cross_entropy(full_precision(self.retrained(features)), labels)}

    def score_features(self, features: Tensor) -> Scores:
        return Scores.from_logits(self.retrained(features), features)
