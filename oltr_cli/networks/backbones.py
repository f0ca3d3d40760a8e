"""ResNet backbones out of torchvision's blocks: feature map and pooled feature, no classifier.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, Table 1, in torchvision's variant (the
stride of a bottleneck sits in its 3x3 convolution). ResNet-10 is one basic block a stage, [1, 1, 1, 1], as in the
long-tailed recognition literature. Submodules carry torchvision's names, so its state dicts load by name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

from oltr_cli.recipe.specs import BackboneSpec


class _OpenBasicBlock(BasicBlock):
    """torchvision's basic block without the ReLU behind the addition."""

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(out)) + identity


class _OpenBottleneck(Bottleneck):
    """torchvision's bottleneck without the ReLU behind the addition."""

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out)) + identity


Given = Literal["images", "maps", "pooled"]
_Block = Any  # a class of torchvision's, which is untyped to mypy

# name: the block, the same without its last ReLU, blocks in each of the four stages
_LAYOUTS: dict[str, tuple[_Block, _Block, tuple[int, int, int, int]]] = {
    "resnet10": (BasicBlock, _OpenBasicBlock, (1, 1, 1, 1)),
    "resnet18": (BasicBlock, _OpenBasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, _OpenBasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, _OpenBottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, _OpenBottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, _OpenBottleneck, (3, 8, 36, 3)),
}


class Backbone(nn.Module):
    """Images (B, 3, H, W) to pooled features (B, D).

    Attributes:
        map_channels: C, channels of the feature map.
        feature_dim: D, length of the pooled feature; C, or what ``spec.fc`` says.
        stride: pixels of the image to a cell of the feature map, along each side.

    With ``extra_fc`` a Linear(C, C) and a ReLU follow the pooling, as in stage 2 of the authors' ImageNet-LT recipe
    (512 to 512). With ``spec.fc`` a Linear(C, D) does in every method and stage, as in their Places-LT recipe (2048 to
    512); it is the same layer, so ``extra_fc`` then adds nothing, and stage 2 inherits it.
    """

    def __init__(self, spec: BackboneSpec, *, extra_fc: bool = False) -> None:
        super().__init__()
        block, open_block, depths = _LAYOUTS[spec.name]
        if spec.stem == "imagenet":
            self.conv1 = nn.Conv2d(3, spec.width, kernel_size=7, stride=2, padding=3, bias=False)
        else:
            stride = 2 if spec.stem == "small-stride2" else 1
            self.conv1 = nn.Conv2d(3, spec.width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(spec.width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if spec.stem == "imagenet" else nn.Identity()
        # The last ReLU is that of the fc where the recipe has one.
        last = block if spec.final_relu or spec.fc else open_block
        self.fc_relu = spec.final_relu or not spec.fc
        w, deep = spec.width, int(block.expansion)
        self.layer1 = _stage([block] * depths[0], w, w, stride=1)
        self.layer2 = _stage([block] * depths[1], w * deep, 2 * w, stride=2)
        self.layer3 = _stage([block] * depths[2], 2 * w * deep, 4 * w, stride=2)
        self.layer4 = _stage([block] * (depths[3] - 1) + [last], 4 * w * deep, 8 * w, stride=2)
        self.map_channels = 8 * w * deep
        self.feature_dim = spec.fc or self.map_channels
        self.inputs: Given = "images"
        self.stride = 8 * {"imagenet": 4, "small": 1, "small-stride2": 2}[spec.stem]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.extra_fc = nn.Linear(self.map_channels, self.feature_dim) if extra_fc or spec.fc else None

    def feature_map(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the last stage's map (B, C, h, w), with (h, w) = ``map_size``."""
        if self.inputs == "maps":
            return images
        if self.inputs == "pooled":
            raise RuntimeError("only pooled features were kept: the method's needs_map must be true")
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def pool(self, feature_map: Tensor) -> Tensor:
        """Average over the cells of a map (B, C, h, w), then the extra fc and its ReLU where there is one: (B, D)."""
        v = F.adaptive_avg_pool2d(feature_map, 1).flatten(1)
        if self.extra_fc is not None:
            v = self.extra_fc(v)
            v = F.relu(v) if self.fc_relu else v
        return v

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to pooled features (B, D)."""
        return self.pool(images if self.inputs == "pooled" else self.feature_map(images))

    @contextmanager
    def taking(self, inputs: Given) -> Iterator[None]:
        """While entered, what is passed as images was computed before: maps (B, C, h, w), or means (B, C, 1, 1)."""
        before, self.inputs = self.inputs, inputs
        try:
            yield
        finally:
            self.inputs = before

    def map_size(self, image_size: int) -> tuple[int, int]:
        """(h, w) of the feature map of square images, by arithmetic.

        Every layer with stride 2 has an odd kernel k and padding (k - 1) / 2, so each halves rounding up, and
        ceilings of ceilings are one ceiling.
        """
        side = -(-image_size // self.stride)
        return side, side


def build_backbone(spec: BackboneSpec, *, extra_fc: bool = False) -> Backbone:
    """The network that ``spec`` names, with random weights (torch's generator; He's fan-out rule for convolutions).

    ``spec.weights`` is not read here: ``oltr_cli.networks.weights.load_weights`` does, once a run really starts.
    """
    return Backbone(spec, extra_fc=extra_fc)


def _stage(blocks: list[_Block], channels_in: int, planes: int, *, stride: int) -> nn.Sequential:
    """Blocks in a row; the first has the stride and, where shapes change, a 1x1 convolution on its shortcut."""
    channels = planes * blocks[0].expansion
    shortcut = None
    if stride != 1 or channels_in != channels:
        shortcut = nn.Sequential(conv1x1(channels_in, channels, stride), nn.BatchNorm2d(channels))
    first = blocks[0](channels_in, planes, stride, shortcut)
    return nn.Sequential(first, *(block(channels, planes) for block in blocks[1:]))
