"""Weights from files: what is understood, what is refused, and that nothing is left random or run."""

import os
import pickle
import re
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from oltr_cli.errors import DataProblem
from oltr_cli.networks.backbones import Backbone, build_backbone
from oltr_cli.networks.weights import inherit_state, load_weights
from oltr_cli.recipe.specs import BackboneSpec

State = dict[str, Tensor]


def backbone(name: str = "resnet10", width: int = 4, *, seed: int = 0, extra_fc: bool = False, **spec: str) -> Backbone:
    torch.manual_seed(seed)
    return build_backbone(BackboneSpec(name=name, width=width, **spec), extra_fc=extra_fc).eval()


def trained_state(name: str = "resnet10", *, seed: int = 5) -> State:
    """A state whose every entry differs from what a new network begins with, batch-norm included."""
    state = backbone(name, seed=seed).state_dict()
    generator = torch.Generator().manual_seed(seed)
    for entry, value in state.items():
        if value.ndim == 1:
            noise = torch.rand(value.shape, generator=generator)
            value.copy_(noise + 0.5 if entry.endswith(("weight", "var")) else noise - 0.5)
        elif value.ndim == 0:
            value.fill_(17)
    return state


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def assert_holds(network: nn.Module, state: State) -> None:
    own = network.state_dict()
    assert all(torch.equal(own[name], value) for name, value in state.items())


