"""The contract of backbones, one file each in this folder; docs/adding-a-backbone.md explains how to add one.

A backbone turns images into a feature map. What follows the map, and how saved features of a frozen network replace
it, is the same for all and is defined here.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from oltr_cli.base.added_code import defined_at
from oltr_cli.errors import OltrError, UsageProblem
from oltr_cli.recipe.backbones import BACKBONES, OF_SOME, check_keys
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.runs.made_with import hint

Given = Literal["images", "maps", "pooled"]
NARROW = 16  # channels of the first stage, below which everything is computed in contiguous layout


class Backbone(nn.Module):
    """Base of all backbones: images (B, 3, H, W) to pooled features (B, D).

    A subclass builds its layers in ``__init__(spec)``, after ``super().__init__(spec)``, sets ``map_channels``, and
    defines ``compute_map`` and ``map_size``. Class attributes are read from the file's text: write them as literals.

    One whose feature is not the mean over the cells of its map also defines ``reduce``, ``compute_pooled`` and
    ``pooled_channels``.

    Class attributes:
        names: its names in recipes, if not the file's name; if there are several, ``spec.name`` says which. "x/NAME"
            stands for every name that begins with "x/".
        source: paper that introduced it.
        keys: which of the recipe's stem, width and final_relu it uses; others must keep their defaults.
        torchvision: name → file of torchvision's weights for it, for ``backbone.weights = "torchvision"``.

    Attributes:
        heads: beginnings of the names that its classifier, which it leaves out, has in files of weights.
        map_channels: C, channels of the feature map.
        inputs: what is currently passed as images; see ``taking``.
        gather: see ``gathering``.
        extra_fc: the layer after the pooling, if any; see ``build_backbone``.
    """

    names: ClassVar[tuple[str, ...]]
    source: ClassVar[str] = ""
    keys: ClassVar[tuple[str, ...]] = ()
    torchvision: ClassVar[dict[str, str]] = {}

    heads: tuple[str, ...] = ()
    map_channels: int

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        self.inputs: Given = "images"
        self.gather: Callable[[Tensor], Tensor] | None = None
        self.extra_fc: nn.Linear | None = None
        # Kernels of torch for CPUs have crashed on very narrow networks in channels_last.
        self.contiguous = spec.width < NARROW
        self.fc_relu = spec.final_relu or not spec.fc

    @abstractmethod
    def compute_map(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the feature map (B, C, h, w), with (h, w) = ``map_size``."""
        raise NotImplementedError

    @abstractmethod
    def map_size(self, image_size: int) -> tuple[int, int]:
        """(h, w) of the feature map of square images, by arithmetic."""
        raise NotImplementedError

    def reduce(self, feature_map: Tensor) -> Tensor:
        """The mean over the cells of a map (B, C, h, w): (B, C)."""
        return F.adaptive_avg_pool2d(feature_map, 1).flatten(1)

    def compute_pooled(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to features (B, C) before the extra fc."""
        return self.reduce(self.feature_map(images))

    def check_image_size(self, image_size: int) -> None:
        """Refuse, with a UsageProblem, square images of a size that the network does not take."""

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Its parameters by layer from the input to the output, without the extra fc.

        For ``train.layer_decay`` and ``train.freeze`` of some blocks.
        """
        raise UsageProblem(
            f"{type(self).__name__} does not define layer_groups(), which train.layer_decay and train.freeze = N "
            "blocks need; leave them out"
        )

    def undecayed(self) -> list[nn.Parameter]:
        """Those that ``train.decay_norms = false`` exempts from weight decay besides norms and biases."""
        return []

    def weight_entries(self) -> dict[str, Tensor]:
        """Its parameters and buffers by the names that they have in files of weights."""
        return dict(self.state_dict())

    def from_other_names(self, entries: dict[str, Tensor]) -> dict[str, Tensor]:
        """The entries of a file with other names under those of ``weight_entries``, where it knows how."""
        return entries

    @property
    def pooled_channels(self) -> int:
        """Length of the feature before the extra fc."""
        return self.map_channels

    @property
    def feature_dim(self) -> int:
        """D, length of the pooled feature."""
        return self.pooled_channels if self.extra_fc is None else self.extra_fc.out_features

    def feature_map(self, images: Tensor) -> Tensor:
        """The feature map (B, C, h, w) of images (B, 3, H, W); maps computed before are returned unchanged."""
        if self.inputs == "maps":
            return images
        if self.inputs == "pooled":
            raise RuntimeError("only pooled features were saved: the method's needs_map must be true")
        feature_map = self.compute_map(images.contiguous() if self.contiguous else images)
        self._check_map(feature_map, images)
        return feature_map if self.gather is None else self.gather(feature_map)

    def _check_map(self, feature_map: object, images: Tensor) -> None:
        """Refuse a map of another shape than the class states: it would fail later, in code that is not to blame."""
        if not isinstance(feature_map, Tensor) or feature_map.ndim != 4 or feature_map.shape[1] != self.map_channels:
            shape = tuple(feature_map.shape) if isinstance(feature_map, Tensor) else None
            found = f"a map of shape {shape}" if shape else f"a {type(feature_map).__name__}"
            raise OltrError(f"{defined_at(self.compute_map)}: returns {found}, not (B, {self.map_channels}, h, w)")
        height, width = images.shape[2:]
        if height == width and (size := self.map_size(height)) != tuple(feature_map.shape[2:]):
            raise OltrError(
                f"{defined_at(self.map_size)}: returns {size} for images of {height} pixels, and the map has "
                f"{tuple(feature_map.shape[2:])}"
            )

    def pool(self, feature_map: Tensor) -> Tensor:
        """A map (B, C, h, w) reduced to its feature, then the extra fc and its ReLU, if any: (B, D)."""
        return self._after_pooling(self.reduce(feature_map))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to pooled features (B, D)."""
        if self.inputs == "images":
            return self._after_pooling(self.pooled(images))
        return self._after_pooling(images.flatten(1) if self.inputs == "pooled" else self.reduce(images))

    def pooled(self, images: Tensor) -> Tensor:
        """``compute_pooled``, gathered once inside of ``gathering``."""
        gather = self.gather
        with self.gathering(None):  # less is gathered of what is pooled
            pooled = self.compute_pooled(images)
        return pooled if gather is None else gather(pooled)

    def _after_pooling(self, v: Tensor) -> Tensor:
        if self.extra_fc is not None:
            v = self.extra_fc(v)
            v = F.relu(v) if self.fc_relu else v
        return v

    @contextmanager
    def taking(self, inputs: Given) -> Iterator[None]:
        """Inside this context, inputs are not images but what was computed of them: maps (B, C, h, w), or features
        before the extra fc (B, C, 1, 1)."""
        before, self.inputs = self.inputs, inputs
        try:
            yield
        finally:
            self.inputs = before

    @contextmanager
    def gathering(self, gather: Callable[[Tensor], Tensor] | None) -> Iterator[None]:
        """Inside this context, ``gather`` is called with what is computed of images, maps or features before the
        extra fc, and its result is used: images are one process's share of a batch."""
        before, self.gather = self.gather, gather
        try:
            yield
        finally:
            self.gather = before


def load_backbone(spec: BackboneSpec) -> type[Backbone]:
    """Import the class that ``spec`` names.

    Raises:
        UsageProblem: there is no such backbone, its file cannot be imported or is incomplete, or ``spec`` sets a key
            that it does not use.
    """
    cls = BACKBONES.load(spec.name, hint)
    if not issubclass(cls, Backbone):
        raise UsageProblem(f"backbone '{spec.name}': {cls.__name__} does not derive from Backbone")
    BACKBONES.check_complete(spec.name, cls)
    if not isinstance(cls.keys, tuple | list) or not set(cls.keys) <= set(OF_SOME):
        raise BACKBONES.refuse(spec.name, f"keys is {cls.keys!r}, not a tuple of some of {', '.join(OF_SOME)}")
    if not isinstance(cls.torchvision, dict):
        raise BACKBONES.refuse(spec.name, f"torchvision is {cls.torchvision!r}, not a dict of name to file")
    check_keys(spec, cls.keys)
    return cls


def build_backbone(spec: BackboneSpec, *, extra_fc: bool = False) -> Backbone:
    """The network that ``spec`` names, with random weights from torch's generator.

    With ``extra_fc`` a Linear(C, C) and a ReLU follow the pooling, as in stage 2 of the authors' ImageNet-LT recipe
    (512 to 512). With ``spec.fc`` a Linear(C, D) follows in every method and stage, as in their Places-LT recipe (2048
    to 512); it is the same layer, so ``extra_fc`` then adds nothing, and stage 2 inherits it.

    ``spec.weights`` is not read here but by ``oltr_cli.networks.weights.load_weights``, when a run starts.

    Raises:
        UsageProblem: see ``load_backbone``.
    """
    backbone = load_backbone(spec)(spec)
    if not isinstance(getattr(backbone, "map_channels", None), int):
        raise UsageProblem(f"backbone '{spec.name}': {type(backbone).__name__}.__init__ does not set map_channels")
    if extra_fc or spec.fc:
        backbone.extra_fc = nn.Linear(backbone.pooled_channels, spec.fc or backbone.pooled_channels)
    return backbone
