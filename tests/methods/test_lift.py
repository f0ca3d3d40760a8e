"""LIFT: adapters and loss by their formulas in float64, a backbone that stays as it is, and whole runs."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from oltr_cli.base.display import Display
from oltr_cli.conformance.methods import CLASS_COUNTS, TRANSFORMER, RandomData, train_steps
from oltr_cli.errors import UsageProblem
from oltr_cli.inference.hub_folder import export_folder
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.method import Setup
from oltr_cli.methods._adapters import AdaptFormer, adapted_mlps
from oltr_cli.methods.lift import LIFT, default_bottleneck
from oltr_cli.networks.backbones import build_backbone
from oltr_cli.pipeline.make import run_method
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.runs.checkpoint import load_best
from oltr_cli.runs.folder import Run, run_from_path
from oltr_cli.tables.paper import load_table
from oltr_cli.tables.rows import table_rows
from oltr_cli.training import engine
from tests.helpers.finished_runs import vit_home
from tests.helpers.outcomes import assert_equal, outcome_of


def lift(backbone=TRANSFORMER, **params):
    torch.manual_seed(0)
    return LIFT(Setup(backbone, 32, CLASS_COUNTS, LIFT.Params(**params)))


def moved(method):
    """With adapters that do something."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in (*method.adapters.parameters(), method.classifier.weight):
            parameter.add_(0.3 * torch.randn_like(parameter))
    return method


def test_an_adapter_is_its_formula_in_float64():
    torch.manual_seed(0)
    adapter = AdaptFormer(12, 5)
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    assert not adapter.double()(x).any(), "it begins as nothing"
    assert (adapter.scale.item(), adapter.down.weight.shape, adapter.up.weight.shape) == (1.0, (5, 12), (12, 5))
    for parameter in adapter.parameters():
        parameter.data = torch.randn_like(parameter)
    down, b_down, up, b_up, s = (
        p.detach().numpy() for p in (*adapter.down.parameters(), *adapter.up.parameters(), adapter.scale)
    )
    wanted = s * (np.maximum(x.numpy() @ down.T + b_down, 0) @ up.T + b_up)
    np.testing.assert_allclose(adapter(x).detach().numpy(), wanted, rtol=1e-12)


