"""Dynamic meta-embedding (the paper's method): direct feature + memory feature, scaled by reachability.

Source: Liu et al., "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019; Sec. 3.1–3.3, Eqs. 1–7.
The paper, ImageNet-LT, ResNet-10: many 43.2, medium 35.1, few 18.5, overall 35.6 (closed), F-measure 0.474.

Where the paper and its authors' published code differ, the default is the code, which gave the reported numbers, and
the paper's version is an option of ``Params``:
- Eq. 1 has o = T_hal(v); the code takes a softmax of it (``coefficients``).
- Eq. 2 has 1/γ; the code has 10/γ (``reachability_scale``).
- Eq. 6 squashes by ‖x‖²/(1+‖x‖²) · x/‖x‖; the code by x/(1+‖x‖) (``squash``).
- Eq. 7 has L_LM of v_meta; the code of the direct feature (``loss_target``). λ is 0.1 there and 0.01 here.
- L_LM moves a centroid by a step normalised by the class's count in the batch, not scaled by λ (``centroid_step``).
- Attention starts as identity, by a last convolution of zeros. In the code all convolutions are then drawn at random
  (``attention_init``); here the default stays at zeros.
- The ImageNet-LT recipe adds a new fc with ReLU after pooling (``extra_fc``), and memory and T_hal come after it.
- The code makes the centroids class means once, before the first step; ``recentre`` does so again after every epoch.
Deviation: the code fixes attention to 7×7 maps; here the map's size follows from backbone and image size.

How close it is to the code, what others found, and what these options change: docs/reproduction.md.
"""

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, StrictBool, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from oltr_cli.method import Explanation, Method, MethodParams, Scores, Setup, TrainingData
from oltr_cli.networks.backbones import build_backbone
from oltr_cli.networks.layers import Attention, AttentionInit, CosineClassifier, Squash, full_precision

from ._centroid_loss import CentroidLoss, CentroidStep

Coefficients = Literal["softmax", "linear"]
# Parameters that the head takes.
OF_HEAD = {"squash", "scale", "reachability_scale", "coefficients", "memory", "concept_selector", "calibrator"}


class MetaEmbeddingHead(nn.Module):
    """From direct feature v (B, D) and centroids M (K, D) to logits (B, K), via v_meta (Eqs. 1–4, 6).

    Attributes:
        hallucinator: T_hal, linear D → K; starts as the stage-1 classifier.
        selector: T_sel, linear D → D.
        classifier: the cosine classifier, ``classifier.weight`` (K, D).
    """

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        *,
        squash: Squash = "code",
        scale: float = 16.0,
        reachability_scale: float = 10.0,
        coefficients: Coefficients = "softmax",
        memory: bool = True,
        concept_selector: bool = True,
        calibrator: bool = True,
    ) -> None:
        super().__init__()
        self.coefficients, self.reachability_scale = coefficients, reachability_scale
        self.memory, self.concept_selector, self.calibrator = memory, concept_selector, calibrator
        self.hallucinator = nn.Linear(feature_dim, num_classes)
        self.selector = nn.Linear(feature_dim, feature_dim)
        self.classifier = CosineClassifier(feature_dim, num_classes, scale, squash)

    def forward(self, direct: Tensor, centroids: Tensor) -> Tensor:
        """Logits (B, K)."""
        return self.classifier(self.embed(direct, centroids))

    def embed(self, direct: Tensor, centroids: Tensor) -> Tensor:
        """v_meta (B, D). The centroids are constants here: only the centroid loss moves them."""
        centroids = centroids.detach()
        meta = direct
        if self.memory:
            meta = direct + self.infusion(direct, centroids)
        if self.calibrator:
            gamma = reachability(direct, centroids)
            meta = (self.reachability_scale / gamma).unsqueeze(1) * meta
        return meta

    def infusion(self, direct: Tensor, centroids: Tensor) -> Tensor:
        """e ⊙ v_memory (B, D): what the memory adds to the direct feature (Eqs. 1, 2, 4)."""
        v_memory = self.memory_coefficients(direct) @ centroids
        return self.selector(direct).tanh() * v_memory if self.concept_selector else v_memory

    def memory_coefficients(self, direct: Tensor) -> Tensor:
        """o (B, K): the coefficient of each centroid in the memory feature (Eq. 1)."""
        o = self.hallucinator(direct)
        return o.softmax(dim=1) if self.coefficients == "softmax" else o


