"""Backbones: shapes on every image size, parameters and features against torchvision's own networks."""

import subprocess
import sys

import pytest
import torch
import torchvision
from pydantic import ValidationError
from torch import nn

from oltr_cli.base import added_files
from oltr_cli.errors import UsageProblem
from oltr_cli.networks.backbones import build_backbone
from oltr_cli.networks.weights import load_weights
from oltr_cli.recipe.specs import BackboneSpec

NAMES = ("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
STEMS = ("imagenet", "small", "small-stride2")


def images(size: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(size))


def torchvision_resnet(name: str) -> nn.Module:
    if name == "resnet10":
        return torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])
    return torchvision.models.get_model(name, weights=None)


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("name", NAMES)
def test_shapes_of_every_depth(name: str, stem: str, size: int) -> None:
    backbone = build_backbone(BackboneSpec(name=name, stem=stem, width=4)).eval()
    with torch.no_grad():
        feature_map = backbone.feature_map(images(size, batch=1))
        v = backbone(images(size, batch=1))
    channels = 8 * 4 * (1 if name in NAMES[:3] else 4)
    assert backbone.map_channels == backbone.feature_dim == channels
    assert feature_map.shape == (1, channels, *backbone.map_size(size))
    assert v.shape == (1, channels)


@pytest.mark.parametrize("stem", STEMS)
def test_map_size_of_odd_images_agrees_with_a_real_forward(stem: str) -> None:
    backbone = build_backbone(BackboneSpec(stem=stem, width=4)).eval()
    for size in (8, 15, 16, 17, 31, 33, 63, 65, 97):
        with torch.no_grad():
            assert tuple(backbone.feature_map(images(size, batch=1)).shape[2:]) == backbone.map_size(size)


def test_map_sizes_of_the_known_settings() -> None:
    assert build_backbone(BackboneSpec()).map_size(224) == (7, 7)
    assert build_backbone(BackboneSpec(stem="small")).map_size(32) == (4, 4)
    assert build_backbone(BackboneSpec(stem="small-stride2")).map_size(32) == (2, 2)


@pytest.mark.parametrize("name", NAMES)
def test_full_width_has_torchvisions_entries_in_its_order(name: str) -> None:
    theirs = {n: tuple(v.shape) for n, v in torchvision_resnet(name).state_dict().items() if not n.startswith("fc.")}
    ours = {n: tuple(v.shape) for n, v in build_backbone(BackboneSpec(name=name)).state_dict().items()}
    assert list(ours.items()) == list(theirs.items())


@pytest.mark.parametrize(
    ("name", "known"), [("resnet10", 4_905_792), ("resnet18", 11_176_512), ("resnet50", 23_508_032)]
)
def test_parameter_counts_without_the_classifier(name: str, known: int) -> None:
    count = sum(p.numel() for p in build_backbone(BackboneSpec(name=name)).parameters())
    network = torchvision_resnet(name)
    assert count == sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in network.fc.parameters())
    assert count == known


@pytest.mark.parametrize("name", ["resnet10", "resnet50"])
def test_features_in_training_mode_are_torchvisions(name: str) -> None:
    theirs = torchvision_resnet(name)
    theirs.fc = nn.Identity()
    ours = build_backbone(BackboneSpec(name=name))
    ours.load_state_dict(theirs.state_dict())
    x = images(64)
    assert torch.equal(ours.train()(x), theirs.train()(x))
    # The running statistics moved alike, too.
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_convolutions_begin_with_the_fan_out_rule() -> None:
    torch.manual_seed(0)
    backbone = build_backbone(BackboneSpec(name="resnet50"))
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 20_000:
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05), name
        elif isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight)), name
            assert torch.equal(module.bias, torch.zeros_like(module.bias)), name