def assert_refused(network: nn.Module, path: Path, *said: str) -> None:
    """One line that names the file, and a network left exactly as it was."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(DataProblem) as caught:
        load_weights(network, path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    for part in said:
        assert part in message
    assert_holds(network, before)


def test_torchvisions_state_loads_completely_and_gives_equal_features(tmp_path: Path) -> None:
    torch.manual_seed(3)
    theirs = torchvision.models.resnet18(weights=None)
    theirs.train()(torch.randn(4, 3, 64, 64))  # moves the running statistics away from 0 and 1
    ours = backbone("resnet18", 64)
    report = load_weights(ours, saved(tmp_path / "resnet18.pth", theirs.state_dict()))
    assert set(report.matched) == set(ours.state_dict())
    assert (report.missing, report.mis_shaped) == ((), {})
    assert set(report.unexpected) == {"fc.weight", "fc.bias"}
    assert report.summary() == "120 entries loaded; 2 not used: fc"
    theirs.fc = nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs.eval()(x))


def prefixed(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        OrderedDict,
        lambda s: {name: nn.Parameter(v, requires_grad=False) for name, v in s.items()},
        lambda s: {name: v.double() for name, v in s.items()},
        prefixed("module."),
        prefixed("backbone."),
        prefixed("module.encoder."),
        lambda s: {**prefixed("encoder_q.")(s), "queue": torch.zeros(3, 3)},
        lambda s: {"state_dict": s, "epoch": 3, "arch": "resnet10", "best": torch.tensor(1.0)},
        lambda s: {
            "state_dict": prefixed("module.")(s),
            "optimizer": {"state": {0: {"momentum_buffer": s["bn1.bias"]}}},
        },
        lambda s: {
            "state_dict_best": {"feat_model": prefixed("module.")(s), "classifier": {"fc.weight": torch.ones(2, 2)}}
        },
        lambda s: {"model": prefixed("backbone.")(s), "epoch": 1},
        lambda s: {"model": s, "model_ema": {name: v.clone() for name, v in s.items()}},
    ],
)
def test_wrappers_and_prefixes_are_seen_through(tmp_path: Path, wrap: Callable[[State], object]) -> None:
    state = trained_state()
    network = backbone()
    report = load_weights(network, saved(tmp_path / "w.pt", wrap(state)))
    assert set(report.matched) == set(state)
    assert not report.missing
    assert_holds(network, state)


def test_npz_and_safetensors_and_the_older_torch_format(tmp_path: Path) -> None:
    state = trained_state()
    np.savez(tmp_path / "w.npz", **{n: v.numpy() for n, v in state.items()}, classes=np.array(["a", "b"]))
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pth.tar", _use_new_zipfile_serialization=False)
    shutil.copy(tmp_path / "w.safetensors", tmp_path / "w.bin")
    torch.save(state, tmp_path / "torch.safetensors")
    for name in ("w.npz", "w.safetensors", "w.pth.tar", "w.bin", "torch.safetensors"):
        network = backbone()
        load_weights(network, tmp_path / name)
        assert_holds(network, state)


def test_step_counters_may_be_absent(tmp_path: Path) -> None:
    state = {n: v for n, v in trained_state().items() if not n.endswith("num_batches_tracked")}
    network = backbone()
    assert not load_weights(network, saved(tmp_path / "w.pt", state)).missing
    assert_holds(network, state)


def caffe_name(name: str, *, numbered: bool) -> str:
    """torchvision's name in the caffe models' way: letters for blocks (50 layers), or a, b1, b2, … (101 and 152)."""
    if name.startswith(("conv1.", "bn1.")):
        entry = name.split(".")[1]
        return {"conv1": "conv1", "bn1": "bn_conv1" if entry.startswith("running") else "scale_conv1"}[
            name.split(".")[0]
        ] + f".{entry}"
    stage, index, layer, entry = re.fullmatch(r"layer(\d)\.(\d+)\.(.+)\.(\w+)", name).groups()
    numbers = stage in "23"
    letter = ("a" if index == "0" else f"b{index}") if numbered and numbers else "abcdefgh"[int(index)]
    branch = {"downsample.0": "1", "downsample.1": "1"}.get(layer) or "2" + "abc"[int(layer[-1]) - 1]
    kind = "res" if layer.startswith("conv") or layer == "downsample.0" else "bn"
    if kind == "bn" and not entry.startswith("running"):
        kind = "scale"
    return f"{kind}{int(stage) + 1}{letter}_branch{branch}.{entry}"


@pytest.mark.parametrize(("depth", "numbered"), [("resnet50", False), ("resnet101", True), ("resnet152", True)])
def test_caffe_names_load_and_give_equal_features(tmp_path: Path, depth: str, numbered: bool) -> None:
    state = {n: v for n, v in trained_state(depth).items() if not n.endswith("num_batches_tracked")}
    renamed = {caffe_name(n, numbered=numbered): v for n, v in state.items()}
    assert len(renamed) == len(state)
    assert {"conv1.weight", "scale2a_branch1.bias", "bn5c_branch2c.running_var", "res3a_branch2b.weight"} <= set(
        renamed
    )
    assert ("res4b5_branch2a.weight" if numbered else "res4f_branch2a.weight") in renamed
    source, network = backbone(depth), backbone(depth, seed=9)
    source.load_state_dict(state, strict=False)
    report = load_weights(network, saved(tmp_path / "caffe.pth", {**renamed, "fc1000.weight": torch.ones(3, 3)}))
    assert not report.missing
    assert report.unexpected == ("fc1000.weight",)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(x), source(x))


def test_biases_of_convolutions_are_folded_into_batch_norm(tmp_path: Path) -> None:
    state = trained_state()
    biases = {"conv1.bias": 4, "layer2.0.conv2.bias": 8, "layer3.0.downsample.0.bias": 16}
    biased = {n: torch.linspace(-1, 1, size) for n, size in biases.items()}
    expected = backbone()
    expected.load_state_dict(state)
    for name, bias in biased.items():
        layer = expected.get_submodule(name.removesuffix(".bias"))
        layer.bias = nn.Parameter(bias)
    network = backbone(seed=2)
    report = load_weights(network, saved(tmp_path / "w.pt", {**state, **biased}))
    assert report.unexpected == ()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(x), expected(x))


@pytest.mark.parametrize("name", ["extra_fc", "fc_add"])
def test_an_extra_fc_is_filled_where_the_file_has_one(tmp_path: Path, name: str) -> None:
    state = trained_state()
    extra = {"weight": torch.randn(32, 32), "bias": torch.randn(32)}
    path = saved(tmp_path / "w.pt", {**state, **{f"{name}.{k}": v for k, v in extra.items()}})
    network = backbone(extra_fc=True)
    assert not load_weights(network, path).missing
    assert_holds(network, {f"extra_fc.{k}": v for k, v in extra.items()})
    assert len(load_weights(backbone(), path).unexpected) == 2


def test_an_extra_fc_may_begin_at_random_but_is_reported(tmp_path: Path) -> None:
    state = trained_state()
    network = backbone(extra_fc=True)
    first = network.extra_fc.weight.clone()
    report = load_weights(network, saved(tmp_path / "w.pt", state))
    assert set(report.missing) == {"extra_fc.weight", "extra_fc.bias"}
    assert "2 start at random: extra_fc.weight, extra_fc.bias" in report.summary()
    assert torch.equal(network.extra_fc.weight, first)
    report = load_weights(network, saved(tmp_path / "v.pt", {**state, "fc_add.weight": torch.ones(5, 32)}))
    assert report.mis_shaped == {"extra_fc.weight": ((5, 32), (32, 32))}
    assert "extra_fc.weight (5, 32) for (32, 32)" in report.summary()


def test_a_part_of_the_network_is_refused(tmp_path: Path) -> None:
    state = trained_state()
    half = dict(list(state.items())[: len(state) // 2])
    assert_refused(backbone(), saved(tmp_path / "half.pt", half), "lacks", "layer3.0.conv", "backbone.name")
    for name in ("layer4.0.bn2.running_var", "conv1.weight", "layer1.0.bn1.bias"):
        one_gone = {n: v for n, v in state.items() if n != name}
        assert_refused(backbone(), saved(tmp_path / "gone.pt", one_gone), "lacks 1 of", f"({name})")


def test_other_depths_are_refused_both_ways(tmp_path: Path) -> None:
    for of_file, of_network, said in [
        ("resnet34", "resnet18", "deeper or different"),  # every name and shape of the smaller one is there
        ("resnet101", "resnet50", "deeper or different"),
        ("resnet50", "resnet18", "deeper or different"),
        ("resnet18", "resnet34", "lacks"),
        ("resnet18", "resnet50", "another shape"),
    ]:
        path = saved(tmp_path / f"{of_file}.pt", trained_state(of_file))
        assert_refused(backbone(of_network), path, said)


def test_other_shapes_are_refused_with_both_shapes(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", trained_state())
    assert_refused(
        backbone(stem="small"), path, "1 of 72", "conv1.weight: (4, 3, 7, 7)", "(4, 3, 3, 3)", "backbone.stem"
    )
    assert_refused(backbone(width=8), path, "another shape", "backbone.width")


def test_files_without_a_resnet_are_refused(tmp_path: Path) -> None:
    for index, content in enumerate(
        [
            torchvision.models.alexnet(num_classes=2).features.state_dict(),
            {},
            [],
            3,
            {"epoch": 4},
            {"a": [torch.ones(2)]},
        ]
    ):
        assert_refused(backbone(), saved(tmp_path / f"{index}.pt", content), "holds another network")


def test_two_networks_in_a_file_are_not_guessed_between(tmp_path: Path) -> None:
    both = {"student": trained_state(seed=1), "teacher": trained_state(seed=2)}
    assert_refused(backbone(), saved(tmp_path / "w.pt", both), "two networks", "student", "teacher")


def test_two_entries_for_one_place_are_not_guessed_between(tmp_path: Path) -> None:
    state = {**trained_state(), "scale_conv1.weight": torch.ones(4)}
    assert_refused(backbone(), saved(tmp_path / "w.pt", state), "both bn1.weight and scale_conv1.weight")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    state = {n: v.double() for n, v in trained_state().items()}
    state["layer2.0.conv1.weight"][1, 0, 0, 0] = value
    assert_refused(backbone(), saved(tmp_path / "w.pt", state), "not finite", "layer2.0.conv1.weight")


def test_odd_tensors_do_not_count_as_weights(tmp_path: Path) -> None:
    state = trained_state()
    for index, odd in enumerate(
        [
            state["conv1.weight"].to_sparse(),
            torch.empty(state["conv1.weight"].shape, device="meta"),
            state["conv1.weight"].to(torch.int8),
            state["conv1.weight"].to(torch.complex64),
            "a string",
        ]
    ):
        path = saved(tmp_path / f"{index}.pt", {**state, "conv1.weight": odd})
        assert_refused(backbone(), path, "lacks 1 of", "conv1.weight")


def test_names_of_a_file_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    state = {**trained_state(), "\x1b[2J\nowned[bold]": torch.ones(1)}
    said = load_weights(backbone(), saved(tmp_path / "w.pt", state)).summary()
    assert not set("\x1b\n[]") & set(said)


class Hostile:
    """Creates a file when it is unpickled by anything that trusts it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


