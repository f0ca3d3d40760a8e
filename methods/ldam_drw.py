"""LDAM-DRW: margins that grow as classes get rarer, and class weights late in training.

    z_c = s · (cos(w_c, v) − m_c · [c = y]),    m_c = C / n_c^{1/4} with C such that max_c m_c = 0.5,    s = 30
    loss = Σ_n w_{y_n} · CE(z_n, y_n) / Σ_n w_{y_n}
    w_c = 1 at first; in the last fifth of training ∝ (1 − β) / (1 − β^{n_c}), β = 0.9999, mean 1 over the classes
    at test time: logits s · cos(w_c, v), without a margin

Source: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019,
Algorithm 1; the weights are those of Cui et al., "Class-Balanced Loss Based on Effective Number of Samples",
CVPR 2019. Its authors apply the weights from epoch 160 of 200 on.
The paper has no such row; the method is later.
Deviation: stage 2 from the plain model with the budget of all other rows, and the vectors w_c start as plain's
classifier, whose bias is dropped; with --from-scratch from nothing, as in the source.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.method import Method, MethodParams, Scores, Setup
from oltr_cli.networks.backbones import build_backbone

from ._class_weights import class_balanced_weights
from ._cosine import Cosine


def ldam_margins(class_counts: Sequence[int], largest: float = 0.5) -> Tensor:
    """m (K,) ∝ n_c^{−1/4}, with ``largest`` for the rarest class; counts are at least 1."""
    margins = torch.tensor(class_counts, dtype=torch.float64) ** -0.25
    return (margins * (largest / margins.max())).to(torch.get_default_dtype())


class LDAMDRW(Method):
    """Plain's backbone with a cosine head, label-distribution-aware margins and deferred re-weighting."""

    starts_from = "plain"
    trains_from_scratch = True
    mixes = True
    no_new_class = ""
    family = "long-tail, later than the paper"
    source = "Cao et al., NeurIPS 2019"
    # Margins and weights correct for the class frequencies of instance-balanced batches; class-aware ones would correct
    # a second time.
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "instance"}
    search_space: ClassVar[dict[str, str]] = {
        "params.max_margin": "0.1:1",
        "params.scale": "5:50:log",
        "params.drw_start": "0.2:0.95",
    }

    class Params(MethodParams):
        """Symbols as in the sources."""

        scale: float = Field(30.0, gt=0, description="s, factor of the cosines")
        max_margin: float = Field(0.5, ge=0, le=2, description="m of the rarest class, in units of the cosine")
        beta: float = Field(
            0.9999, ge=0, lt=1, description="β of the class-balanced weights; 0 weights all classes equally"
        )
        drw_start: float = Field(
            0.8, ge=0, le=1, description="fraction of training after which the class weights apply"
        )

    setup: Setup[Params]
    margins: Tensor
    weights: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        p = self.setup.params
        self.backbone = build_backbone(setup.backbone)
        self.classifier = Cosine(self.backbone.feature_dim, setup.num_classes)
        self.register_buffer("margins", ldam_margins(setup.class_counts, p.max_margin), persistent=False)
        self.register_buffer("weights", class_balanced_weights(setup.class_counts, p.beta), persistent=False)

    @property
    def needs_map(self) -> bool:
        return False

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy with the margins; weighted once ``progress`` reaches ``drw_start``."""
        cosines = self.classifier(self.backbone(images))
        y = labels.unsqueeze(1)
        narrowed = cosines.scatter_add(1, y, -self.margins[y])
        weights = self.weights if self.progress >= self.setup.params.drw_start else None
        return {"ldam": F.cross_entropy(self.setup.params.scale * narrowed, labels, weights)}

    def score_features(self, features: Tensor) -> Scores:
        return Scores.from_logits(self.setup.params.scale * self.classifier(features), features)

    def forward(self, images: Tensor) -> Scores:
        return self.score_features(self.backbone(images))