def test_the_seed_decides_the_first_weights() -> None:
    def begin(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return build_backbone(BackboneSpec(width=8), extra_fc=True).state_dict()

    first, same, other = begin(1), begin(1), begin(2)
    assert all(torch.equal(first[n], same[n]) for n in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize("name", ["resnet10", "resnet50"])
def test_pool_is_mean_then_extra_fc_then_relu(name: str) -> None:
    backbone = build_backbone(BackboneSpec(name=name, width=4), extra_fc=True)
    feature_map = torch.randn(3, backbone.map_channels, 5, 4)
    w, b = backbone.extra_fc.weight.double(), backbone.extra_fc.bias.double()
    assert w.shape == (backbone.map_channels, backbone.map_channels)
    expected = (feature_map.double().sum((2, 3)) / 20 @ w.T + b).clamp_min(0)
    torch.testing.assert_close(backbone.pool(feature_map).double(), expected, rtol=1e-5, atol=1e-6)
    assert (expected == 0).any()
    assert {n for n in backbone.state_dict() if "extra_fc" in n} == {"extra_fc.weight", "extra_fc.bias"}


def test_without_extra_fc_there_is_no_such_entry() -> None:
    backbone = build_backbone(BackboneSpec(width=4))
    assert not [n for n in backbone.state_dict() if "extra_fc" in n]
    feature_map = torch.randn(3, backbone.map_channels, 5, 4)
    torch.testing.assert_close(backbone.pool(feature_map), feature_map.mean((2, 3)))


@pytest.mark.parametrize("name", ["resnet10", "resnet34", "resnet50"])
def test_final_relu_off_opens_the_last_block_and_no_other(name: str) -> None:
    closed = build_backbone(BackboneSpec(name=name, stem="small", width=4))
    opened = build_backbone(BackboneSpec(name=name, stem="small", width=4, final_relu=False))
    opened.load_state_dict(closed.state_dict())
    x = images(32)
    f = opened.train().feature_map(x)
    assert (f < 0).any()
    torch.testing.assert_close(f.clamp_min(0), closed.train().feature_map(x))


def test_channels_last_stays_so_and_every_parameter_learns() -> None:
    backbone = build_backbone(BackboneSpec(width=8), extra_fc=True).to(memory_format=torch.channels_last)
    feature_map = backbone.feature_map(images(64).contiguous(memory_format=torch.channels_last))
    assert feature_map.is_contiguous(memory_format=torch.channels_last)
    backbone.pool(feature_map).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in backbone.parameters())


@pytest.mark.parametrize("wrong", [{"stem": "tiny"}, {"width": 0}, {"depth": 10}])
def test_a_spec_refuses_what_it_does_not_know(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BackboneSpec(**wrong)


def test_reading_a_spec_needs_no_torch() -> None:
    code = "import sys, oltr_cli.recipe.specs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_listing_needs_no_torch() -> None:
    found = "import sys; from oltr_cli.recipe.backbones import BACKBONES; print(*BACKBONES.find())"
    code = f"{found}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [*NAMES, "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "timm/NAME"]


def test_the_extra_fc_is_drawn_last_and_comes_last() -> None:
    def begin(**options: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        return build_backbone(BackboneSpec(width=8), **options).state_dict()

    without, with_fc = begin(), begin(extra_fc=True)
    assert list(with_fc) == [*without, "extra_fc.weight", "extra_fc.bias"]
    assert all(torch.equal(with_fc[name], value) for name, value in without.items())


@pytest.mark.parametrize(
    ("body", "spec", "words"),
    [
        ("", {"name": "resnet11"}, "no backbone 'resnet11'; did you mean 'resnet110'"),
        ("    keys = ('stem',)\n", {"stem": "small"}, "Net lacks compute_map and map_size$"),
        ("", {"width": 8, "final_relu": False}, "use width and final_relu; .*width=64 --set backbone.final_relu=true$"),
        ("    keys = ('width',)\n", {"width": 8}, "Net.__init__ does not set map_channels"),
        ("    1 / 0\n", {}, "cannot be loaded from .*: ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, no_files, body, spec, words) -> None:
    path = tmp_path / f"net_{tmp_path.name}.py"  # a module is imported once
    complete = "    def compute_map(self, images): ...\n    def map_size(self, image_size): ...\n"
    text = f"from oltr_cli.networks.backbones import Backbone\nclass Net(Backbone):\n    names = ('net',)\n{body}"
    path.write_text(text + ("" if "lacks" in words else complete))
    added_files.add_file(path)
    with pytest.raises(UsageProblem, match=words) as caught:
        build_backbone(BackboneSpec(**{"name": "net", **spec}))
    assert "\n" not in str(caught.value)


def test_weights_of_any_backbone_are_found_by_their_names(tmp_path, no_files) -> None:
    path = tmp_path / "deep_net.py"
    path.write_text(
        "from torch import nn\nfrom oltr_cli.networks.backbones import Backbone\nclass Net(Backbone):\n"
        "    def __init__(self, spec):\n        super().__init__(spec)\n        self.map_channels = 4\n"
        "        self.layers = nn.Conv2d(3, 4, 1)\n"
        "        for _ in range(6):\n            self.layers = nn.Sequential(self.layers)\n"
        "    def compute_map(self, images):\n        return self.layers(images)\n"
        "    def map_size(self, image_size):\n        return image_size, image_size\n"
    )
    added_files.add_file(path)
    trained, fresh = (build_backbone(BackboneSpec(name="deep-net")) for _ in range(2))
    torch.save({"state_dict": {f"module.{n}": v for n, v in trained.state_dict().items()}}, tmp_path / "w.pth")
    report = load_weights(fresh, tmp_path / "w.pth")
    assert len(report.matched) == 2
    assert torch.equal(fresh(images(8)), trained(images(8)))