def reachability(direct: Tensor, centroids: Tensor) -> Tensor:
    """γ = min_i ‖v − c_i‖₂ (Eq. 3), (B,), never quite 0; its gradient reaches v.

    The nearest centroid is found from the matrix product 2 v·c − ‖c‖², in (B, K) memory and without gradient; only
    its distance is then computed exactly.
    """
    with torch.autocast(direct.device.type, enabled=False):
        v = full_precision(direct)
        with torch.no_grad():
            nearest = torch.addmm(-centroids.square().sum(1), v, centroids.T, alpha=2).argmax(dim=1)
        # The guard is under the root, where it also keeps the gradient of a zero distance finite.
        return (v - centroids[nearest]).square().sum(1).clamp_min(1e-12).sqrt()


class DME(Method):
    """Dynamic meta-embedding on modulated attention, trained in stage 2 from the plain model."""

    starts_from = "plain"
    family = "open long-tailed recognition"
    source = "Liu et al., CVPR 2019"
    no_new_class = ""
    renames: ClassVar[dict[str, str]] = {"classifier.": "head.hallucinator."}
    search_space: ClassVar[dict[str, str]] = {"params.lambda": "0.001:1:log"}

    class Params(MethodParams):
        """Symbols as in the paper; see the module's docstring for the two readings of each."""

        lambda_: float = Field(0.01, ge=0, description="λ, weight of the large-margin loss L_LM (Eq. 7)")
        loss_target: Literal["direct", "meta"] = Field(
            "direct", description="feature in L_LM: direct, as in the code, or v_meta, as in the paper"
        )
        centroid_step: CentroidStep = Field(
            "normalised", description="how L_LM moves a centroid: by a step normalised by counts, or by its gradient"
        )
        margin: float = Field(10.0, ge=0, description="margin of L_LM's repelling term, a squared distance")
        repel_weight: float = Field(0.01, ge=0, description="weight of the repelling term inside L_LM")
        squash: Squash = Field(
            "code", description="how features are squashed (Eq. 6): as in the code, or as in the paper"
        )
        scale: float = Field(16.0, gt=0, description="factor of the cosine classifier's logits")
        coefficients: Coefficients = Field(
            "softmax", description="memory coefficients o (Eq. 1): softmax, as in the code, or linear, as in the paper"
        )
        reachability_scale: float = Field(10.0, gt=0, description="s of the reachability s/γ (Eq. 2); the paper has 1")
        memory: bool = Field(True, description="add the memory feature v_memory (Eq. 1)")
        concept_selector: bool = Field(True, description="weight the memory feature by the selector e (Eq. 4)")
        calibrator: bool = Field(True, description="scale the feature by its reachability s/γ (Eq. 2)")
        attention: Literal["none", "spatial", "modulated"] = Field(
            "modulated", description="attention on the feature map (Eq. 5); spatial leaves self-attention out"
        )
        attention_init: AttentionInit | None = Field(
            None,
            description="how modulated attention starts: zero or unset, as identity; code, at random, as there",
        )
        extra_fc: bool = Field(False, description="add a linear layer and a ReLU after the pooling")
        recentre: StrictBool | None = Field(
            None, description="make the centroids class means again after each epoch; false or unset: once"
        )

        @field_validator("attention_init")
        @classmethod
        def _zero_is_unset(cls, value: AttentionInit | None) -> AttentionInit | None:
            return None if value == "zero" else value

        @field_validator("recentre")
        @classmethod
        def _false_is_unset(cls, value: bool | None) -> bool | None:
            return value or None

        @model_validator(mode="after")
        def _fits(self) -> Self:
            if self.attention_init == "code" and self.attention != "modulated":
                raise ValueError(f"attention_init=code is for attention=modulated, not for {self.attention}")
            return self

    setup: Setup[Params]

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        p = self.setup.params
        self.backbone = build_backbone(setup.backbone, extra_fc=p.extra_fc)
        self.attention: Attention | None = None
        if p.attention != "none":
            cells = self.backbone.map_size(setup.image_size)
            self.attention = Attention(p.attention, self.backbone.map_channels, cells, p.attention_init or "zero")
        dim = self.backbone.feature_dim
        self.head = MetaEmbeddingHead(dim, setup.num_classes, **p.model_dump(include=OF_HEAD))
        self.centroid_loss = CentroidLoss(
            setup.num_classes, dim, margin=p.margin, repel_weight=p.repel_weight, step=p.centroid_step
        )

    @property
    def needs_map(self) -> bool:
        return self.attention is not None

    def direct(self, images: Tensor) -> Tensor:
        """Direct feature v (B, D) after attention, pooling and the extra fc, if any."""
        if self.attention is None:  # pooled features suffice, and may be all that is saved of a frozen backbone
            return self.backbone(images)
        return self.backbone.pool(self.attention(self.backbone.feature_map(images)))

    @torch.no_grad()
    def prepare(self, data: TrainingData) -> None:
        """Centroids = class means of the direct features over the training set."""
        centroids = self.centroid_loss.centroids
        sums = torch.zeros(centroids.shape, dtype=torch.float64)  # on the CPU: not every device has float64
        counts = sums.new_zeros(len(centroids))
        for images, labels in data.batches():
            sums.index_add_(0, labels.cpu(), self.direct(images).cpu().double())
            counts += torch.bincount(labels.cpu(), minlength=len(counts))
        centroids.copy_(sums / counts.clamp_min(1).unsqueeze(1))

    def end_epoch(self, data: TrainingData) -> None:
        """With ``recentre``, centroids = class means once more; their momentum in the optimizer stays."""
        if self.setup.params.recentre:
            self.prepare(data)

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy of the logits, and λ · L_LM (Eq. 7)."""
        v = self.direct(images)
        meta = self.head.embed(v, self.centroid_loss.centroids)
        logits = self.head.classifier(meta)
        target = v if self.setup.params.loss_target == "direct" else meta
        return {
            "cross_entropy": F.cross_entropy(full_precision(logits), labels),
            "centroid": self.setup.params.lambda_ * self.centroid_loss(target, labels),
        }

    def score_features(self, features: Tensor) -> Scores:
        meta = self.head.embed(features, self.centroid_loss.centroids)
        return Scores.from_logits(self.head.classifier(meta), features, embedding=meta)

    def forward(self, images: Tensor) -> Scores:
        return self.score_features(self.direct(images))

    def class_entries(self, features: Tensor) -> dict[str, Tensor]:
        """The class's centroid, as ``prepare`` computes it, and a row of T_hal along it.

        The row is the centroid less the mean of all, as long as the other rows are, as ``oltr add-class`` makes the
        row of a classifier: T_hal starts as one.
        """
        weight, centroids = self.head.hallucinator.weight, self.centroid_loss.centroids
        centroid = features.double().mean(dim=0)
        row = F.normalize(centroid - centroids.double().mean(dim=0), dim=0) * weight.double().norm(dim=1).mean()
        return {
            "centroid_loss.centroids": centroid,
            "head.hallucinator.weight": row,
            "head.hallucinator.bias": self.head.hallucinator.bias.mean(),
        }

    def explain(self, features: Tensor, classes: int) -> Explanation:
        """Nearest centroids, γ (Eq. 3) and the largest coefficients of the memory (Eq. 1) for v (B, D)."""
        centroids, n = self.centroid_loss.centroids, min(classes, self.setup.num_classes)
        closeness = torch.addmm(-centroids.square().sum(1), features, centroids.T, alpha=2)
        nearest = closeness.topk(n, dim=1).indices
        # The product finds them; their distances are then computed exactly, which may change their order.
        distances = (features.unsqueeze(1) - centroids[nearest]).norm(dim=2)
        distances, order = distances.sort(dim=1)
        nearest = nearest.gather(1, order)
        infused = coefficients = None
        if self.head.memory:
            o = self.head.memory_coefficients(features)
            infused = o.abs().topk(n, dim=1).indices
            coefficients = o.gather(1, infused)
        return Explanation(nearest, distances, distances[:, 0], infused, coefficients)

    def embedding(self, features: Tensor) -> Tensor:
        """v_meta (B, D) of direct features (B, D)."""
        return self.head.embed(features, self.centroid_loss.centroids)

    def infusion(self, features: Tensor) -> Tensor | None:
        """e ⊙ v_memory (B, D) of direct features (B, D)."""
        return self.head.infusion(features, self.centroid_loss.centroids) if self.head.memory else None

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Attention has the features' learning rate; centroids have a separate one."""
        attention = [] if self.attention is None else list(self.attention.parameters())
        return {
            "features": [*self.backbone.parameters(), *attention],
            "classifier": list(self.head.parameters()),
            "centroids": [self.centroid_loss.centroids],
        }
