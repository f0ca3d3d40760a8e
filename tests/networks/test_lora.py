"""LoRA: its formula in float64, the layers that get it, and the network that it becomes part of."""

import sys

import pytest
import torch

from oltr_cli.errors import OltrError, UsageProblem
from oltr_cli.networks import lora
from oltr_cli.networks.backbones import build_backbone
from oltr_cli.networks.lora import add_lora, attention_layers, merged_state
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.recipe.train import TrainSpec

pytest.importorskip("peft")
pytest.importorskip("timm")
VIT = "timm/test_vit"


def network(name=VIT, **keys):
    torch.manual_seed(0)
    return build_backbone(BackboneSpec(name=name, **keys))


def adapted(rank=3, alpha=None, size=32, **keys):
    """A backbone whose LoRA does something."""
    backbone = network(**keys)
    add_lora(backbone, VIT, TrainSpec(lora=rank, lora_alpha=alpha), size)
    torch.manual_seed(1)
    for name, parameter in backbone.named_parameters():
        if ".lora_B." in name:
            assert not parameter.any(), "it begins as nothing"
            torch.nn.init.normal_(parameter, std=0.2)
    return backbone


@pytest.mark.parametrize(("alpha", "scale"), [(None, 1.0), (6.0, 2.0)])
def test_a_layer_is_its_formula_in_float64(alpha, scale):
    layer = adapted(alpha=alpha).double().eval().model.blocks[0].attn.qkv
    x = torch.randn(2, 5, 64, dtype=torch.float64)
    (a,), (b,) = layer.lora_A.default.parameters(), layer.lora_B.default.parameters()
    assert (a.shape, b.shape) == ((3, 64), (192, 3))
    wanted = x @ layer.base_layer.weight.T + layer.base_layer.bias + scale * x @ a.T @ b.T
    torch.testing.assert_close(layer(x), wanted, rtol=1e-10, atol=1e-12)


def test_it_trains_what_it_adds_and_an_extra_fc_alone():
    backbone = adapted(fc=12)
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert {name for name in trained if ".lora_" not in name} == {"extra_fc.weight", "extra_fc.bias"}
    assert sum(".lora_" in name for name in trained) == 6 * 2 * 2  # blocks, layers, A and B


@torch.no_grad()
def test_merged_it_is_the_same_function_without_lora():
    backbone = adapted(rank=4, alpha=8.0).double().eval()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    before, plain = {name: value.clone() for name, value in backbone.state_dict().items()}, network().double().eval()
    merged = merged_state(backbone)
    assert not torch.allclose(plain(images), backbone(images)), "LoRA does nothing"
    assert {name: v.shape for name, v in merged.items()} == {name: v.shape for name, v in plain.state_dict().items()}
    plain.load_state_dict(merged)
    torch.testing.assert_close(plain(images), backbone(images), rtol=1e-8, atol=1e-10)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items()), "it was changed"


@pytest.mark.parametrize(
    ("name", "size", "layers"),
    [
        (VIT, 32, ["attn.qkv", "attn.proj"]),
        ("timm/vit_small_patch14_reg4_dinov2", 28, ["attn.qkv", "attn.proj"]),
        ("timm/beitv2_base_patch16_224", 224, ["attn.proj"]),  # its qkv is only looked up for its weight
    ],
)
def test_layers_are_those_that_the_model_calls(name, size, layers):
    backbone = network(name).train()
    found = attention_layers(backbone, size)
    assert list(dict.fromkeys(layer.split(".", 3)[3] for layer in found)) == layers
    assert len(found) == len(layers) * len(backbone.model.blocks)
    assert backbone.training
    assert not any(module._forward_hooks for module in backbone.modules())


@pytest.mark.parametrize("name", ["resnet10", "timm/test_efficientnet"])
def test_a_backbone_without_attention_is_refused_in_one_line(name):
    backbone = network(name)
    with pytest.raises(UsageProblem, match=rf"^train\.lora .*backbone '{name}' has none; use a transf") as caught:
        add_lora(backbone, name, TrainSpec(lora=2), 32)
    assert "\n" not in str(caught.value)


def test_without_peft_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageProblem, match=r"^train\.lora needs peft: pip install 'oltr\[peft\]'$"):
        adapted()


def test_a_peft_that_cannot_be_imported_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr(lora, "check_peft", lambda: None)
    with pytest.raises(OltrError, match=r"^peft cannot be imported \(.*\): pip install 'oltr\[peft\]'$"):
        adapted()
