"""LIFT: a pre-trained transformer kept as it is, with small trained adapters and a cosine classifier.

    in each block:  x ← x + MLP(z) + s · W_up relu(W_down z),   z = LN(x),  W_up = 0 at first
    logit_c = 25 · cos(w_c, v),    loss = CE(logits + τ · log π, y),    π_c = N_c / N,    scores from the logits

Source: Shi et al., "Long-Tail Learning with Foundation Model: Heavy Fine-Tuning Hurts" (LIFT), ICML 2024; adapters of
Chen et al., "AdaptFormer", NeurIPS 2022.
The paper has no such row; the method is later.
W_down has r rows, by default 2^⌊log2(K / 2L)⌋ for K classes and L blocks, so that all adapters have fewer weights than
the classifier. w_c begins at the mean of the class's features. Trained as in the source: SGD, rate 0.01, cosine
schedule; there for 10 epochs (20 on iNaturalist) of batches of 128, here for the recipe's.
Deviation: the source's adapters normalise x by a LayerNorm of their own. These read z, which the block has normalised;
its affine map is one that W_down can make up for, so the functions are the same. In a block with LayerScale
(DINOv2), that scales the adapter too. Classifiers from text (CLIP) and the ensemble of test crops are left out.
With ``train.lora`` it has LoRA beside the adapters or, with a width of 0, in their place; the source compares both.
"""

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from oltr_cli.method import Method, MethodParams, Scores, Setup, TrainingData
from oltr_cli.networks.backbones import build_backbone

from ._adapters import AdaptFormer, adapted_mlps, add_to
from ._class_means import class_means
from ._class_weights import log_prior
from ._cosine import Cosine


class LIFT(Method):
    """Frozen transformer, an adapter in each block, cosine classifier (K, D)."""

    starts_from = None
    adapts_blocks = True
    no_new_class = ""
    family = "long-tail, later than the paper"
    source = "Shi et al., ICML 2024"
    # π is the prior of instance-balanced batches; class-aware ones would be corrected for a tail that is not there.
    train_defaults: ClassVar[dict[str, Any]] = {
        "sampler": "instance",
        "schedule": "cosine",
        "lr": {"adapters": 0.01, "classifier": 0.01},
    }
    search_space: ClassVar[dict[str, str]] = {
        "params.tau": "0:2.5",
        "train.lr.adapters": "0.001:0.1:log",
        "train.lr.classifier": "0.001:0.1:log",
    }

    class Params(MethodParams):
        """Symbols as in the formulas."""

        scale: float = Field(25.0, gt=0, description="factor of the cosines")
        tau: float = Field(1.0, ge=0, description="τ, weight of the log prior in the loss; 0 is cross-entropy")
        bottleneck: int | None = Field(
            None,
            ge=0,
            le=4096,
            description="r, width of an adapter; unset: by the numbers of classes and blocks; 0: no adapters",
        )

    setup: Setup[Params]
    adjustment: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.backbone = build_backbone(setup.backbone)
        width = self.setup.params.bottleneck
        mlps = [] if width == 0 else adapted_mlps(self.backbone, setup.backbone.name, "lift")
        self.width = default_bottleneck(setup.num_classes, len(mlps)) if width is None else width
        self.adapters = nn.ModuleList(AdaptFormer(dim, self.width) for _, dim in mlps)
        for (mlp, _), adapter in zip(mlps, self.adapters, strict=True):
            add_to(mlp, adapter)  # type: ignore[arg-type]
        self.backbone.requires_grad_(False)
        self.classifier = Cosine(self.backbone.feature_dim, setup.num_classes)
        adjustment = self.setup.params.tau * log_prior(setup.class_counts)
        self.register_buffer("adjustment", adjustment.to(torch.get_default_dtype()), persistent=False)

    @property
    def needs_map(self) -> bool:
        return False

    @torch.no_grad()
    def prepare(self, data: TrainingData) -> None:
        """Begin at the class means of the pre-trained features; a class without an image keeps its random vector."""

        def features() -> Iterator[tuple[NDArray[np.floating], NDArray[np.integer]]]:
            for images, labels in data.batches():
                yield self.backbone(images).float().cpu().numpy(), labels.cpu().numpy()

        self.classifier.begin_at(*class_means(features(), *self.classifier.weight.shape))

    def train(self, mode: bool = True) -> Self:
        """The backbone stays in eval mode: its statistics are weights too."""
        super().train(mode)
        self.backbone.eval()
        return self

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy of the adjusted logits."""
        logits = self._logits(self.backbone(images))
        return {"logit_adjusted": F.cross_entropy(logits + self.adjustment, labels)}

    def score_features(self, features: Tensor) -> Scores:
        return Scores.from_logits(self._logits(features), features)

    def forward(self, images: Tensor) -> Scores:
        return self.score_features(self.backbone(images))

    def params_for_more_classes(self) -> MethodParams:
        """With the width that the adapters have: by default it follows from the number of classes."""
        return self.setup.params.model_copy(update={"bottleneck": self.width})

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {
            "features": list(self.backbone.parameters()),  # none of them is trained, but LoRA's
            "adapters": list(self.adapters.parameters()),
            "classifier": list(self.classifier.parameters()),
        }

    def _logits(self, v: Tensor) -> Tensor:
        return self.setup.params.scale * self.classifier(v)


def default_bottleneck(classes: int, blocks: int) -> int:
    """2^⌊log2(K / 2L)⌋, and 1 where that is less."""
    return 2 ** max(0, math.floor(math.log2(classes / (2 * blocks))))
