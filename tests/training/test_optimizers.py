"""Optimizers: what is decayed, at which rate each layer is trained, clipping, and a change of device on the way."""

import re
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from oltr_cli.errors import UsageProblem
from oltr_cli.method import Setup
from oltr_cli.methods.dme import DME
from oltr_cli.methods.plain import Plain
from oltr_cli.networks.backbones import Backbone
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.recipe.train import TrainSpec
from oltr_cli.training.optimizers import build_optimizer
from oltr_cli.training.saving import Saving
from oltr_cli.training.updates import Updates

RATES = {"features": 0.1, "classifier": 0.4, "centroids": 0.01}


def make(cls: type = Plain, **backbone):
    torch.manual_seed(0)
    spec = BackboneSpec(**{"name": "resnet10", "stem": "small", "width": 8, **backbone})
    return cls(Setup(spec, 16, (9, 3, 1), cls.Params()))


def spec(**keys):
    return TrainSpec(lr=RATES, **keys)


def rate_of(optimizer):
    """Parameter's id → its rate; each parameter is in one group."""
    pairs = [(id(p), group["lr"]) for group in optimizer.param_groups for p in group["params"]]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_unset_keys_leave_sgd_with_a_group_for_each_part():
    optimizer = build_optimizer(make(DME), spec())
    assert type(optimizer) is torch.optim.SGD
    assert [group["name"] for group in optimizer.param_groups] == ["features", "classifier", "centroids"]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [5e-4] * 3
    explicit = spec(optimizer="sgd", decay_norms=True, layer_decay=1, clip_norm=0)
    assert explicit == spec()


def test_adamw_decays_weights_apart_from_the_gradient():
    method = make()
    optimizer = build_optimizer(method, spec(optimizer="adamw", weight_decay=0.05, betas=(0.8, 0.95)))
    assert type(optimizer) is torch.optim.AdamW
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.95)}
    before = method.classifier.weight.detach().clone()
    for p in method.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(method.classifier.weight, before * (1 - 0.4 * 0.05))
    (default,) = {group["betas"] for group in build_optimizer(make(), spec(optimizer="adamw")).param_groups}
    assert default == (0.9, 0.999)


def test_norms_and_biases_are_not_decayed_if_asked():
    method = make()
    optimizer = build_optimizer(method, spec(decay_norms=False, weight_decay=0.5))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(list(method.parameters()))
    for name, p in method.named_parameters():
        flat = name.endswith("bias") or ".bn" in name or "downsample.1" in name
        assert decay[id(p)] == (0.0 if flat else 0.5), name


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "swin_tiny_patch4_window7_224"])
def test_of_timm_those_are_not_decayed_which_timm_exempts(name):
    timm = pytest.importorskip("timm")
    from timm.optim import param_groups_weight_decay

    method = make(name=f"timm/{name}", stem="imagenet", width=64)
    optimizer = build_optimizer(method, spec(decay_norms=False, weight_decay=0.5))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    theirs = timm.create_model(name, num_classes=0)
    names = {id(p): key for key, p in theirs.named_parameters()}
    exempt = theirs.no_weight_decay() if hasattr(theirs, "no_weight_decay") else ()
    groups = param_groups_weight_decay(theirs, 0.5, no_weight_decay_list=exempt)
    wanted = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    assert {key: decay[id(p)] for key, p in method.backbone.model.named_parameters()} == wanted
    if name != "test_convnext":
        assert any(p.ndim > 1 and not wanted[key] for key, p in theirs.named_parameters())


