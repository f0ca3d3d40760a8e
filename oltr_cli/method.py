"""The contract that every file in methods/ fulfils.

A method is an ``nn.Module`` with a loss for training and scores for everything after it. It is built from a ``Setup``,
starts from the weights of the run named by ``starts_from``, may look at the training set once in ``prepare``, and
tells the engine which of its parameters share a learning rate in ``parts``. docs/adding-a-method.md walks through one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor, nn

from oltr_cli.backbone_spec import BackboneSpec
from oltr_cli.backbones import Backbone
from oltr_cli.params import MethodParams


@dataclass(frozen=True)
class Setup:
    """All that a method may know when it is built.

    Attributes:
        backbone: which network to build with ``build_backbone``.
        image_size: side of the square images in pixels.
        class_counts: training images of each of the K classes, by label.
        params: an instance of the method's own ``Params``.
    """

    backbone: BackboneSpec
    image_size: int
    class_counts: tuple[int, ...]
    params: MethodParams

    @property
    def num_classes(self) -> int:
        """K, the number of known classes."""
        return len(self.class_counts)


@dataclass(frozen=True)
class Scores:
    """What a method says about a batch: logits (B, K), confidence (B,) that it is a known class, features (B, D)."""

    logits: Tensor
    confidence: Tensor
    features: Tensor

    @classmethod
    def from_logits(cls, logits: Tensor, features: Tensor) -> "Scores":
        """Confidence = the largest softmax probability, the paper's rule for all rows but OpenMax."""
        logits = logits.float()
        return cls(logits, logits.softmax(dim=1).amax(dim=1), features)


class TrainingData(Protocol):
    """The training set as ``prepare`` sees it: evaluation transform, fixed order, already on the model's device."""

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, 3, H, W) and labels (B,), every training image once."""
        ...


class Method(nn.Module):
    """Base of all trained methods.

    Class attributes:
        starts_from: the method whose finished run gives the first weights, or None to start from nothing.
        family: heading under which ``oltr ls methods`` lists it.
        source: paper that introduced it.
        renames: prefixes of the ancestor's parameters that go by another name here.
    """

    starts_from: ClassVar[str | None] = None
    family: ClassVar[str] = ""
    source: ClassVar[str] = ""
    renames: ClassVar[dict[str, str]] = {}

    class Params(MethodParams):
        """None of its own."""

    backbone: Backbone

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.setup = setup

    def prepare(self, data: TrainingData) -> None:
        """Look at the training set once, after the ancestor's weights are in and before the first step."""

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Named scalar terms whose sum is minimised; images (B, 3, H, W) normalised, labels (B,) int64."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Scores:
        """Scores of a batch of normalised images (B, 3, H, W)."""
        raise NotImplementedError

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by part; the recipe's ``train.lr`` gives each part its rate. Every parameter in exactly one."""
        inside = {id(p) for p in self.backbone.parameters()}
        return {
            "features": list(self.backbone.parameters()),
            "classifier": [p for p in self.parameters() if id(p) not in inside],
        }
