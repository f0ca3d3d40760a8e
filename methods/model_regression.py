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
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from oltr_cli.method import FeatureMethod, FeatureSet, MethodParams, Scores, Setup

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


class ModelRegression(FeatureMethod):
    """Ridge classifiers of all classes, those of the tail after the MLP."""

    family = "model regression"
    source = "Wang and Hebert, ECCV 2016"
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "class_aware", "schedule": "cosine"}
    search_space: ClassVar[dict[str, str]] = {
        "params.ridge": "0.1:100:log",
        "params.shrinkage": "0.03:3:log",
        "params.task_weight": "0.03:3:log",
    }

    class Params(MethodParams):
        """Head classes, small classifiers, and the network."""

        head_images: int = Field(
            100, ge=2, description="a class with at least this many training images is a head class"
        )
        shrinkage: float = Field(
            0.3, gt=0, description="identity added to the whitening covariance, in units of its mean variance"
        )
        ridge: float = Field(4.0, gt=0, description="λ of the ridge classifiers on whitened features")
        hidden: int = Field(256, ge=1, description="units of each of the three hidden layers")
        slope: float = Field(0.1, ge=0, lt=1, description="slope of the leaky ReLU below 0")
        dropout: float = Field(0.5, ge=0, lt=1, description="dropout before the last layer")
        task_weight: float = Field(0.3, ge=0, description="λ, weight of the cross-entropy of held-out images")

    setup: Setup[Params]

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        p = self.setup.params
        dim = self.backbone.feature_dim
        self.network = RegressionNetwork(dim + 1, p.hidden, p.slope, p.dropout)
        self.space = ModelSpace(dim, setup.class_counts, p.head_images)

    def prepare_features(self, train: FeatureSet, val: FeatureSet) -> None:
        """Train the many-shot classifiers, and sample few-shot ones of the head."""
        p = self.setup.params
        self.space.prepare(train.features, train.labels, p.shrinkage, p.ridge)

    def feature_loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Squared error, cross-entropy, calibration; 0 if there is no head class.

        The batch determines which classes are used. Their images are taken from those that no small classifier has
        seen, because the images of the batch may have been seen.
        """
        space = self.space
        if space.deepest < 0:
            return {"squared_error": 0 * torch.stack([q.sum() for q in self.parts()["classifier"]]).sum()}
        with torch.autocast(labels.device.type, enabled=False):
            drawn = space.draw()
            terms = space.losses(drawn, self.network(drawn.theta), self._regressed(space.tail_rest()), labels)
        terms["cross_entropy"] = self.setup.params.task_weight * terms["cross_entropy"]
        return terms

    def score_features(self, features: Tensor) -> Scores:
        return Scores.from_logits(self.space(features), features)

    def train(self, mode: bool = True) -> "ModelRegression":
        """Before evaluation, the classifiers of the tail are regressed again."""
        super().train(mode)
        if not mode:
            self.space.write(self._regressed(self.space.theta[self.space.tail]))
        return self

    @torch.no_grad()
    def _regressed(self, theta: Tensor) -> Tensor:
        """T(θ) without dropout."""
        training = self.network.training
        regressed = self.network.eval()(theta)
        self.network.train(training)
        return regressed
