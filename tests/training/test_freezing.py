"""Frozen blocks and LoRA in whole runs: what stays, what is saved, and that a killed run ends in the same bits."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from oltr_cli.base.display import Display
from oltr_cli.data.feed.transforms import evaluation_crop
from oltr_cli.data.images import decode_file
from oltr_cli.errors import UsageProblem
from oltr_cli.inference.hub_folder import export_folder
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.method import Setup
from oltr_cli.methods.plain import Plain
from oltr_cli.pipeline.make import run_method
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.runs.checkpoint import load_best
from oltr_cli.runs.folder import run_from_path, runs_root
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training import engine
from oltr_cli.training.freezing import freeze_blocks, frozen_norms
from tests.helpers.finished_runs import vit_home
from tests.helpers.outcomes import assert_equal, outcome_of

timm = pytest.importorskip("timm")
BLOCKS = "train.freeze=2 blocks"
LORA = "train.lora=4"
SMALL = BackboneSpec(name="resnet10", stem="small", width=8)


def plain(backbone=SMALL):
    torch.manual_seed(0)
    return Plain(Setup(backbone, 16, (9, 3, 1), Plain.Params()))


@pytest.mark.parametrize(
    ("backbone", "blocks", "frozen"),
    [
        (SMALL, 1, ("conv1.", "bn1.")),
        (SMALL, 3, ("conv1.", "bn1.", "layer1.", "layer2.")),
        (BackboneSpec(name="timm/test_vit"), 2, ("model.cls_token", "model.pos_embed", "model.patch_embed.")),
        (BackboneSpec(name="timm/test_resnet"), 1, ("model.conv1.", "model.bn1.")),
    ],
)
def test_the_first_blocks_are_not_trained_and_the_stem_is_the_first(backbone, blocks, frozen):
    method = plain(backbone)
    freeze_blocks(method, blocks)
    still = {name for name, p in method.backbone.named_parameters() if not p.requires_grad}
    wanted = frozen + (("model.blocks.0.",) if "vit" in backbone.name else ())
    assert still == {name for name, _ in method.backbone.named_parameters() if name.startswith(wanted)}
    assert all(p.requires_grad for p in method.classifier.parameters())
    names = {id(module): f"{name}." for name, module in method.backbone.named_modules()}
    norms = {m for m in method.backbone.modules() if isinstance(m, nn.BatchNorm2d) and names[id(m)].startswith(wanted)}
    assert set(frozen_norms(method, whole=False)) == norms


def test_more_blocks_than_there_are_is_one_line():
    with pytest.raises(UsageProblem, match=r"train\.freeze = 6 blocks: the backbone 'resnet10' has 5, the stem among"):
        freeze_blocks(plain(), 6)


def test_a_norm_without_parameters_is_not_taken_for_a_frozen_one():
    method = plain()
    method.backbone.bn1 = nn.BatchNorm2d(8, affine=False)
    assert not frozen_norms(method, whole=False)
    assert method.backbone.bn1 in frozen_norms(method, whole=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with vit_home(tmp_path_factory.mktemp("freezing")) as home:
        yield home


def run(home, method, *sets, recipe="vit.toml"):
    done = run_method(
        method, str(home / recipe), list(sets), device="cpu", workers=0, track=False, display=Display(True)
    )
    found = run_from_path(runs_root() / done.run)
    assert found is not None
    return found


def checkpoint(run, name="last.pt"):
    return torch.load(run.path / name, weights_only=True)["model"]


def killed(home, monkeypatch, tmp_path, method, *sets, recipe="vit.toml"):
    """The run of the same command, killed after each of its first two epochs."""

    class Killed(BaseException):
        pass

    save = engine.Training._save_last

    def then_die(training):
        save(training)
        raise Killed

    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    with monkeypatch.context() as patch:
        patch.setattr(engine.Training, "_save_last", then_die)
        for _ in range(2):
            with pytest.raises(Killed):
                run(home, method, *sets, recipe=recipe)
    return run(home, method, *sets, recipe=recipe)


def test_frozen_blocks_keep_weights_and_statistics_through_a_run_and_its_resumption(home, monkeypatch, tmp_path):
    sets = (BLOCKS, "train.weight_decay=0.1", "train.ema=0.5")
    whole = run(home, "plain", *sets, recipe="tiny.toml")
    one_epoch = run(home, "plain", *sets, "train.epochs=1", recipe="tiny.toml")
    weights, early = checkpoint(whole), checkpoint(one_epoch)
    frozen = [n for n in weights if n.startswith(("backbone.conv1.", "backbone.bn1.", "backbone.layer1."))]
    assert any("running_mean" in name for name in frozen)
    assert all(torch.equal(weights[name], early[name]) for name in frozen)
    assert not any(torch.equal(v, early[n]) for n, v in weights.items() if n not in frozen and v.ndim)
    assert_equal(
        outcome_of(killed(home, monkeypatch, tmp_path, "plain", *sets, recipe="tiny.toml").path), outcome_of(whole.path)
    )


@pytest.fixture(scope="module")
def tuned(home):
    pytest.importorskip("peft")
    return run(home, "plain", LORA)


def test_lora_leaves_the_weights_of_the_file_and_becomes_part_of_the_result(home, tuned):
    weights, last, best = torch.load(home / "vit.pt", weights_only=True), checkpoint(tuned), load_best(tuned)["model"]
    own = {name: value for name, value in weights.items() if not name.startswith("head.")}
    for name, value in own.items():
        layer, _, entry = f"backbone.model.{name}".rpartition(".")
        kept = last.get(f"{layer}.{entry}", last.get(f"{layer}.base_layer.{entry}"))
        assert torch.equal(kept, value), name
    assert {name.removeprefix("backbone.model.") for name in best if name.startswith("backbone.")} == set(own)
    changed = {name for name, value in own.items() if not torch.equal(best[f"backbone.model.{name}"], value)}
    assert changed == {name for name in own if name.endswith(("attn.qkv.weight", "attn.proj.weight"))}


def test_interrupted_a_run_with_lora_ends_in_the_same_bits(home, tuned, monkeypatch, tmp_path):
    assert_equal(outcome_of(killed(home, monkeypatch, tmp_path, "plain", LORA).path), outcome_of(tuned.path))


def test_what_it_became_is_used_like_any_other_and_without_peft(home, tuned, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "peft", None)
    recogniser, saved = Recogniser.load(tuned.path), SavedScores.load(tuned.scores("test"))
    files = [home / "data" / "tiny" / path for path in saved.paths]
    crops = torch.stack([evaluation_crop(decode_file(file), recogniser.recipe.data) for file in files])
    np.testing.assert_allclose(recogniser.scores(crops).logits, saved.logits, rtol=1e-4, atol=1e-5)
    export_folder(recogniser, tmp_path / "hub", Display(True))  # compares the scores
    head = run(home, "crt", f"plain.{LORA}")
    assert head.result().starts_from == tuned.name


@pytest.mark.parametrize(
    ("method", "sets"), [("lift", ["params.bottleneck=0"]), ("dme", []), ("plain", ["train.ema=0.9"])]
)
def test_every_method_takes_it(home, method, sets):
    pytest.importorskip("peft")
    done = run(home, method, LORA, *sets)
    own, under = load_best(done)["model"], done.result().starts_from
    assert not any("lora" in name for name in own)
    assert any(".lora_A." in name for name in checkpoint(done))
    before = load_best(run_from_path(home / "runs" / under))["model"] if under else None
    start = before or {f"backbone.model.{n}": v for n, v in torch.load(home / "vit.pt", weights_only=True).items()}
    moved = {n for n, v in own.items() if n.startswith("backbone.") and not torch.equal(v, start[n])}
    assert moved
    assert all(name.endswith(("attn.qkv.weight", "attn.proj.weight")) for name in moved)


def test_it_is_refused_in_one_line_before_anything_is_trained(home, monkeypatch):
    with pytest.raises(UsageProblem, match=r"^plain: train\.lora keeps .* backbone\.weights names none; for example"):
        run(home, "plain", LORA, 'backbone.weights=""')
    with pytest.raises(UsageProblem, match=r"^lift: keeps the backbone's weights anyway .* set train\.freeze to none"):
        run(home, "lift", BLOCKS)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageProblem, match=r"^train\.lora needs peft: pip install 'oltr\[peft\]'$"):
        run(home, "plain", "train.lora=5")
