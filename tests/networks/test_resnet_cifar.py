"""He's ResNets for 32 pixels: their published numbers of parameters, and the shortcut without any."""

import pytest
import torch

from oltr_cli.networks.backbones import build_backbone
from oltr_cli.networks.backbones.resnet_cifar import _Block
from oltr_cli.recipe.specs import BackboneSpec


@pytest.mark.parametrize(
    ("name", "published"), [("resnet20", 269_722), ("resnet32", 464_154), ("resnet44", 658_586), ("resnet56", 853_018)]
)
def test_as_many_parameters_as_published(name, published):
    """Of the option A networks with a classifier of ten classes."""
    backbone = build_backbone(BackboneSpec(name=name))
    assert sum(p.numel() for p in backbone.parameters()) + 64 * 10 + 10 == published
    assert sum(isinstance(m, torch.nn.Conv2d) for m in backbone.modules()) + 1 == int(name.removeprefix("resnet"))


@pytest.mark.parametrize("side", [32, 33])
def test_map_and_features(side):
    backbone = build_backbone(BackboneSpec(name="resnet20")).eval()
    images = torch.randn(2, 3, side, side)
    found = backbone.feature_map(images)
    assert found.shape == (2, 64, *backbone.map_size(side))
    torch.testing.assert_close(backbone(images), found.mean((2, 3)))


def test_the_shortcut_keeps_every_second_cell_and_pads_channels():
    block = _Block(16, 32).eval()
    for convolution in (block.conv1, block.conv2):
        torch.nn.init.zeros_(convolution.weight)
    x = torch.rand(1, 16, 8, 8)
    out = block(x)
    torch.testing.assert_close(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()
