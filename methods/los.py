"""LOS: plain's classifier trained on against labels that are smoothed almost to equality, on frozen features.

    loss = CE(W z + b, (1 − δ) · onehot(y) + δ / K),  δ close to 1: the true class has probability 1 − δ + δ/K

Source: Sun et al., "Rethinking Classifier Re-Training in Long-Tailed Recognition: Label Over-Smooth Can Balance",
ICLR 2025.
The paper has no such row; the method is later.
Class frequencies do not enter: batches are drawn as images come. As in the authors' code, the classifier starts as
plain's, weight decay is 0 and the learning rate 0.0005; they train for 20 epochs of batches of 64. A high rate undoes
the gain: the logits then shrink to those of the smoothed labels, where common classes win again.
The targets make probabilities small: with K classes the largest tends to 1 − δ + δ/K, for K = 100 below the paper's τ
of 0.1. So τ accepts 95 % of validation instead.
Deviation: the features are saved ones, so training uses no image augmentation; the number of epochs is the recipe's.
The authors train their stage 1 with a weight decay of 0.005: --set plain.train.weight_decay=0.005.
"""

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from oltr_cli.method import FeatureMethod, MethodParams, Scores, Setup
from oltr_cli.networks.layers import full_precision


class LOS(FeatureMethod):
    """Plain's linear classifier (K, D), trained on."""

    family = "long-tail, later than the paper"
    source = "Sun et al., ICLR 2025"
    threshold_rule = "id_quantile:0.95"
    train_defaults: ClassVar[dict[str, Any]] = {
        "sampler": "instance",
        "schedule": "cosine",
        "weight_decay": 0.0,
        "lr": {"classifier": 0.0005},
    }
    search_space: ClassVar[dict[str, str]] = {
        "params.delta": "0.5:0.995",
        "train.lr.classifier": "0.0001:0.01:log",
    }

    class Params(MethodParams):
        """Symbol as in the formula."""

        delta: float = Field(
            0.98, ge=0, lt=1, description="δ, probability that the labels share among all classes; 0 is cross-entropy"
        )

    setup: Setup[Params]

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.classifier = nn.Linear(self.backbone.feature_dim, setup.num_classes)

    def feature_loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy against the smoothed labels."""
        logits = full_precision(self.classifier(features))
        return {"over_smoothed": F.cross_entropy(logits, labels, label_smoothing=self.setup.params.delta)}

    def score_features(self, features: Tensor) -> Scores:
        return Scores.from_logits(self.classifier(features), features)
