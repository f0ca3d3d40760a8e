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
from oltr_cli.networks.layers import at_least_float32


def range_terms(features: Tensor, labels: Tensor, k: int = 2, margin: float = 20.0) -> tuple[Tensor, Tensor]:
    """Scalars L_intra and L_inter of features (B, D) and labels (B,), in (B, B) memory.

    The pairs and means that count are found without gradient; both terms are then exact functions of the features.
    """
    with torch.autocast(features.device.type, enabled=False):
        v = at_least_float32(features)
        v = v - v.detach().mean(0)  # a common offset would cost precision in cdist's matrix product
        classes, own = torch.unique(labels, return_inverse=True)
        return _intra(v, own, len(classes), k), _inter(v, own, len(classes), margin)


def _intra(v: Tensor, own: Tensor, classes: int, k: int) -> Tensor:
    """Σ over classes 0 … classes − 1 of the harmonic mean of the k largest distances within each; own (B,)."""
    with torch.no_grad():
        i, j = (own[:, None] == own[None, :]).triu(diagonal=1).nonzero(as_tuple=True)
        # By class, the farthest first in each class: the position after the class's first pair is the rank.
        order = torch.cdist(v, v)[i, j].argsort(descending=True)
        order = order[own[i[order]].argsort(stable=True)]
        group = own[i[order]]
        rank = torch.arange(len(group), device=group.device) - torch.searchsorted(group, group)
        widest, group = order[rank < k], group[rank < k]
        i, j = i[widest], j[widest]
    # An image drawn twice has distance 0: the guard under the root keeps both 1/D and its gradient finite.
    inverse = (v[i] - v[j]).square().sum(1).clamp_min(1e-12).rsqrt()
    sums = inverse.new_zeros(classes).index_add(0, group, inverse)
    used = torch.bincount(group, minlength=classes)
    return (used[used > 0] / sums[used > 0]).sum()


def _inter(v: Tensor, own: Tensor, classes: int, margin: float) -> Tensor:
    """max(0, m − d²); 0 for a batch of one class."""
    if classes < 2:
        return v.new_zeros(())
    means = v.new_zeros(classes, v.shape[1]).index_add(0, own, v) / torch.bincount(own).unsqueeze(1)
    with torch.no_grad():
        nearest = torch.cdist(means, means).fill_diagonal_(torch.inf).argmin()
    difference = means[nearest // classes] - means[nearest % classes]
    return (margin - difference.square().sum()).clamp_min(0)


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
            "cross_entropy": F.cross_entropy(self.classifier(v).float(), labels),
            "intra": p.weight * p.alpha * intra,
            "inter": p.weight * p.beta * inter,
        }
