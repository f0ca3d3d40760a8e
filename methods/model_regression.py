"""Model regression: a network that maps the weights of a few-shot classifier to those of a many-shot one.

    T = argmin Σ_j ‖T(θ_j^k) − θ_j*‖² + λ · loss of T(θ_j^k) on held-out images

θ^k is a classifier trained on k images of a head class, θ* the one trained on all of them; T is an MLP of four layers
with leaky ReLU, trained on pairs sampled from the head. A tail class gets T of its few-shot classifier, a head class
keeps θ*.

Source: Wang and Hebert, "Learning to Learn: Model Regression Networks for Easy Small Sample Learning", ECCV 2016.
The paper did not measure it: its 54.7 on SUN-LT is quoted from the literature. A quoted number is never shown as a
measured one, and there is none for ImageNet-LT.

Deviation: the classifiers are one-vs-all ridge regressions on whitened features, which have a closed solution; the loss
on held-out images is the cross-entropy among the head classes.
Deviation: T(θ) = θ + MLP(θ), with the last layer starting at 0: a run on saved features has some hundred steps, too few
for a random MLP of this size to learn to reproduce even the few-shot classifier it is given.
Deviation: dropout before the MLP's last layer; without it the MLP overfits a few dozen head classes, and makes
classifiers of other classes worse.
Deviation: a gain and an offset of the tail's logits are learnt from held-out images (methods/_model_space.py).
"""

from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from oltr_cli.method import FeatureMethod, Setup

from ._classifier_map import ClassifierMap, MapParams
from ._model_space import ModelSpace


class RegressionNetwork(nn.Module):
    """T(θ) = θ + MLP(θ), four layers; starts as the identity.

    Args:
        dim: entries of θ.
        hidden: units of each of the three hidden layers.
        slope: of the leaky ReLU below 0.
        dropout: probability for a unit of the last hidden layer.
    """

    def __init__(self, dim: int, hidden: int, slope: float, dropout: float) -> None:
        super().__init__()
        self.slope, self.dropout = slope, dropout
        widths = (dim, hidden, hidden, hidden, dim)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.kaiming_normal_(layer.weight, slope)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]

    def forward(self, theta: Tensor) -> Tensor:
        """θ (S, D + 1) → (S, D + 1)."""
        x = theta
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), self.slope)
        return theta + self.layers[-1](F.dropout(x, self.dropout, self.training))


class ModelRegression(ClassifierMap, FeatureMethod):
    """Ridge classifiers of all classes, those of the tail after the MLP."""

    family = "model regression"
    source = "Wang and Hebert, ECCV 2016"

    class Params(MapParams):
        """Head classes, small classifiers, and the network."""

        hidden: int = Field(256, ge=1, description="units of each of the three hidden layers")
        dropout: float = Field(0.5, ge=0, lt=1, description="dropout before the last layer")

    setup: Setup[Params]

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        p = self.setup.params
        dim = self.backbone.feature_dim
        self.network = RegressionNetwork(dim + 1, p.hidden, p.slope, p.dropout)
        self.space = ModelSpace(dim, setup.class_counts, p.head_images)

    @property
    def map(self) -> RegressionNetwork:
        return self.network
