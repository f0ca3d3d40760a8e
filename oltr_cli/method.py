"""The contract that every file in methods/ fulfils.

A method is an ``nn.Module`` with a loss for training and scores for everything after it. It is built from a ``Setup``,
starts from the weights of the run named by ``starts_from``, may look at the training set once in ``prepare``, and
tells the engine which of its parameters share a learning rate in ``parts``. docs/adding-a-method.md walks through one.
A ``LinearMethod`` has plain's network, so that its loss is all there is to write; a ``FeatureMethod`` is one whose
backbone stays as it is. What needs no training at all is a ``Detector`` (oltr_cli/detector.py).
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol

import torch
from torch import Tensor, nn

from oltr_cli.networks.backbones import Backbone, build_backbone
from oltr_cli.recipe.specs import BackboneSpec, MethodParams, P


@dataclass(frozen=True)
class Setup(Generic[P]):
    """All that a method may know when it is built; ``Setup[Params]`` tells type checkers which params it holds.

    Attributes:
        backbone: which network to build with ``build_backbone``.
        image_size: side of the square images in pixels.
        class_counts: training images of each of the K classes, by label.
        params: an instance of the method's own ``Params``.
    """

    backbone: BackboneSpec
    image_size: int
    class_counts: tuple[int, ...]
    params: P

    @property
    def num_classes(self) -> int:
        """K, the number of known classes."""
        return len(self.class_counts)


@dataclass(frozen=True)
class Scores:
    """What a method says about a batch: logits (B, K), confidence (B,) that it is a known class, features (B, D).

    ``embedding`` (B, E) tells identities apart (``oltr_cli.protocol.identification``); None where the features do.
    """

    logits: Tensor
    confidence: Tensor
    features: Tensor
    embedding: Tensor | None = None

    @classmethod
    def from_logits(cls, logits: Tensor, features: Tensor, embedding: Tensor | None = None) -> "Scores":
        """Confidence = the largest softmax probability, the paper's rule for all rows but OpenMax."""
        logits = logits.float()
        return cls(logits, logits.softmax(dim=1).amax(dim=1), features, embedding)


@dataclass(frozen=True)
class Explanation:
    """What lies behind the scores of a batch, with n classes for each sample, the first counting most.

    Attributes:
        nearest: labels (B, n) of the class centroids nearest to the feature, ``distances`` (B, n) to them.
        reachability: γ (B,), the distance of the nearest one.
        infused: labels (B, n) of the classes with the largest memory coefficients by magnitude, ``coefficients``
            (B, n) their values; None, None without a memory.
    """

    nearest: Tensor
    distances: Tensor
    reachability: Tensor
    infused: Tensor | None = None
    coefficients: Tensor | None = None


