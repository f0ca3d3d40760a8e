"""torchvision's weights by name, and the fc behind the pooling that a recipe may ask for."""

import hashlib

import pytest
import torch
from torch.nn import functional as F
from torchvision.models import get_model_weights, resnet18

from oltr_cli.errors import OltrError, UsageProblem
from oltr_cli.method import LinearMethod, Setup
from oltr_cli.networks import pretrained
from oltr_cli.networks.backbones import build_backbone
from oltr_cli.networks.pretrained import fetch_torchvision
from oltr_cli.networks.weights import load_weights
from oltr_cli.planning.described import described_chain
from oltr_cli.planning.resolve import resolve_chain
from oltr_cli.recipe.backbones import BACKBONES, TORCHVISION, torchvision_file
from oltr_cli.recipe.files import find_recipe
from oltr_cli.recipe.specs import BackboneSpec, MethodParams
from oltr_cli.training.freezing import freeze_backbone

RESNET18 = BackboneSpec(name="resnet18", weights=TORCHVISION)


@pytest.mark.parametrize("name", BACKBONES.find()["resnet18"].facts["torchvision"])
def test_files_are_those_that_torchvision_names(name):
    url = get_model_weights(name)["IMAGENET1K_V1"].url
    assert url == f"{pretrained._ADDRESS}/{torchvision_file(BackboneSpec(name=name))}"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder in the place of the network, with a file named by its own digest."""
    torch.manual_seed(0)
    state = resnet18().state_dict()
    folder = tmp_path / "server"
    folder.mkdir()
    torch.save(state, folder / "weights.pth")
    digest = hashlib.sha256((folder / "weights.pth").read_bytes()).hexdigest()[:8]
    (folder / "weights.pth").rename(folder / f"resnet18-{digest}.pth")
    monkeypatch.setattr(pretrained, "_ADDRESS", folder.as_uri())
    monkeypatch.setattr(pretrained, "torchvision_file", lambda spec: f"{spec.name}-{digest}.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return folder, state


def test_weights_are_fetched_once_and_fill_the_backbone(server):
    folder, state = server
    path = fetch_torchvision(RESNET18, quiet=True)
    for file in folder.iterdir():
        file.unlink()  # the second time nothing is asked of the network
    assert fetch_torchvision(RESNET18, quiet=True) == path
    backbone = build_backbone(RESNET18)
    report = load_weights(backbone, path)
    assert not report.missing
    torch.testing.assert_close(backbone.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


def test_a_damaged_download_is_refused_and_leaves_nothing(server):
    folder, _ = server
    file = next(folder.iterdir())
    file.write_bytes(b"cut short")
    with pytest.raises(OltrError, match=r"cannot be downloaded .*--weights resnet18-"):
        fetch_torchvision(RESNET18, quiet=True)
    with pytest.raises(OltrError, match="cannot be downloaded"):
        fetch_torchvision(RESNET18, quiet=True)


def test_no_network_is_one_line_with_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "_ADDRESS", "http://127.0.0.1:9/models")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(OltrError, match=r"download it elsewhere and give --weights resnet18-f37072fd.pth") as caught:
        fetch_torchvision(RESNET18, quiet=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "resnet10"}, "none for resnet10, only for resnet18"),
        ({"name": "resnet18", "stem": "small"}, "backbone.stem = imagenet"),
        ({"name": "resnet18", "width": 32}, "backbone.width = 64"),
    ],
)
def test_networks_that_torchvision_has_no_weights_for(spec, message):
    with pytest.raises(UsageProblem, match=message):
        torchvision_file(BackboneSpec(**spec))


def test_the_hash_knows_which_weights_and_an_unset_fc_leaves_it_alone():
    def hash_of(*sets):
        return resolve_chain(find_recipe("tiny-imagenet-lt"), described_chain("plain"), list(sets))[-1].hash

    named = "backbone.name=resnet18"
    assert hash_of(named, "backbone.weights=torchvision") != hash_of(named)
    assert hash_of(named, "backbone.fc=32") != hash_of(named)
    # The runs in results/ were made before the key was there.
    assert hash_of() == "644d29fc23"


def test_a_fc_narrows_the_features_of_every_method_and_is_inherited():
    spec = BackboneSpec(width=8, stem="small", fc=12)
    plain = LinearMethod(Setup(spec, 16, (3, 2, 1), MethodParams()))
    assert plain.backbone.feature_dim == 12
    assert plain.backbone.map_channels == 64
    assert plain.classifier.weight.shape == (3, 12)
    plain.eval()
    images = torch.randn(5, 3, 16, 16)
    scores = plain(images)
    pooled = plain.backbone.feature_map(images).mean((2, 3))
    weight, bias = plain.backbone.extra_fc.weight, plain.backbone.extra_fc.bias
    torch.testing.assert_close(scores.features, F.relu(pooled @ weight.T + bias))
    dme_like = build_backbone(spec, extra_fc=True)  # the same layer, not a second one
    assert dme_like.state_dict().keys() == plain.backbone.state_dict().keys()


def test_without_the_final_relu_the_fc_ends_bare():
    backbone = build_backbone(BackboneSpec(width=8, stem="small", fc=12, final_relu=False)).eval()
    assert (backbone(torch.randn(8, 3, 16, 16)) < 0).any()


def test_a_frozen_backbone_goes_on_learning_its_fc():
    plain = LinearMethod(Setup(BackboneSpec(width=8, stem="small", fc=12), 16, (3, 2, 1), MethodParams()))
    freeze_backbone(plain)
    moving = {name for name, p in plain.backbone.named_parameters() if p.requires_grad}
    assert moving == {"extra_fc.weight", "extra_fc.bias"}
