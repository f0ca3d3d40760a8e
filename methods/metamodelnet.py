"""MetaModelNet: a chain of residual blocks that turns a few-shot classifier into a many-shot one.

    F_i(θ) = F_{i+1}(θ + f(θ; w_i)),  f = batch-norm, leaky ReLU, linear;  F_N(θ) = θ
    loss = ‖F_i(θ_k) − θ*‖² + λ · loss of F_i(θ_k) on held-out images,  k = 2^i

Block i maps classifiers of 2^i images to those of 2^(i+1), and the last block maps to θ*, trained on all images.
Blocks are trained on classifiers sampled from the head, from the last to the first: each starts after those behind it,
which continue to learn. A tail class with n images enters at block floor(log2 n); a head class keeps θ*.

Source: Wang, Ramanan and Hebert, "Learning to Model the Tail", NIPS 2017.
The paper did not measure it: its 57.3 on SUN-LT is quoted from the literature. A quoted number is never shown as a
measured one, and there is none for ImageNet-LT.

Deviation: the classifiers are one-vs-all ridge regressions on whitened features, which have a closed solution, and the
features are fixed.
Deviation: dropout before the linear layers, which start at 0, so that the chain starts as the identity; without dropout
it overfits a few dozen head classes, and makes classifiers of other classes worse.
Deviation: a gain and an offset of the tail's logits are learnt from held-out images (methods/_model_space.py).
"""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from oltr_cli.method import FeatureMethod, FeatureSet, MethodParams, Scores, Setup

from ._model_space import ModelSpace


class ResidualBlock(nn.Module):
    """θ ← θ + linear(leaky ReLU(batch-norm(θ))); starts as the identity."""

    def __init__(self, dim: int, slope: float, dropout: float) -> None:
        super().__init__()
        self.slope, self.dropout = slope, dropout
        self.norm = nn.BatchNorm1d(dim)
        self.linear = nn.Linear(dim, dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, theta: Tensor) -> Tensor:
        """θ (S, D + 1) → (S, D + 1). A single classifier has no batch statistics; it uses the running ones."""
        norm = self.norm
        if self.training and len(theta) > 1:
            x = norm(theta)
        else:
            x = F.batch_norm(theta, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        return theta + self.linear(F.dropout(F.leaky_relu(x, self.slope), self.dropout, self.training))


class Chain(nn.Module):
    """The N residual blocks.

    Args:
        dim: entries of θ.
        blocks: N.
    """

    def __init__(self, dim: int, blocks: int, slope: float, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(dim, slope, dropout) for _ in range(blocks))

    def forward(self, theta: Tensor, level: Tensor) -> Tensor:
        """θ (S, D + 1), where row s enters at block level[s] and leaves after the last → (S, D + 1)."""
        for i, block in enumerate(self.blocks):
            rows = (level <= i).nonzero().squeeze(1)
            if len(rows):
                theta = theta.index_copy(0, rows, block(theta[rows]))
        return theta


class MetaModelNet(FeatureMethod):
    """Ridge classifiers of all classes, those of the tail after the chain."""

    family = "long-tailed modelling"
    source = "Wang, Ramanan and Hebert, NIPS 2017"
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "class_aware", "schedule": "cosine"}
    search_space: ClassVar[dict[str, str]] = {
        "params.ridge": "0.1:100:log",
        "params.shrinkage": "0.03:3:log",
        "params.task_weight": "0.03:3:log",
    }

    class Params(MethodParams):
        """Head classes, small classifiers, and the chain."""

        head_images: int = Field(
            100, ge=2, description="a class with at least this many training images is a head class"
        )
        shrinkage: float = Field(
            0.3, gt=0, description="identity added to the whitening covariance, in units of its mean variance"
        )
        ridge: float = Field(4.0, gt=0, description="λ of the ridge classifiers on whitened features")
        slope: float = Field(0.1, ge=0, lt=1, description="slope of the leaky ReLU below 0")
        dropout: float = Field(0.8, ge=0, lt=1, description="dropout before the linear layers")
        task_weight: float = Field(0.3, ge=0, description="λ, weight of the cross-entropy of held-out images")
        opening: float = Field(0.5, gt=0, le=1, description="fraction of the run after which all blocks are trained")

    setup: Setup[Params]

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        p = self.setup.params
        dim = self.backbone.feature_dim
        self.space = ModelSpace(dim, setup.class_counts, p.head_images)
        self.chain = Chain(dim + 1, self.space.levels, p.slope, p.dropout)

    def prepare_features(self, train: FeatureSet, val: FeatureSet) -> None:
        """Train the many-shot classifiers, and sample few-shot ones of the head."""
        p = self.setup.params
        self.space.prepare(train.features, train.labels, p.shrinkage, p.ridge)

    def first_block(self) -> int:
        """The earliest block that is trained at this point of the run: the last one first, all from ``opening`` on."""
        blocks = self.space.deepest + 1
        opened = 1 + int(blocks * min(self.progress / self.setup.params.opening, 1.0))
        return max(0, blocks - opened)

    def feature_loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Squared error, cross-entropy, calibration; 0 if there is no head class.

        The batch determines which classes are used. Their images are taken from those that no small classifier has
        seen, because the images of the batch may have been seen.
        """
        space = self.space
        if space.deepest < 0:
            return {"squared_error": 0 * torch.stack([q.sum() for q in self.parts()["classifier"]]).sum()}
        with torch.autocast(labels.device.type, enabled=False):
            drawn = space.draw(self.first_block())
            generated = self.chain(drawn.theta, drawn.level)
            terms = space.losses(drawn, generated, self._grown(space.tail_rest()), labels)
        terms["cross_entropy"] = self.setup.params.task_weight * terms["cross_entropy"]
        return terms

    def score_features(self, features: Tensor) -> Scores:
        return Scores.from_logits(self.space(features), features)

    def train(self, mode: bool = True) -> "MetaModelNet":
        """Before evaluation, the classifiers of the tail pass through the chain again."""
        super().train(mode)
        if not mode:
            self.space.write(self._grown(self.space.theta[self.space.tail]))
        return self

    @torch.no_grad()
    def _grown(self, theta: Tensor) -> Tensor:
        """F of the tail's θ (T, D + 1), with running statistics and without dropout."""
        training = self.chain.training
        grown = self.chain.eval()(theta, self.space.level[self.space.tail])
        self.chain.train(training)
        return grown