class TrainingData(Protocol):
    """The training set as ``prepare`` sees it: evaluation transform, fixed order, already on the model's device."""

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, 3, H, W) and labels (B,), every training image once."""


class Method(nn.Module):
    """Base of all trained methods.

    Class attributes:
        starts_from: the method whose finished run gives the first weights, or None to start from nothing.
        family: heading under which ``oltr ls methods`` lists it.
        source: paper that introduced it.
        renames: prefixes of the ancestor's parameters that go by another name here.
        trains: False for a method whose ``prepare`` does everything; its run takes no step and has no epochs.
        train_defaults: keys of the recipe's [train] that the method is made for, such as {"sampler": "instance"};
            stronger than the recipe's [stage1] and [stage2], weaker than its [method.NAME].
        search_space: key of the recipe → what ``oltr tune`` tries for it, LOW:HIGH or LOW:HIGH:log
            (oltr_cli/tuning/space.py).

    Attributes:
        progress: share of the run's steps that are done, 0 … 1; the engine sets it before each step, for losses with a
            schedule of their own.
    """

    starts_from: ClassVar[str | None] = None
    family: ClassVar[str] = ""
    source: ClassVar[str] = ""
    renames: ClassVar[dict[str, str]] = {}
    trains: ClassVar[bool] = True
    train_defaults: ClassVar[dict[str, Any]] = {}
    search_space: ClassVar[dict[str, str]] = {
        "train.lr.features": "0.001:0.5:log",
        "train.lr.classifier": "0.01:0.5:log",
    }

    class Params(MethodParams):
        """None of its own."""

    setup: Setup  # a method with ``Params`` of its own declares ``setup: Setup[Params]`` below them
    backbone: Backbone

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.setup = setup
        self.progress = 0.0

    def prepare(self, data: TrainingData) -> None:
        """Look at the training set once, after the ancestor's weights are in and before the first step."""

    @abstractmethod
    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Named scalar terms whose sum is minimised; images (B, 3, H, W) normalised, labels (B,) int64."""
        raise NotImplementedError

    @abstractmethod
    def forward(self, images: Tensor) -> Scores:
        """Scores of a batch of normalised images (B, 3, H, W)."""
        raise NotImplementedError

    def explain(self, features: Tensor, classes: int) -> Explanation | None:
        """What lies behind the scores of ``features`` (B, D) as in ``Scores``, in up to ``classes`` classes each.

        For ``oltr predict --explain``; a method that has no centroids leaves it alone.
        """
        return None

    @property
    def needs_map(self) -> bool:
        """Whether it looks at the cells of the feature map, rather than at ``backbone(images)`` alone.

        Says how much of each image is kept when the backbone is frozen (oltr_cli/training/frozen.py).
        """
        return True

    def embedding(self, features: Tensor) -> Tensor:
        """The vectors that decide, made from ``features`` (B, D) as in ``Scores``; by default the features themselves.

        For figures of the feature space; a method whose classifier sees something else overrides it.
        """
        return features

    def infusion(self, features: Tensor) -> Tensor | None:
        """What a memory adds to ``features`` (B, D) as in ``Scores``, of their shape; None without a memory."""
        return None

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by part; the recipe's ``train.lr`` gives each part its rate. Every parameter in exactly one."""
        inside = {id(p) for p in self.backbone.parameters()}
        return {
            "features": list(self.backbone.parameters()),
            "classifier": [p for p in self.parameters() if id(p) not in inside],
        }


class LinearMethod(Method):
    """Base of methods on plain's network: backbone, pooled feature v (B, D), linear classifier (K, D)."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.backbone = build_backbone(setup.backbone)
        self.classifier = nn.Linear(self.backbone.feature_dim, setup.num_classes)

    @property
    def needs_map(self) -> bool:
        return False

    def forward(self, images: Tensor) -> Scores:
        v = self.backbone(images)
        return Scores.from_logits(self.classifier(v), v)


@dataclass(frozen=True)
class FeatureSet:
    """Pooled features (N, D) float32 of one split, on the model's device, with labels (N,) int64."""

    features: Tensor
    labels: Tensor


class FeatureMethod(Method):
    """Base of methods that train a head on the frozen features of the run they start from.

    The engine feeds them the features which that run saved, instead of images, so that a run takes seconds; the
    backbone comes along for everything that later starts from images. Image augmentation has no part in it.
    """

    starts_from = "plain"
    search_space: ClassVar[dict[str, str]] = {"train.lr.classifier": "0.01:1:log"}

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.backbone = build_backbone(setup.backbone)

    def prepare_features(self, train: FeatureSet, val: FeatureSet) -> None:
        """Look at both splits once, after the ancestor's weights are in and before the first step."""

    @abstractmethod
    def feature_loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Named scalar terms whose sum is minimised; features (B, D), labels (B,) int64."""
        raise NotImplementedError

    @abstractmethod
    def score_features(self, features: Tensor) -> Scores:
        """Scores of features (B, D)."""
        raise NotImplementedError

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``feature_loss`` of the images' features, which take no gradient."""
        with torch.no_grad():
            features = self.backbone(images)
        return self.feature_loss(features.float(), labels)

    def forward(self, images: Tensor) -> Scores:
        return self.score_features(self.backbone(images).float())
