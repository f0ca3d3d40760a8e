"""Cosine classifier with a logit-adjusted loss, on frozen features.

    logit_c = s · cos(w_c, z),    loss = CE(logits + τ · log π, y),    π_c = N_c / N,    scores from the logits

Sources: the loss is that of Menon et al., "Long-Tail Learning via Logit Adjustment", ICLR 2021, Eq. 10. A cosine
classifier of scale 25 with this loss, begun at the class means, is the head of Shi et al., "Long-Tail Learning with
Foundation Model: Heavy Fine-Tuning Hurts" (LIFT), ICML 2024.
The paper has no such row; the method is later.
At test time there is no adjustment: the logits are those of classes that are equally frequent.
Deviation: only the head, on the stored features of the plain model, without image augmentation; LIFT also adapts a
transformer. Here w_c begins at the mean of the class's features.
"""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.method import FeatureMethod, FeatureSet, MethodParams, Scores, Setup

from ._class_means import class_means
from ._class_weights import log_prior
from ._cosine import Cosine


class CosineLA(FeatureMethod):
    """Cosine classifier (K, D) on plain's features, without plain's classifier."""

    family = "long-tail, later than the paper"
    source = "Menon et al., ICLR 2021; Shi et al., ICML 2024"
    # π is the prior of instance-balanced batches; class-aware ones would be corrected for a tail that is not there.
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "instance", "schedule": "cosine"}
    search_space: ClassVar[dict[str, str]] = {
        "params.scale": "5:50:log",
        "params.tau": "0:2.5",
        "train.lr.classifier": "0.01:1:log",
    }

    class Params(MethodParams):
        """Symbols as in the formula."""

        scale: float = Field(25.0, gt=0, description="s, factor of the cosines")
        tau: float = Field(1.0, ge=0, description="τ, weight of the log prior in the loss; 0 is cross-entropy")

    setup: Setup[Params]
    adjustment: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        # Under the name ``classifier`` it would get plain's weights.
        self.retrained = Cosine(self.backbone.feature_dim, setup.num_classes)
        adjustment = self.setup.params.tau * log_prior(setup.class_counts)
        self.register_buffer("adjustment", adjustment.to(torch.get_default_dtype()), persistent=False)

    def prepare_features(self, train: FeatureSet, val: FeatureSet) -> None:
        """Begin at the class means; a class without a feature keeps its random vector."""
        features = [(train.features.cpu().numpy(), train.labels.cpu().numpy())]
        self.retrained.begin_at(*class_means(features, *self.retrained.weight.shape))

    def feature_loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy of the adjusted logits."""
        return {"logit_adjusted": F.cross_entropy(self._logits(features) + self.adjustment, labels)}

    def score_features(self, features: Tensor) -> Scores:
        return Scores.from_logits(self._logits(features), features)

    def linear_head(self) -> None:
        """None: a cosine is not linear in the features."""

    def _logits(self, features: Tensor) -> Tensor:
        return self.setup.params.scale * self.retrained(features)
