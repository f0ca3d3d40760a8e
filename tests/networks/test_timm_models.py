"""Models of timm: what they say of images, which names and files of weights are understood, features and maps."""

import pytest
import torch

from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.networks import other_names
from oltr_cli.networks.backbones import build_backbone
from oltr_cli.networks.pretrained import fetch_hub
from oltr_cli.networks.timm_data import contradictions, data_of
from oltr_cli.networks.weights import load_weights
from oltr_cli.planning.described import described_chain
from oltr_cli.planning.resolve import resolve_chain
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.recipe.timm_names import timm_models

timm = pytest.importorskip("timm")


def model(name):
    torch.manual_seed(0)
    return build_backbone(BackboneSpec(name=f"timm/{name}")).eval()


def test_names_read_from_text_are_those_of_timm():
    assert sorted(timm_models()) == sorted(timm.list_models())


@pytest.mark.parametrize(
    ("name", "size", "cells"),
    [
        ("test_vit", 32, (2, 2)),
        ("test_vit", 160, (10, 10)),
        ("vit_tiny_patch16_224", 64, (4, 4)),
        ("vit_small_patch14_reg4_dinov2", 112, (8, 8)),  # register tokens
        ("deit_tiny_distilled_patch16_224", 32, (2, 2)),  # a distillation token
        ("swin_tiny_patch4_window7_224", 64, (2, 2)),  # channels last
        ("mobilenetv3_small_100", 64, (2, 2)),  # num_features is not the length of its feature
        ("resmlp_12_224", 224, (14, 14)),
    ],
)
@torch.no_grad()
def test_the_feature_is_what_the_models_classifier_gets(name, size, cells):
    backbone = model(name)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    wanted = backbone.model.forward_head(backbone.model.forward_features(images), pre_logits=True)
    features, maps = backbone(images), backbone.feature_map(images)
    assert torch.equal(features, wanted)
    assert features.shape == (2, backbone.feature_dim)
    assert maps.shape == (2, backbone.map_channels, *cells)
    assert backbone.map_size(size) == cells
    assert backbone.pool(maps).shape == features.shape


@torch.no_grad()
def test_a_map_without_its_class_token_is_seen_as_its_mean():
    backbone = model("test_vit")
    images = torch.randn(2, 3, 64, 64)
    tokens = backbone.model.forward_features(images)[:, 1:]
    wanted = backbone.model.fc_norm(tokens.mean(dim=1))
    torch.testing.assert_close(backbone.pool(backbone.feature_map(images)), wanted, rtol=1e-5, atol=1e-6)


def test_sizes_that_it_does_not_take_are_named_with_its_own():
    with pytest.raises(UsageProblem, match=r"mixer_s16_224' does not take images of 64 pixels.*image_size=224"):
        model("mixer_s16_224").check_image_size(64)


def test_several_maps_are_no_map():
    backbone = model("crossvit_9_240")
    assert backbone.pooled_channels == backbone.feature_dim > 0
    with pytest.raises(UsageProblem, match="several maps"):
        backbone.map_size(240)


def test_wrong_names_get_the_nearest():
    with pytest.raises(UsageProblem, match="did you mean 'convnext_atto'"):
        model("convnext_ato")
    with pytest.raises(UsageProblem, match=r"did you mean 'test_vit\.r160_in1k'"):
        data_of("timm/test_vit.r160")


def test_without_timm_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("oltr_cli.recipe.timm_names.timm_models", lambda: ())
    with pytest.raises(UsageProblem, match=r"pip install 'oltr\[timm\]'"):
        model("test_vit")


@pytest.mark.parametrize("sets", [[], ["data.image_size=112"]])
def test_a_recipe_takes_over_what_the_model_was_trained_on(tmp_path, sets):
    recipe = tmp_path / "r.toml"
    recipe.write_text('[data]\nname = "x"\nstd = [0.2, 0.2, 0.2]\n[backbone]\nname = "timm/tf_efficientnet_lite0"\n')
    (link,) = resolve_chain(recipe, described_chain("plain"), sets)
    data, size = link.recipe.data, 112 if sets else 224
    assert (data.image_size, data.eval_resize, data.mean) == (size, round(size / 0.875), (0.5, 0.5, 0.5))
    assert (data.std, data.interpolation) == ((0.2, 0.2, 0.2), "bicubic")
    assert link.origin["data.mean"] == "timm/tf_efficientnet_lite0"
    assert contradictions("timm/tf_efficientnet_lite0", data) == "data.std is [0.2, 0.2, 0.2], not [0.5, 0.5, 0.5]"


def test_recipes_of_other_backbones_are_not_changed(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('[data]\nname = "x"\n')
    (link,) = resolve_chain(recipe, described_chain("plain"), [])
    assert link.recipe.data == DataSpec(name="x")
    assert "interpolation" not in link.recipe.as_toml()["data"]


LAYOUTS = {
    "bare": lambda state: state,
    "model": lambda state: {"model": state, "epoch": 3},
    "module": lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
    "compiled": lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
    "backbone": lambda state: {f"backbone.{name}": value for name, value in state.items()},
    "average": lambda state: {"state_dict": {n: v + 1 for n, v in state.items()}, "state_dict_ema": state},
    "other names": lambda state: {f"part{place}": value for place, value in enumerate(state.values())},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet"])
def test_weights_in_layouts_met_in_the_wild(tmp_path, name, layout):
    theirs = timm.create_model(name)
    torch.save(LAYOUTS[layout](theirs.state_dict()), tmp_path / "w.pt")
    backbone = model(name)
    report = load_weights(backbone, tmp_path / "w.pt")
    loaded = {
        key: value for key, value in backbone.model.state_dict().items() if not key.endswith("num_batches_tracked")
    }
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in loaded.items())
    assert not report.missing
    said = {"other names": "by order and shape", "average": "state_dict_ema, the moving average"}.get(layout, "loaded")
    assert said in report.summary()


def test_positions_of_another_image_size_are_resampled(tmp_path):
    theirs = timm.create_model("test_vit", img_size=96)
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    backbone = model("test_vit")
    assert "by the names of the project" in load_weights(backbone, tmp_path / "w.pt").summary()
    assert torch.equal(backbone.model.cls_token, theirs.cls_token)


def test_another_network_is_refused_and_changes_nothing(tmp_path):
    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "w.pt")
    backbone = model("test_vit")
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(DataProblem, match=r"another network|lacks"):
        load_weights(backbone, tmp_path / "w.pt")
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_of_two_networks_with_other_names_neither_is_guessed():
    backbone = model("test_vit")
    needed = list(backbone.weight_entries())
    one = {f"{net}.p{n}": v for net in ("a", "b") for n, v in enumerate(backbone.weight_entries().values())}
    assert other_names.renamed(backbone, one, needed) == (one, "")


def test_no_network_is_one_line_with_what_to_download(monkeypatch):
    monkeypatch.setattr("oltr_cli.networks.pretrained._reachable", lambda address: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def fails(*args, **options):
        raise FileNotFoundError("not in the cache")

    monkeypatch.setattr(timm, "create_model", fails)
    with pytest.raises(OltrError, match=r"timm/test_vit\.r160_in1k/resolve/main/model\.safetensors elsewhere"):
        fetch_hub(BackboneSpec(name="timm/test_vit"))
