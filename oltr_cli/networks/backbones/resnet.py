"""ResNets made of torchvision's blocks.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, Table 1, in torchvision's variant (the
stride of a bottleneck is in its 3x3 convolution). ResNet-10 has one basic block per stage, [1, 1, 1, 1], as in the
long-tailed recognition literature. Submodules have torchvision's names, so its state dicts load by name.
"""

from typing import Any, ClassVar

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

from oltr_cli.networks.backbones import Backbone
from oltr_cli.recipe.specs import BackboneSpec


class _OpenBasicBlock(BasicBlock):
    """torchvision's basic block without the ReLU after the addition."""

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(out)) + identity


class _OpenBottleneck(Bottleneck):
    """torchvision's bottleneck without the ReLU after the addition."""

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out)) + identity


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


class ResNet(Backbone):
    """ResNets of six depths; convolutions are initialised by He's fan-out rule.

    Attributes:
        stride: pixels of the image per cell of the feature map, along each side.
    """

    names = ("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
    source = "He et al., CVPR 2016"
    keys = ("stem", "width", "final_relu")
    # The first published weights of each (IMAGENET1K_V1, trained as in He et al. 2016), with which the literature on
    # long tails starts.
    torchvision: ClassVar[dict[str, str]] = {
        "resnet18": "resnet18-f37072fd.pth",
        "resnet34": "resnet34-b627a593.pth",
        "resnet50": "resnet50-0676ba61.pth",
        "resnet101": "resnet101-63fe2227.pth",
        "resnet152": "resnet152-394f9c45.pth",
    }

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__(spec)
        block, open_block, depths = _LAYOUTS[spec.name]
        if spec.stem == "imagenet":
            self.conv1 = nn.Conv2d(3, spec.width, kernel_size=7, stride=2, padding=3, bias=False)
        else:
            stride = 2 if spec.stem == "small-stride2" else 1
            self.conv1 = nn.Conv2d(3, spec.width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(spec.width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if spec.stem == "imagenet" else nn.Identity()
        # The last ReLU is that of the fc, if the recipe has one.
        last = block if spec.final_relu or spec.fc else open_block
        w, deep = spec.width, int(block.expansion)
        self.layer1 = _stage([block] * depths[0], w, w, stride=1)
        self.layer2 = _stage([block] * depths[1], w * deep, 2 * w, stride=2)
        self.layer3 = _stage([block] * depths[2], 2 * w * deep, 4 * w, stride=2)
        self.layer4 = _stage([block] * (depths[3] - 1) + [last], 4 * w * deep, 8 * w, stride=2)
        self.map_channels = 8 * w * deep
        self.stride = 8 * {"imagenet": 4, "small": 1, "small-stride2": 2}[spec.stem]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def compute_map(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def map_size(self, image_size: int) -> tuple[int, int]:
        # Every layer with stride 2 has an odd kernel k and padding (k - 1) / 2, so each halves rounding up, and
        # ceilings of ceilings are one ceiling.
        side = -(-image_size // self.stride)
        return side, side

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The stem and the four stages."""
        stem = [*self.conv1.parameters(), *self.bn1.parameters()]
        return [stem, *(list(stage.parameters()) for stage in (self.layer1, self.layer2, self.layer3, self.layer4))]


def _stage(blocks: list[_Block], channels_in: int, planes: int, *, stride: int) -> nn.Sequential:
    """A sequence of blocks; the first has the stride and, if shapes change, a 1x1 convolution on its shortcut."""
    channels = planes * blocks[0].expansion
    shortcut = None
    if stride != 1 or channels_in != channels:
        shortcut = nn.Sequential(conv1x1(channels_in, channels, stride), nn.BatchNorm2d(channels))
    first = blocks[0](channels_in, planes, stride, shortcut)
    return nn.Sequential(first, *(block(channels, planes) for block in blocks[1:]))
