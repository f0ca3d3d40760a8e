"""Mixup and CutMix: each image of a batch is mixed with another one, and its loss is that of both labels.

    mixup    λ ~ Beta(α, α);  x = λ x_a + (1 − λ) x_b
    cutmix   a box of 1 − λ of the area, cut at the image's border, shows x_b; λ is then the area that still shows x_a

Sources: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018; Yun et al., "CutMix: Regularization
Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from oltr_cli.base.seeding import generator
from oltr_cli.recipe.train import TrainSpec


@dataclass(frozen=True)
class Mixing:
    """How the images of a batch are mixed.

    Attributes:
        share: λ, weight of an image's own label.
        partner: (B,) int64, the row that is mixed into each row.
        box: top, left, bottom and right of the part that shows the partner; None for mixup.
    """

    share: float
    partner: Tensor
    box: tuple[int, int, int, int] | None

    def images(self, images: Tensor) -> Tensor:
        """The mixed images; ``images`` (B, C, H, W) stay as they are."""
        others = images[self.partner.to(images.device, non_blocking=True)]
        if self.box is None:
            return images.lerp(others, 1 - self.share)
        top, left, bottom, right = self.box
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        return mixed

    def labels(self, labels: Tensor) -> Tensor:
        """The labels (B,) of the images that are mixed in."""
        return labels[self.partner.to(labels.device, non_blocking=True)]


def draw_mixing(train: TrainSpec, key: tuple[int | str, ...], rows: int, side: int) -> Mixing | None:
    """The mixing of ``rows`` images of ``side`` pixels; None if the recipe has neither key, and by a coin if both.

    torchvision's MixUp and CutMix draw from torch's global generator, which a checkpoint does not hold, so everything
    is drawn here from ``key``. They also pair neighbours, which class-aware batches have of the same class: here pairs
    are a permutation.
    """
    if train.mixup is None and train.cutmix is None:
        return None
    rng = generator(*key)
    cuts = train.mixup is None or (train.cutmix is not None and rng.random() < 0.5)
    alpha = train.cutmix if cuts else train.mixup
    assert alpha is not None
    share = float(rng.beta(alpha, alpha))
    box = None
    if cuts:
        row, column = rng.integers(side, size=2).tolist()
        box = cut_box(share, row, column, side)
        share = 1 - (box[2] - box[0]) * (box[3] - box[1]) / side**2
    return Mixing(share, torch.from_numpy(rng.permutation(rows)), box)


def cut_box(share: float, row: int, column: int, side: int) -> tuple[int, int, int, int]:
    """The box of 1 − ``share`` of the area around a pixel, cut at the border: top, left, bottom, right."""
    half = int(0.5 * math.sqrt(1 - share) * side)
    return max(row - half, 0), max(column - half, 0), min(row + half, side), min(column + half, side)
