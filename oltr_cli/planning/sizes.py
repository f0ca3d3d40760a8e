"""What an estimate is made of: the sizes of a dataset and of a network, a rate, and what one run still costs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from oltr_cli.protocol.open_sets import is_open_set
from oltr_cli.runs.folder import Run

SCORED = ("val", "test", "open", "open_val")  # and further open sets

Feeds = Literal["images", "features", "frozen"]  # images; features that the run before saved; a frozen backbone's


def feeds(on_features: bool, freeze_backbone: bool) -> Feeds:
    """What a run is trained on, by its method and its recipe."""
    return "features" if on_features else "frozen" if freeze_backbone else "images"


@dataclass(frozen=True)
class SplitSize:
    """Images of a split, and the letters of the longest of their names, which are saved with the scores."""

    images: int
    letters: int


@dataclass(frozen=True)
class DatasetSize:
    """Classes, and the size of each split by name."""

    classes: int
    splits: Mapping[str, SplitSize]

    def scored(self) -> list[str]:
        """The splits that a run is scored on."""
        return [name for name in (*SCORED, *filter(is_open_set, self.splits)) if name in self.splits]

    def images(self, *names: str) -> int:
        """Images of these splits together."""
        return sum(self.splits[name].images for name in names)


@dataclass(frozen=True)
class NetworkSize:
    """What the estimate has to know of a method's network.

    Attributes:
        best: bytes and number of the tensors that best.pt holds; ``last``: those of the weights in last.pt.
        trained: bytes and number of the parameters that the optimizer changes.
        features: D, length of the feature that is saved of each image.
        kept: values that a frozen backbone keeps of each image: C · h · w of maps, else of the pooled feature.
        maps: whether that are maps, of which only training and validation images are kept.
        looks_first, looks_again: whether it looks at the training set before the first step, and after each epoch.
    """

    best: tuple[int, int]
    last: tuple[int, int]
    trained: tuple[int, int]
    features: int
    kept: int
    maps: bool
    looks_first: bool
    looks_again: bool


@dataclass(frozen=True)
class DetectorNeeds:
    """What a detector reads besides the scores of the run under it.

    Attributes:
        train: the scores of the training set.
        candidates: how many settings of it are tried on the open validation samples; ``network``: whether it runs the
            network on every image.
    """

    train: bool
    network: bool
    candidates: int = 0


@dataclass(frozen=True)
class Estimate:
    """What one run still costs.

    Attributes:
        run, status: as ``Run.status`` says; nothing of a finished run is left.
        feed: what its steps are trained on.
        steps: that are left; ``images``: images, or features of images, in the batches of these steps.
        scored: images that the network sees without learning: validation, looks at the training set, the final scores.
        disk: bytes by kind, of the whole run; ``there``: bytes of it that are on the disk already.
        passing: bytes that are needed in addition while a checkpoint is written.
    """

    run: Run
    status: str
    feed: Feeds = "images"
    steps: int = 0
    images: int = 0
    scored: int = 0
    disk: Mapping[str, int] = field(default_factory=dict)
    there: int = 0
    passing: int = 0

    @property
    def more(self) -> int:
        """Bytes that are still to be written."""
        return max(0, sum(self.disk.values()) - self.there)


@dataclass(frozen=True)
class Rate:
    """Images per second in training steps and in scoring; None where it is not known.

    Attributes:
        source: where it is from, for people.
        heads: whether steps on saved features are counted, which read no image and take little.
    """

    train: float | None
    score: float | None
    source: str
    heads: bool = True


def seconds(estimate: Estimate, rate: Rate | None) -> float | None:
    """The time that a run takes at a rate; None if the rate of a part of its work is not known."""
    if rate is None:
        return None if estimate.images or estimate.scored else 0.0
    trained = estimate.images if rate.heads or estimate.feed == "images" else 0
    parts = [(count, speed) for count, speed in ((trained, rate.train), (estimate.scored, rate.score)) if count]
    return None if any(speed is None for _, speed in parts) else sum(count / speed for count, speed in parts if speed)