def write_hostile_npz(content: object, path: Path) -> None:
    np.savez(path, **{"conv1.weight": np.array([content], dtype=object)})


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("zip.pt", torch.save),
        ("pickle.pth", lambda content, path: path.write_bytes(pickle.dumps(content))),
        ("protocol2.pth", lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))),
        ("objects.npz", write_hostile_npz),
        ("pickle.npz", lambda content, path: path.write_bytes(pickle.dumps(content))),
    ],
)
def test_a_hostile_file_is_refused_and_does_nothing(
    tmp_path: Path, name: str, write: Callable[[object, Path], object]
) -> None:
    mark, path = tmp_path / "mark", tmp_path / name
    payload = {"conv1.weight": Hostile(mark)}
    pickle.loads(pickle.dumps(payload))
    assert mark.is_dir(), "the payload must work where it is trusted"
    mark.rmdir()
    write(payload, path)
    assert_refused(backbone(), path, "refused, because ")
    assert not mark.exists()


def test_a_whole_pickled_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", nn.Linear(2, 2))
    assert_refused(backbone(), path, "refused, because ", "torch.nn.modules.linear.Linear", "state_dict()")


@pytest.mark.parametrize("name", ["w.pt", "legacy.pth", "w.npz", "w.safetensors"])
def test_files_cut_short_are_refused_wherever_the_cut_is(tmp_path: Path, name: str) -> None:
    state, path = trained_state(), tmp_path / name
    if name == "w.npz":
        np.savez(path, **{n: v.numpy() for n, v in state.items()})
    elif name == "w.safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=name == "w.pt")
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        assert_refused(backbone(), path)


