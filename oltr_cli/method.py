"""The contract that every file in methods/ fulfils.

A method is an ``nn.Module`` with a loss for training and scores for everything after it. It is built from a ``Setup``,
starts from the weights of the run named by ``starts_from``, may look at the training set once in ``prepare``, and tells
the engine in ``parts`` which of its parameters share a learning rate. docs/adding-a-method.md explains how to add one.
A ``LinearMethod`` has plain's network and only needs a loss; a ``FeatureMethod`` keeps its backbone unchanged. Methods
that need no training at all are a ``Detector`` (oltr_cli/detector.py).
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol

import torch
from torch import Tensor, nn

from oltr_cli.networks.backbones import Backbone, build_backbone
from oltr_cli.networks.layers import full_precision
from oltr_cli.recipe.specs import BackboneSpec, MethodParams, P


@dataclass(frozen=True)
class Setup(Generic[P]):
    """All that a method knows when it is built; ``Setup[Params]`` tells type checkers the type of ``params``.

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
    """A method's output for a batch: logits (B, K), confidence (B,) that the class is known, features (B, D).

    ``embedding`` (B, E) distinguishes identities (``oltr_cli.protocol.identification``); None to use the features.
    """

    logits: Tensor
    confidence: Tensor
    features: Tensor
    embedding: Tensor | None = None

    @classmethod
    def from_logits(cls, logits: Tensor, features: Tensor, embedding: Tensor | None = None) -> "Scores":
        """Confidence = the largest softmax probability, the paper's rule for all rows but OpenMax."""
        logits = full_precision(logits)
        return cls(logits, logits.softmax(dim=1).amax(dim=1), features, embedding)


@dataclass(frozen=True)
class Explanation:
    """An explanation of the scores of a batch, with n classes for each sample, the most important first.

    Attributes:
        nearest: labels (B, n) of the class centroids nearest to the feature, ``distances`` (B, n) their distances.
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
        trains_from_scratch: whether it can also train from nothing with the recipe's [stage1], as its paper trains it
            (``train.from_scratch``): it needs nothing that only a trained network has, such as class means.
        mixes: whether images may be mixed (``train.mixup``, ``train.cutmix``), which computes the loss of mixed images
            for two sets of labels: each term of ``training_loss`` is a mean over images, weighted or not, of what an
            image and its label say, and computing it draws no random number and changes nothing.
        renames: prefixes of the ancestor's parameters that have another name here.
        uses_outliers: True for a method that trains on the images of open_train.txt too: ``training_loss`` gets them in
            each batch, with the label −1.
        adapts_blocks: True for a method that trains adapters in the blocks of a transformer and keeps its weights:
            it needs a pre-trained one, and ``train.freeze_backbone``, which reads no image, is refused.
        trains: False for a method whose ``prepare`` does everything; its run takes no step and has no epochs.
        train_defaults: the method's defaults for the recipe's [train], such as {"sampler": "instance"}; they override
            the recipe's [stage1] and [stage2], and its [method.NAME] overrides them.
        search_space: key of the recipe → what ``oltr tune`` tries for it, LOW:HIGH or LOW:HIGH:log
            (oltr_cli/tuning/space.py).
        no_new_class: why ``oltr add-class`` cannot add a class to its runs; "" if it can, which takes
            ``score_features``.

    Attributes:
        progress: fraction of the run's steps that are done, 0 … 1; the engine sets it before each step, for losses
            that follow a schedule.
    """

    starts_from: ClassVar[str | None] = None
    family: ClassVar[str] = ""
    source: ClassVar[str] = ""
    renames: ClassVar[dict[str, str]] = {}
    uses_outliers: ClassVar[bool] = False
    adapts_blocks: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    trains_from_scratch: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    no_new_class: ClassVar[str] = "it does not say how its scores follow from its features (score_features)"
    train_defaults: ClassVar[dict[str, Any]] = {}
    search_space: ClassVar[dict[str, str]] = {
        "train.lr.features": "0.001:0.5:log",
        "train.lr.classifier": "0.01:0.5:log",
    }

    class Params(MethodParams):
        """None of its own."""

    setup: Setup  # a method that defines ``Params`` declares ``setup: Setup[Params]`` below them
    backbone: Backbone

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.setup = setup
        self.progress = 0.0

    def prepare(self, data: TrainingData) -> None:
        """Look at the training set once, after the ancestor's weights are loaded and before the first step."""

    def end_epoch(self, data: TrainingData) -> None:
        """Change weights after the last step of an epoch, before it is validated and saved; without gradient.

        Only parameters and registered buffers may change: those are saved, so that a resumed run goes on from them.
        ``data`` is that of ``prepare``; a method on features gets features (B, D) in the place of images.
        """

    @abstractmethod
    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Named scalar terms whose sum is minimised; images (B, 3, H, W) normalised, labels (B,) int64.

        With ``uses_outliers`` some labels are −1, anywhere in the batch.
        """
        raise NotImplementedError

    @abstractmethod
    def forward(self, images: Tensor) -> Scores:
        """Scores of a batch of normalised images (B, 3, H, W)."""
        raise NotImplementedError

    def score_features(self, features: Tensor) -> Scores:
        """Scores of ``features`` (B, D) as in ``Scores``, the same as ``forward`` gives for their images.

        ``oltr add-class`` rescores saved features with it; a method whose ``no_new_class`` is not "" need not have it.
        """
        raise NotImplementedError

    def class_entries(self, features: Tensor) -> dict[str, Tensor]:
        """What its state has for a class with the training images of ``features`` (n, D), where that is known exactly.

        For ``oltr add-class``: name in ``state_dict`` → the class's entry, without the axis of classes. A row of a
        classifier is not among them: it is made of ``embedding`` (oltr_cli/training/imprint.py).
        """
        return {}

    def params_for_more_classes(self) -> MethodParams:
        """Its parameters for a network of the same shape with one more class; what is left to the number of classes is
        set to what it is here."""
        return self.setup.params

    def explain(self, features: Tensor, classes: int) -> Explanation | None:
        """An explanation of the scores of ``features`` (B, D) as in ``Scores``, with up to ``classes`` classes each.

        For ``oltr predict --explain``; a method without centroids does not override it.
        """
        return None

    @property
    def needs_map(self) -> bool:
        """Whether it uses the cells of the feature map, not only ``backbone(images)``.

        Determines what is saved of each image if the backbone is frozen (oltr_cli/training/frozen.py).
        """
        return True

    def embedding(self, features: Tensor) -> Tensor:
        """The inputs of the classifier for ``features`` (B, D) as in ``Scores``; by default the features themselves.

        For figures of the feature space; a method whose classifier has other inputs overrides it.
        """
        return features

    def infusion(self, features: Tensor) -> Tensor | None:
        """What a memory adds to ``features`` (B, D) as in ``Scores``, of their shape; None without a memory."""
        return None

    def linear_head(self) -> tuple[Tensor, Tensor] | None:
        """W (K, D) and b (K,) if logits = W h + b for the features h (B, D) of ``Scores``, for detectors; else None.

        A detector that uses them first checks them against saved scores.
        """
        return None

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by part, each in exactly one; the recipe's ``train.lr`` gives each part its learning rate."""
        inside = {id(p) for p in self.backbone.parameters()}
        return {
            "features": list(self.backbone.parameters()),
            "classifier": [p for p in self.parameters() if id(p) not in inside],
        }


