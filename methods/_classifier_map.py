"""What metamodelnet and model-regression share, which learn a map F between classifiers: parameters, losses, scores."""

from abc import abstractmethod
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from oltr_cli.method import FeatureMethod, FeatureSet, MethodParams, Scores, Setup

from ._model_space import ModelSpace


class MapParams(MethodParams):
    """Head classes, small classifiers, and the map."""

    head_images: int = Field(100, ge=2, description="a class with at least so many training images is a head class")
    shrinkage: float = Field(
        0.3, gt=0, description="identity added to the whitening covariance, in units of its mean variance"
    )
    ridge: float = Field(4.0, gt=0, description="λ of the ridge classifiers on whitened features")
    slope: float = Field(0.1, ge=0, lt=1, description="slope of the leaky ReLU below 0")
    task_weight: float = Field(0.3, ge=0, description="λ, weight of the cross-entropy of held-out images")


class ClassifierMap(FeatureMethod):
    """Ridge classifiers of all classes; those of the tail as F makes them."""

    no_new_class = "it learns a map between classifiers of all training images"
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "class_aware", "schedule": "cosine"}
    search_space: ClassVar[dict[str, str]] = {
        "params.ridge": "0.1:100:log",
        "params.shrinkage": "0.03:3:log",
        "params.task_weight": "0.03:3:log",
    }
    setup: Setup[MapParams]
    space: ModelSpace

    @property
    @abstractmethod
    def map(self) -> nn.Module:
        """The network of F."""

    def mapped(self, theta: Tensor, level: Tensor) -> Tensor:
        """F of θ (S, D + 1), of which row s was made from 2^level[s] images → (S, D + 1)."""
        return self.map(theta)

    def first_block(self) -> int:
        """The lowest level that is trained at this point of the run."""
        return 0

    def prepare_features(self, train: FeatureSet, val: FeatureSet) -> None:
        """Train the many-shot classifiers, and sample few-shot ones of the head."""
        p = self.setup.params
        self.space.prepare(train.features, train.labels, p.shrinkage, p.ridge)

    def feature_loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Squared error, cross-entropy, calibration; 0 where no class is a head class.

        The batch says which classes are asked about. The images come from those that no small classifier has seen,
        and the batch's own may have been.
        """
        space = self.space
        if space.deepest < 0:
            return {"squared_error": 0 * torch.stack([q.sum() for q in self.parts()["classifier"]]).sum()}
        with torch.autocast(labels.device.type, enabled=False):
            drawn = space.draw(self.first_block())
            generated = self.mapped(drawn.theta, drawn.level)
            terms = space.losses(drawn, generated, self.evaluated(space.tail_rest()), labels)
        terms["cross_entropy"] = self.setup.params.task_weight * terms["cross_entropy"]
        return terms

    def score_features(self, features: Tensor) -> Scores:
        return Scores.from_logits(self.space(features), features)

    def train(self, mode: bool = True) -> Self:
        """On the way to evaluation, the tail's classifiers go through F anew."""
        super().train(mode)
        if not mode:
            self.space.write(self.evaluated(self.space.theta[self.space.tail]))
        return self

    @torch.no_grad()
    def evaluated(self, theta: Tensor) -> Tensor:
        """F of the tail's θ (T, D + 1), by the running statistics and without dropout."""
        training = self.map.training
        self.map.eval()
        mapped = self.mapped(theta, self.space.level[self.space.tail])
        self.map.train(training)
        return mapped