@pytest.mark.parametrize(
    ("backbone", "layers"),
    [
        ({}, [r"backbone\.(conv1|bn1)\.", *(rf"backbone\.layer{n}\." for n in (1, 2, 3, 4))]),
        (
            {"name": "resnet20", "stem": "imagenet", "width": 64},
            [r"backbone\.(conv1|bn1)\.", *(rf"backbone\.layers\.[{a}-{a + 2}]\." for a in (0, 3, 6))],
        ),
    ],
)
def test_rates_fall_from_stage_to_stage_towards_the_input(backbone, layers):
    method = make(**backbone)
    optimizer = build_optimizer(method, spec(layer_decay=0.5))
    rates = rate_of(optimizer)
    for name, p in method.named_parameters():
        inside = [number for number, pattern in enumerate(layers) if re.match(pattern, name)]
        wanted = 0.1 * 0.5 ** (len(layers) - inside[0]) if inside else 0.4
        assert rates[id(p)] == pytest.approx(wanted), name
    shown = {group["name"]: group["lr"] for group in optimizer.param_groups}  # as in a run's history: the last
    assert shown == pytest.approx({"features": 0.05, "classifier": 0.4})


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_resnet"])
def test_layers_of_timm_are_those_timm_decays(name):
    timm = pytest.importorskip("timm")
    from timm.optim import param_groups_layer_decay

    method = make(name=f"timm/{name}", stem="imagenet", width=64)
    rates = rate_of(build_optimizer(method, spec(layer_decay=0.75, optimizer="adamw", decay_norms=False)))
    theirs = timm.create_model(name, num_classes=3)  # with a classifier, as timm trains it
    names = {id(p): key for key, p in theirs.named_parameters()}
    scales = {
        names[id(p)]: group["lr_scale"]
        for group in param_groups_layer_decay(theirs, layer_decay=0.75)
        for p in group["params"]
    }
    ours = {name: rates[id(p)] / 0.1 for name, p in method.backbone.model.named_parameters()}
    assert len(ours) > 5
    assert ours == pytest.approx({name: scales[name] for name in ours})
    assert len(set(ours.values())) > 2


def test_what_a_method_adds_to_the_features_has_their_whole_rate():
    method = make(DME)
    rates = rate_of(build_optimizer(method, spec(layer_decay=0.5)))
    assert {rates[id(p)] for p in method.attention.parameters()} == {0.1}


class _Nameless(Backbone):
    names = ("nameless",)

    def __init__(self, given):
        super().__init__(given)
        self.conv, self.map_channels = nn.Conv2d(3, 4, 3), 4

    def compute_map(self, images):
        return self.conv(images)

    def map_size(self, image_size):
        return image_size - 2, image_size - 2


def test_a_backbone_without_layers_is_refused():
    method = make()
    method.backbone = _Nameless(BackboneSpec())
    with pytest.raises(UsageProblem, match=r"_Nameless does not define layer_groups\(\), which train\.layer_decay"):
        build_optimizer(method, spec(layer_decay=0.5))
    assert build_optimizer(method, spec())


@pytest.mark.parametrize("clip", [0.01, 1e6])
def test_gradients_are_clipped_over_all_parts_together(clip):
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    method, train = make(), spec(clip_norm=clip, momentum=0.0, weight_decay=0.0)
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    optimizer = build_optimizer(method, train)
    updates = Updates(train, optimizer, SimpleNamespace(step=lambda: None), Accelerator(cpu=True), 1)
    loss = method.training_loss(images, torch.tensor([0, 1, 2, 0]))["cross_entropy"]
    gradients = dict(zip(before, torch.autograd.grad(loss, list(method.parameters()), retain_graph=True), strict=True))
    norm = torch.cat([g.flatten() for g in gradients.values()]).norm().item()
    assert 0.01 < norm < 1e6
    updates.backward(loss, 0)
    updates.step(0, method, None)
    for name, p in method.named_parameters():
        rate = 0.4 if name.startswith("classifier") else 0.1
        torch.testing.assert_close(p.detach(), before[name] - rate * min(1, clip / norm) * gradients[name])


@pytest.mark.parametrize(("before", "after"), [(False, True), (True, False)])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_run_may_go_on_on_another_device(before, after, kind):
    """A fused optimizer, as on a GPU, goes on from the state of another one, and the other way round."""

    def start(fused):
        method = make()
        return method, build_optimizer(method, spec(optimizer=kind), fused=fused)

    def step(method, optimizer):
        for p in method.parameters():
            p.grad = torch.full_like(p, 0.5)
        optimizer.step()

    method, optimizer = start(before)
    step(method, optimizer)
    again, fresh = start(after)
    again.load_state_dict(method.state_dict())
    saving = object.__new__(Saving)
    saving.found = {"optimizer": deepcopy(optimizer.state_dict()), "scheduler": {}}
    saving.restore_optimizer(fresh, SimpleNamespace(load_state_dict=lambda state: None))
    assert {group["fused"] for group in fresh.param_groups} == {True if after else None}
    for one in ((method, optimizer), (again, fresh)):
        step(*one)
    torch.testing.assert_close(dict(again.named_parameters()), dict(method.named_parameters()))
