"""He's three-stage ResNets for images of 32 pixels, on which CIFAR-100-LT is measured (ResNet-32).

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, Sec. 4.2: 6n + 2 layers, 16, 32 and 64
channels, stride 2 between stages, and shortcuts without parameters (option A: every second cell, and zeros for the new
channels). Weights are initialised as in He et al. 2015. The last block ends with its ReLU.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from oltr_cli.networks.backbones import Backbone
from oltr_cli.recipe.specs import BackboneSpec

_CHANNELS = (16, 32, 64)


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.stride, self.new = (1, 0) if before == after else (2, after - before)
        self.conv1 = nn.Conv2d(before, after, 3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.new:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return F.relu(out + x)


class ResNetCIFAR(Backbone):
    """ResNets of 20 to 110 layers."""

    names = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
    source = "He et al., CVPR 2016"
    keys: ClassVar[tuple[str, ...]] = ()

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__(spec)
        blocks = (int(spec.name.removeprefix("resnet")) - 2) // 6
        self.conv1 = nn.Conv2d(3, _CHANNELS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_CHANNELS[0])
        before = [_CHANNELS[0], *_CHANNELS[:-1]]
        self.layers = nn.Sequential(
            *(
                _Block(first if number == 0 else channels, channels)
                for first, channels in zip(before, _CHANNELS, strict=True)
                for number in range(blocks)
            )
        )
        self.map_channels = _CHANNELS[-1]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def compute_map(self, images: Tensor) -> Tensor:
        return self.layers(F.relu(self.bn1(self.conv1(images))))

    def map_size(self, image_size: int) -> tuple[int, int]:
        side = -(-image_size // 4)  # two strides of 2, each rounding up
        return side, side

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The stem and the three stages."""
        stem, blocks = [*self.conv1.parameters(), *self.bn1.parameters()], len(self.layers) // len(_CHANNELS)
        starts = range(0, len(self.layers), blocks)
        return [stem, *(list(self.layers[start : start + blocks].parameters()) for start in starts)]