def test_text_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.pt"
    page.write_text("<html>404 not found</html>\n" * 20)
    assert_refused(backbone(), page, "not a weight file")
    pointer = tmp_path / "model.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    assert_refused(backbone(), pointer, "git lfs has not replaced yet; download the file itself")
    assert_refused(backbone(), tmp_path / "absent.pt", "no such weight file")
    os.mkfifo(tmp_path / "pipe.pt")
    assert_refused(backbone(), tmp_path / "pipe.pt", "not a regular file")
    for suffix in (".pt", ".npz", ".safetensors"):
        assert_refused(backbone(), tmp_path / f"absent{suffix}", "no such weight file")
        folder = tmp_path / f"folder{suffix}"
        folder.mkdir()
        assert_refused(backbone(), folder, "cannot be read")


def test_a_dict_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, object] = {"state_dict": trained_state()}
    content["self"] = content
    load_weights(backbone(), saved(tmp_path / "w.pt", content))


def test_home_folder_and_text_paths_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path / "w.pt", trained_state())
    assert not load_weights(backbone(), "~/w.pt").missing


class Stage(nn.Module):
    """A backbone with heads, as methods are built."""

    def __init__(self, seed: int, *, classes: int = 3, head: bool = False) -> None:
        super().__init__()
        self.backbone = backbone(seed=seed, extra_fc=head)
        self.classifier = nn.Linear(32, classes)
        if head:
            self.head = nn.ModuleDict({"hallucinator": nn.Linear(32, classes), "selector": nn.Linear(32, 32)})


def test_inherit_takes_the_same_names_and_reports_the_rest() -> None:
    parent, child = Stage(1).state_dict(), Stage(2, head=True)
    first = {n: v.clone() for n, v in child.state_dict().items()}
    report = inherit_state(child, parent)
    assert set(report.matched) == set(parent)
    assert_holds(child, parent)
    left = {f"{p}.{e}" for p in ("backbone.extra_fc", "head.hallucinator", "head.selector") for e in ("weight", "bias")}
    assert set(report.missing) == left
    assert_holds(child, {name: first[name] for name in left})
    assert report.unexpected == ()


def test_inherit_renames_by_the_longest_beginning() -> None:
    parent, child = Stage(1).state_dict(), Stage(2, head=True)
    first = {n: v.clone() for n, v in child.state_dict().items()}
    mapping = {"class": "wrong.", "classifier.": "head.hallucinator.", "classifier.bias": "nowhere.bias"}
    report = inherit_state(child, parent, mapping)
    own = child.state_dict()
    assert torch.equal(own["head.hallucinator.weight"], parent["classifier.weight"])
    assert torch.equal(own["classifier.weight"], first["classifier.weight"])
    assert torch.equal(own["head.hallucinator.bias"], first["head.hallucinator.bias"])
    assert report.unexpected == ("classifier.bias",)
    assert {"classifier.weight", "classifier.bias", "head.hallucinator.bias"} <= set(report.missing)


def test_inherit_reports_other_shapes_as_missing_too() -> None:
    parent, child = Stage(1, classes=5).state_dict(), Stage(2)
    report = inherit_state(child, parent)
    assert report.mis_shaped == {"classifier.weight": ((5, 32), (3, 32)), "classifier.bias": ((5,), (3,))}
    assert set(report.missing) == {"classifier.weight", "classifier.bias"}


def test_inherited_weights_are_copies_and_keep_the_memory_format() -> None:
    parent = Stage(1).state_dict()
    child = Stage(2).to(memory_format=torch.channels_last)
    inherit_state(child, parent)
    weight = child.backbone.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    kept = weight.detach().clone()
    parent["backbone.layer1.0.conv1.weight"].zero_()
    assert torch.equal(weight, kept)
