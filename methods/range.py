"""Range loss added to cross-entropy: bring the farthest pairs of a class together, push the two nearest classes apart.

    L_intra = Σ_classes k / Σ_{j=1..k} 1/D_j       D_1 ≥ D_2 ≥ …: distances of a class's pairs in the batch
    L_inter = max(0, m − d²)                       d: distance of the two nearest class means of the batch
    loss = cross-entropy + weight · (α · L_intra + β · L_inter)

Source: Zhang et al., "Range Loss for Deep Face Recognition with Long-Tailed Training Data", ICCV 2017.
The paper, ImageNet-LT, ResNet-10: many 35.8, medium 30.3, few 17.6, overall 30.7 (closed), F-measure 0.373.
A class with fewer than k pairs uses the harmonic mean of those it has; one without a pair adds nothing.
Deviation: the paper gives none of m, α, β and the weight relative to cross-entropy. α = β = 1. In batches of a trained
plain model (tiny-imagenet-lt, features of length 10) the nearest class means are d² = 16 apart, so m = 20, because the
common 5 would have no effect; L_intra is a sum over 32 classes, and with weight 0.002 the gradient of each term is
about a tenth of cross-entropy's. Choose it on validation.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.method import LinearMethod, MethodParams, Setup
from oltr_cli.networks.layers import full_precision


def range_terms(features: Tensor, labels: Tensor, k: int = 2, margin: float = 20.0) -> tuple[Tensor, Tensor]:
    """Scalars L_intra and L_inter of features (B, D) and labels (B,), in (B, B) memory.

    The pairs and means that count are found without gradient; both terms are then exact functions of the features.
    No shape depends on the labels, so that a GPU is never waited for: a class is named by its first sample's position.
    """
    with torch.autocast(features.device.type, enabled=False):
        v = full_precision(features)
        v = v - v.detach().mean(0)  # a common offset would cost precision in cdist's matrix product
        own = (labels[:, None] == labels[None, :]).int().argmax(dim=1)
        return _intra(v, own, k), _inter(v, own, margin)


def _intra(v: Tensor, own: Tensor, k: int) -> Tensor:
    """Σ over classes of the harmonic mean of the k largest distances within each; own (B,) names each one's class."""
    size = len(own)
    i, j = torch.triu_indices(size, size, offset=1, device=own.device)
    with torch.no_grad():
        group = torch.where(own[i] == own[j], own[i], size)  # pairs of two classes come last
        # By class, the farthest first in each class: the position after the class's first pair is the rank.
        order = torch.cdist(v, v)[i, j].argsort(descending=True)
        order = order[group[order].argsort(stable=True)]
        group = group[order]
        rank = torch.arange(len(group), device=group.device) - torch.searchsorted(group, group)
        counts = (rank < k) & (group < size)
        # A class with pairs has two samples or more, so these are all that count, and some that do not.
        first = counts.int().argsort(descending=True, stable=True)[: k * size // 2]
        counts, group, i, j = counts[first], group[first], i[order[first]], j[order[first]]
    # An image drawn twice has distance 0: the guard under the root keeps both 1/D and its gradient finite.
    inverse = (v[i] - v[j]).square().sum(1).clamp_min(1e-12).rsqrt() * counts
    sums = inverse.new_zeros(size + 1).index_add(0, group, inverse)
    used = inverse.new_zeros(size + 1).index_add(0, group, counts.to(inverse.dtype))
    return (used / torch.where(used > 0, sums, 1)).sum()


def _inter(v: Tensor, own: Tensor, margin: float) -> Tensor:
    """max(0, m − d²); 0 for a batch of one class."""
    size = len(own)
    samples = v.new_zeros(size).index_add(0, own, v.new_ones(size))
    means = v.new_zeros(size, v.shape[1]).index_add(0, own, v) / samples.clamp_min(1).unsqueeze(1)
    with torch.no_grad():
        absent = samples == 0
        unusable = absent[:, None] | absent[None, :] | torch.eye(size, dtype=torch.bool, device=v.device)
        nearest = torch.cdist(means, means).masked_fill(unusable, torch.inf).argmin().reshape(1)  # no index is read
        several = (~absent).sum() > 1
    difference = means[nearest // size] - means[nearest % size]
    return (margin - difference.square().sum()).clamp_min(0) * several


class Range(LinearMethod):
    """Plain's network, with the range loss on its pooled feature v (B, D)."""

    starts_from = "plain"
    family = "feature regularisation"
    source = "Zhang et al., ICCV 2017"
    search_space: ClassVar[dict[str, str]] = {"params.weight": "0.0002:0.1:log"}

    class Params(MethodParams):
        """Symbols as in the source, and the weight of the loss."""

        weight: float = Field(0.002, ge=0, description="weight of the range loss relative to cross-entropy")
        alpha: float = Field(1.0, ge=0, description="α, weight of the term within classes")
        beta: float = Field(1.0, ge=0, description="β, weight of the term between classes")
        k: int = Field(2, ge=1, description="k, number of each class's farthest pairs that count")
        margin: float = Field(20.0, ge=0, description="m, margin between class means, a squared distance of features")

    setup: Setup[Params]

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, weight · α · L_intra and weight · β · L_inter."""
        p, v = self.setup.params, self.backbone(images)
        intra, inter = range_terms(v, labels, p.k, p.margin)
        return {
            "cross_entropy": F.cross_entropy(full_precision(self.classifier(v)), labels),
            "intra": p.weight * p.alpha * intra,
            "inter": p.weight * p.beta * inter,
        }
