"""What every backbone must do; ``oltr_cli.conformance`` says how to use it."""

import io
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from oltr_cli.errors import UsageProblem
from oltr_cli.networks.backbones import Backbone, build_backbone
from oltr_cli.recipe.backbones import BACKBONES
from oltr_cli.recipe.specs import BackboneSpec

SIZES = (32, 45, 64)  # odd sizes show whether map_size rounds as the network does
FC = 12
_SMALL: dict[str, Any] = {"stem": "small-stride2", "width": 8}  # as far as the backbone makes use of it


def build(name: str, seed: int = 0, fc: int | None = None, extra_fc: bool = False) -> Backbone:
    """The backbone with fresh weights, as small as the recipe's keys can make it."""
    keys = plugin.facts.get("keys", ()) if (plugin := BACKBONES.named(name)) else ()
    spec = BackboneSpec(name=name, fc=fc, **{key: value for key, value in _SMALL.items() if key in keys})
    torch.manual_seed(seed)
    return build_backbone(spec, extra_fc=extra_fc)


def random_images(size: int = SIZES[0], batch: int = 4) -> Tensor:
    """Images (B, 3, size, size)."""
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(size))


def sizes(backbone: Backbone) -> list[int]:
    """Those of SIZES that it takes."""
    taken = []
    for size in SIZES:
        with suppress(UsageProblem):
            backbone.check_image_size(size)
            taken.append(size)
    assert taken, f"it takes images of none of the sizes {SIZES}"
    return taken


@torch.no_grad()
def check_shapes_are_those_it_states(name: str) -> None:
    """Maps are (B, map_channels, *map_size), features (B, feature_dim) with and without a fc, and all are finite."""
    backbone = build(name).eval()
    for size in sizes(backbone):
        images = random_images(size, batch=2)
        found, stated = tuple(backbone.compute_map(images).shape), (2, backbone.map_channels, *backbone.map_size(size))
        assert found == stated, f"images of {size} pixels give a map {found}, not {stated}"
    for network, dim in (
        (backbone, backbone.pooled_channels),
        (build(name, extra_fc=True), backbone.pooled_channels),
        (build(name, fc=FC), FC),
    ):
        features = network.eval()(random_images())
        assert features.shape == (4, dim), f"features are {tuple(features.shape)}, not {(4, dim)}"
        assert network.feature_dim == dim, f"feature_dim is {network.feature_dim}, not {dim}"
        assert features.isfinite().all(), "features are not finite"


@torch.no_grad()
def check_features_do_not_depend_on_the_batch(name: str) -> None:
    """One image at a time gives the same as all at once."""
    backbone, images = build(name).eval(), random_images()
    single = torch.cat([backbone(image[None]) for image in images])
    torch.testing.assert_close(single, backbone(images), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def check_taking_gives_the_same_features(name: str) -> None:
    """Maps or features computed before give the same as the images."""
    backbone, images = build(name, fc=FC).eval(), random_images()
    expected, maps, pooled = backbone(images), backbone.feature_map(images), backbone.compute_pooled(images)
    of_map = backbone.pool(maps)
    with backbone.taking("maps"):
        assert backbone.feature_map(maps) is maps, "a map computed before is changed"
        torch.testing.assert_close(backbone(maps), of_map, rtol=1e-4, atol=1e-5)
    if type(backbone).compute_pooled is Backbone.compute_pooled:
        torch.testing.assert_close(of_map, expected, rtol=1e-4, atol=1e-5)
    with backbone.taking("pooled"):
        torch.testing.assert_close(backbone(pooled[:, :, None, None]), expected, rtol=1e-4, atol=1e-5)


def check_training_differs_in_batch_norm_alone(name: str) -> None:
    """A frozen backbone gives the same in training and evaluation; every parameter has a gradient in both modes."""
    backbone, images = build(name), random_images()
    wanted = {n for n, p in backbone.named_parameters() if p.requires_grad}
    evaluated = backbone.eval()(images)
    backbone.train()
    for module in backbone.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    torch.testing.assert_close(backbone(images), evaluated, msg="features differ between training and evaluation")
    backbone.train()(images).square().sum().backward()
    for n, p in backbone.named_parameters():
        assert (n in wanted) == p.requires_grad, f"requires_grad of {n} differs between training and evaluation"
        assert not p.requires_grad or (p.grad is not None and p.grad.isfinite().all()), f"{n} has no finite gradient"


@torch.no_grad()
def check_saving_and_loading_changes_nothing(name: str) -> None:
    """A state with statistics, written and read like a checkpoint, gives bit-equal features in a fresh backbone."""
    backbone, images = build(name), random_images()
    backbone.train()(images)  # running statistics move
    file = io.BytesIO()
    torch.save(backbone.state_dict(), file)
    file.seek(0)
    other = build(name, seed=1)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(backbone.eval()(images), other.eval()(images)), "features changed by saving and loading"


def check_same_seed_same_weights(name: str) -> None:
    """Building uses only torch's seeded generator."""
    first, again = build(name, seed=3).state_dict(), build(name, seed=3).state_dict()
    for key, value in first.items():
        assert torch.equal(value, again[key]), f"{key} differs between two builds with one seed"
