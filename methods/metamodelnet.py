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

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from oltr_cli.method import FeatureMethod, Setup

from ._classifier_map import ClassifierMap, MapParams
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


class MetaModelNet(ClassifierMap, FeatureMethod):
    """Ridge classifiers of all classes, those of the tail after the chain."""

    family = "long-tailed modelling"
    source = "Wang, Ramanan and Hebert, NIPS 2017"

    class Params(MapParams):
        """Head classes, small classifiers, and the chain."""

        dropout: float = Field(0.8, ge=0, lt=1, description="dropout before the linear layers")
        opening: float = Field(0.5, gt=0, le=1, description="share of the run after which all blocks are trained")

    setup: Setup[Params]

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        p = self.setup.params
        dim = self.backbone.feature_dim
        self.space = ModelSpace(dim, setup.class_counts, p.head_images)
        self.chain = Chain(dim + 1, self.space.levels, p.slope, p.dropout)

    @property
    def map(self) -> Chain:
        return self.chain

    def first_block(self) -> int:
        """The earliest block that is trained at this point of the run: the last one first, all from ``opening`` on."""
        blocks = self.space.deepest + 1
        opened = 1 + int(blocks * min(self.progress / self.setup.params.opening, 1.0))
        return max(0, blocks - opened)

    def mapped(self, theta: Tensor, level: Tensor) -> Tensor:
        return self.chain(theta, level)