def test_adapters_are_parallel_to_the_mlp_of_every_block_in_float64():
    """Against the forward pass of a vision transformer, written out."""
    method = moved(lift(bottleneck=4)).double().eval()
    vit, images = method.backbone.model, RandomData().images.double()
    images = F.interpolate(images, 32)
    with torch.no_grad():
        x = vit.patch_embed(images)
        x = vit.norm_pre(vit._pos_embed(x))
        assert len(vit.blocks) == len(method.adapters)
        for block, a in zip(vit.blocks, method.adapters, strict=True):
            x = x + block.ls1(block.attn(block.norm1(x)))
            z = block.norm2(x)
            mlp = block.mlp.fc2(block.mlp.act(block.mlp.fc1(z)))
            x = x + block.ls2(mlp + a.scale * (F.relu(z @ a.down.weight.T + a.down.bias) @ a.up.weight.T + a.up.bias))
        wanted = vit.forward_head(vit.norm(x), pre_logits=True)
        plainly = vit.forward_head(vit.forward_features(images), pre_logits=True)
        given = method.backbone(images)
    torch.testing.assert_close(given, wanted, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(plainly, wanted, rtol=1e-10, atol=1e-12)
    bare = build_backbone(TRANSFORMER).double().eval()
    bare.load_state_dict(method.backbone.state_dict())
    assert not torch.allclose(bare(images), wanted), "the adapters do nothing"


def test_the_loss_is_the_logit_adjusted_cross_entropy_in_float64():
    method = moved(lift(tau=1.5, scale=20.0)).double().eval()
    data = RandomData()
    images = F.interpolate(data.images.double(), 32)
    with torch.no_grad():
        v = method.backbone(images).numpy()
        loss = method.training_loss(images, data.labels)
        scores = method(images)
    w, counts = method.classifier.weight.detach().numpy(), np.array(CLASS_COUNTS)
    logits = 20 * (v / np.linalg.norm(v, axis=1, keepdims=True)) @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T
    adjusted = logits + 1.5 * np.log(counts / counts.sum())
    logs = adjusted - np.log(np.exp(adjusted).sum(axis=1, keepdims=True))
    wanted = -logs[np.arange(len(v)), data.labels.numpy()].mean()
    assert list(loss) == ["logit_adjusted"]
    assert loss["logit_adjusted"].item() == pytest.approx(wanted, rel=1e-6)  # log π is kept in float32
    np.testing.assert_allclose(scores.logits.numpy(), logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(scores.features.numpy(), v)


def test_the_classifier_begins_at_the_class_means_of_the_bare_backbone():
    method, data = lift().eval(), RandomData()
    data.images = F.interpolate(data.images, 32)
    before = method.classifier.weight.detach().clone()
    keep = data.labels != 2
    data.images, data.labels = data.images[keep], data.labels[keep]
    method.prepare(data)
    with torch.no_grad():
        v = method.backbone(data.images).double()
    for label in (0, 1, 3):
        mean = v[data.labels == label].mean(0)
        torch.testing.assert_close(method.classifier.weight[label].double(), mean / mean.norm(), rtol=1e-5, atol=1e-6)
    assert torch.equal(method.classifier.weight[2], before[2]), "no image: its random vector"


@pytest.mark.parametrize(
    ("classes", "blocks", "width"), [(1000, 12, 32), (365, 12, 8), (8142, 12, 256), (100, 12, 4), (10, 12, 1)]
)
def test_the_width_is_that_of_the_source(classes, blocks, width):
    assert default_bottleneck(classes, blocks) == width == 2 ** max(0, int(math.log2(classes / (blocks * 2))))


def test_training_changes_adapters_and_classifier_alone():
    method = lift(bottleneck=2)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    with torch.no_grad():  # the zero of W_up lets no gradient through to W_down
        for adapter in method.adapters:
            adapter.up.weight.normal_()
            before |= {f"adapters.{i}.up.weight": a.up.weight.clone() for i, a in enumerate(method.adapters)}
    train_steps(method)
    changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert not {name for name in changed if name.startswith("backbone.")}
    assert {name for name in before if name.startswith("adapters.")} <= changed
    assert "classifier.weight" in changed


@pytest.mark.parametrize("name", ["timm/levit_128s"])
def test_statistics_of_the_backbone_stay_too(name):
    """A transformer with batch norm, in training mode."""
    method = lift(BackboneSpec(name=name), bottleneck=1).train()
    before = {key: value.clone() for key, value in method.backbone.state_dict().items()}
    assert any("running_mean" in key for key in before)
    method.training_loss(torch.randn(2, 3, 224, 224), torch.tensor([0, 1]))
    assert all(torch.equal(value, before[key]) for key, value in method.backbone.state_dict().items())
    assert not method.backbone.training
    assert method.classifier.training


@pytest.mark.parametrize(
    ("name", "blocks", "dim"),
    [
        ("timm/test_vit", 6, 64),
        ("timm/vit_tiny_patch16_224", 12, 192),
        ("timm/swin_tiny_patch4_window7_224", 12, 96),
        ("timm/deit_tiny_distilled_patch16_224", 12, 192),
    ],
)
def test_blocks_are_found_in_transformers(name, blocks, dim):
    found = adapted_mlps(build_backbone(BackboneSpec(name=name)), name, "lift")
    assert (len(found), found[0][1]) == (blocks, dim)


@pytest.mark.parametrize("name", ["resnet10", "timm/test_efficientnet", "timm/test_convnext"])
def test_a_backbone_without_blocks_is_refused_in_one_line(name):
    with pytest.raises(
        UsageProblem, match=rf"every transformer block, and backbone '{name}' has none; use a"
    ) as caught:
        lift(BackboneSpec(name=name))
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with vit_home(tmp_path_factory.mktemp("lift")) as home:
        yield home


def run(home, *sets, recipe="vit.toml", **options):
    return run_method(
        "lift", str(home / recipe), list(sets), device="cpu", workers=0, track=False, display=Display(True), **options
    )


@pytest.fixture(scope="module")
def finished(home) -> Run:
    done = run_from_path(home / "runs" / run(home).run)
    assert done is not None
    return done


def test_a_run_keeps_the_weights_of_the_file(home, finished):
    """Through optimizer, weight decay, validation and checkpoint."""
    weights, trained = torch.load(home / "vit.pt", weights_only=True), load_best(finished)["model"]
    backbone = {name.removeprefix("backbone.model."): v for name, v in trained.items() if name.startswith("backbone.")}
    assert set(backbone) == {name for name in weights if not name.startswith("head.")}
    assert all(torch.equal(value, weights[name]) for name, value in backbone.items())
    assert any(v.any() for name, v in trained.items() if name.endswith("up.weight")), "no adapter was trained"
    result = finished.result()
    assert result.starts_from is None
    assert result.metrics["closed/overall"] is not None


def test_interrupted_it_ends_in_the_same_bits(home, finished, monkeypatch, tmp_path):
    class Killed(BaseException):
        pass

    save, calls = engine.Training._save_last, []

    def then_die(training):
        save(training)
        calls.append(training)
        raise Killed

    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    with monkeypatch.context() as patch:
        patch.setattr(engine.Training, "_save_last", then_die)
        for _ in range(2):
            with pytest.raises(Killed):
                run(home)
    assert len(calls) == 2
    again = run_from_path(tmp_path / "runs" / run(home).run)
    assert again.name == finished.name
    assert_equal(outcome_of(again.path), outcome_of(finished.path))


def test_it_goes_to_a_model_hub_with_its_adapters(finished, tmp_path):
    export_folder(Recogniser.load(finished.path), tmp_path / "hub", Display(True))  # compares the scores
    network = Recogniser.load(tmp_path / "hub").network
    assert len(network.adapters) == 6
    assert any(adapter.up.weight.any() for adapter in network.adapters)


def test_without_weights_or_on_frozen_features_it_is_refused_before_anything_is_trained(home):
    with pytest.raises(UsageProblem, match=r"^lift: keeps the weights .* backbone\.weights names none; for example"):
        run(home, 'backbone.weights=""')
    with pytest.raises(UsageProblem, match=r"^lift: keeps the weights .* backbone\.weights names none"):
        run(home, recipe="tiny.toml")
    with pytest.raises(UsageProblem, match=r"^lift: .* set train\.freeze_backbone to false"):
        run(home, "train.freeze_backbone=true")


def test_tables_list_it_once_it_has_runs():
    table = load_table("3a")
    assert "lift" not in {row.method for row in table_rows(table, [])}
    assert "lift" in {row.method for row in table_rows(table, ["lift"])}