class LinearMethod(Method):
    """Base of methods on plain's network: backbone, pooled feature v (B, D), linear classifier (K, D).

    One with other scores overrides ``score_features``.
    """

    no_new_class = ""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.backbone = build_backbone(setup.backbone)
        self.classifier = nn.Linear(self.backbone.feature_dim, setup.num_classes)

    @property
    def needs_map(self) -> bool:
        return False

    def score_features(self, features: Tensor) -> Scores:
        return Scores.from_logits(self.classifier(features), features)

    def forward(self, images: Tensor) -> Scores:
        return self.score_features(self.backbone(images))

    def linear_head(self) -> tuple[Tensor, Tensor] | None:
        """Its classifier; a method with other scores overrides it if they are linear too."""
        return self.classifier.weight, self.classifier.bias


@dataclass(frozen=True)
class FeatureSet:
    """Pooled features (N, D) of one split, in torch's default precision on the model's device, labels (N,) int64."""

    features: Tensor
    labels: Tensor


class FeatureMethod(Method):
    """Base of methods that train a head on the frozen features of the run they start from.

    The engine feeds them the features which that run saved, instead of images, so that a run takes seconds; the
    backbone is part of it for everything that later starts from images. Images are not augmented.
    """

    starts_from = "plain"
    no_new_class = ""
    search_space: ClassVar[dict[str, str]] = {"train.lr.classifier": "0.01:1:log"}

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.backbone = build_backbone(setup.backbone)

    @property
    def needs_map(self) -> bool:
        return False

    def prepare_features(self, train: FeatureSet, val: FeatureSet) -> None:
        """Look at both splits once, after the ancestor's weights are loaded and before the first step."""

    @abstractmethod
    def feature_loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Named scalar terms whose sum is minimised; features (B, D), labels (B,) int64."""
        raise NotImplementedError

    @abstractmethod
    def score_features(self, features: Tensor) -> Scores:
        """Scores of features (B, D)."""
        raise NotImplementedError

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``feature_loss`` of the images' features, without gradient for the backbone."""
        with torch.no_grad():
            features = self.backbone(images)
        return self.feature_loss(full_precision(features), labels)

    def forward(self, images: Tensor) -> Scores:
        return self.score_features(full_precision(self.backbone(images)))

    @torch.no_grad()
    def linear_head(self) -> tuple[Tensor, Tensor] | None:
        """The linear map that ``score_features`` is if it is one: its values at 0 and at the unit vectors."""
        size = self.backbone.feature_dim
        probes = torch.eye(size + 1, size, device=next(self.backbone.parameters()).device)  # the last one is 0
        logits = self.score_features(probes).logits
        return (logits[:-1] - logits[-1]).T, logits[-1]
