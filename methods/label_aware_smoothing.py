"""Label-aware smoothing: labels of common classes are smoothed most, while classifier and class factors are trained.

    logit_c = f_c · (w_cᵀ z + b_c),  f_c = 1 at first
    loss = (1 − ε_y) · (−log p_y) + ε_y · mean_c(−log p_c)
    ε_y = ε_K + (ε_1 − ε_K) · sin(π (N_y − N_K) / (2 (N_1 − N_K))),  N_1 the largest and N_K the smallest count

Source: Zhong et al., "Improving Calibration for Long-Tailed Recognition" (MiSLAS), CVPR 2021; its stage 2, in the
concave form, with the factors of LWS (Kang et al., ICLR 2020).
The paper has no such row; the method is later.
Defaults are the authors' for CIFAR-100-LT (ε_1 0.4, ε_K 0.1); for ImageNet-LT they have 0.3 and 0. The classifier's
learning rate is a fifth of the factors', as there. If all classes have equally many images, ε is ε_K for each.
Deviation: stage 1 is plain without the source's mixup, and batch-norm keeps plain's statistics. The features are saved
ones, so training uses no image augmentation.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from oltr_cli.method import FeatureMethod, MethodParams, Scores, Setup
from oltr_cli.networks.layers import full_precision


def smoothing(class_counts: Sequence[int], head: float, tail: float) -> Tensor:
    """ε (K,), from ``tail`` for the rarest class to ``head`` for the most common one."""
    counts = torch.tensor(class_counts, dtype=torch.float64)
    rank = (counts - counts.min()) / (counts.max() - counts.min()).clamp_min(1)
    return (tail + (head - tail) * (rank * torch.pi / 2).sin()).to(torch.get_default_dtype())


class LabelAwareSmoothing(FeatureMethod):
    """Plain's linear classifier (K, D), trained on, and ``factors`` f (K,)."""

    family = "long-tail, later than the paper"
    source = "Zhong et al., CVPR 2021"
    train_defaults: ClassVar[dict[str, Any]] = {
        "sampler": "class_aware",
        "schedule": "cosine",
        "lr": {"classifier": 0.02, "factors": 0.1},
    }
    search_space: ClassVar[dict[str, str]] = {
        "params.smooth_head": "0:0.6",
        "params.smooth_tail": "0:0.3",
        "train.lr.classifier": "0.002:0.2:log",
    }

    class Params(MethodParams):
        """Names as in the authors' code."""

        smooth_head: float = Field(0.4, ge=0, lt=1, description="ε_1, smoothing of the most common class")
        smooth_tail: float = Field(0.1, ge=0, lt=1, description="ε_K, smoothing of the rarest class")

    setup: Setup[Params]
    epsilon: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.classifier = nn.Linear(self.backbone.feature_dim, setup.num_classes)
        self.factors = nn.Parameter(torch.ones(setup.num_classes))
        p = self.setup.params
        self.register_buffer("epsilon", smoothing(setup.class_counts, p.smooth_head, p.smooth_tail), persistent=False)

    def feature_loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy against labels smoothed by their class's ε."""
        log_p = full_precision(self._logits(features)).log_softmax(dim=1)
        own = log_p.gather(1, labels.unsqueeze(1)).squeeze(1)
        epsilon = self.epsilon[labels]
        return {"label_aware_smoothing": -((1 - epsilon) * own + epsilon * log_p.mean(dim=1)).mean()}

    def score_features(self, features: Tensor) -> Scores:
        return Scores.from_logits(self._logits(features), features)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The factors have a separate learning rate."""
        return {
            "features": list(self.backbone.parameters()),
            "classifier": list(self.classifier.parameters()),
            "factors": [self.factors],
        }

    def _logits(self, features: Tensor) -> Tensor:
        return self.factors * self.classifier(features)
