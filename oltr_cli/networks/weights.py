"""Initial weights of a network: from a file for a backbone, from the run it starts from for a method.

Wrappers ({"state_dict": …}, {"state_dict_best": {"feat_model": …}}) and prefixes (``module.``, ``encoder.``) need no
list: names are compared from their ends, and the one place in the file with every name of the backbone is the network.

Names understood beside torchvision's: those of the caffe ResNets (conv1, bn_conv1, scale_conv1, res4b7_branch2a,
bn4b7_branch2a, scale4b7_branch2a, branch1 for the shortcut), and the authors' fc_add for the extra fc. Names do not
show that caffe's networks have the stride of a bottleneck in its first convolution and round up in the max-pool. As in
the authors' Places-LT recipe their weights go into torchvision's geometry anyway, and training adapts them. A
conversion that expects BGR images of 0..255 has the same names and shapes, too; use the RGB one.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from oltr_cli.errors import DataProblem
from oltr_cli.networks.backbones import Backbone
from oltr_cli.networks.other_names import renamed
from oltr_cli.networks.weight_files import COUNTER, read_tensors

_CAFFE_STEM = {"bn_conv1": "bn1", "scale_conv1": "bn1"}
_CAFFE_BLOCK = re.compile(r"(res|bn|scale)([2-5])(?:([a-z])|b([0-9]+))_branch(1|2a|2b|2c)")


@dataclass(frozen=True)
class WeightsReport:
    """What happened to every entry.

    Attributes:
        matched: entries of the network that were filled.
        missing: entries that keep their random initial values, including mis-shaped ones; batch-norm's step counters
            are not listed.
        unexpected: entries of the source that the network does not use, such as ``fc.weight``.
        mis_shaped: entries found with another shape: (shape in the source, shape in the network).
        found_by: how entries were recognised, if not by their names; or which of several networks was taken.
    """

    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mis_shaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    found_by: str = ""

    def summary(self) -> str:
        """One line for the user; safe to print whatever the names in the file contain."""
        parts = [f"{len(self.matched)} entries loaded{self.found_by and f', {self.found_by}'}"]
        absent = [name for name in self.missing if name not in self.mis_shaped]
        if absent:
            parts.append(f"{len(absent)} start at random: {_few(absent)}")
        if self.mis_shaped:
            parts.append(f"{len(self.mis_shaped)} start at random because of their shape: {self._shapes()}")
        if self.unexpected:
            heads = list(dict.fromkeys(name.partition(".")[0] for name in self.unexpected))
            parts.append(f"{len(self.unexpected)} not used: {_few(heads)}")
        return "; ".join(parts)

    def _shapes(self) -> str:
        shown = [f"{_shown(n)} {there} for {here}" for n, (there, here) in list(self.mis_shaped.items())[:2]]
        return ", ".join(shown) + (", …" if len(self.mis_shaped) > 2 else "")


def load_weights(backbone: Backbone, path: str | Path) -> WeightsReport:
    """Fill a backbone from a file; only ``extra_fc`` may stay random. A refused file leaves the backbone as it was.

    Raises:
        DataProblem: the file is missing, cut short, asks to run code, holds another network, two that fit, a deeper
            one, one of other shapes, only a part of one, or values that are not finite.
    """
    path = Path(path).expanduser()
    entries = read_tensors(path)
    try:
        return _fill(backbone, path, entries)
    except DataProblem:
        other, how = renamed(backbone, entries, [name for name in backbone.weight_entries() if _is_needed(name)])
        if not how:
            raise
        return replace(_fill(backbone, path, other), found_by=how)


def _fill(backbone: Backbone, path: Path, entries: dict[str, Tensor]) -> WeightsReport:
    """Fill the backbone with the entries of a file, or leave it as it was."""
    own = backbone.weight_entries()
    prefix, sources, averaged = _locate(path, entries, own)
    found = {name: entries[source] for name, source in sources.items()}

    used = set(sources.values())
    strays = {_torchvision_name(n.removeprefix(prefix)): n for n in entries if n not in used and n.startswith(prefix)}
    used |= _fold_conv_biases(found, strays, entries)
    stages = {name.partition(".")[0] for name in own} - {"extra_fc"}
    heads = tuple(f"{name}." for name in backbone.heads)
    inside = [n for n in strays if n.partition(".")[0] in stages and strays[n] not in used]
    surplus = [n for n in inside if not n.startswith(heads)]
    if surplus:
        raise DataProblem(
            f"{path}: holds {len(surplus)} entries of a deeper or different network ({_few(surplus)}); "
            "set backbone.name to the network it was trained with"
        )
    report = _compare(own, found, tuple(n.removeprefix(prefix) for n in entries if n not in used))
    _refuse_gaps(path, report, own)
    broken = [n for n in report.matched if not torch.isfinite(found[n].to(own[n].dtype)).all()]
    if broken:
        raise DataProblem(f"{path}: {len(broken)} entries hold values that are not finite ({_few(broken)})")
    _copy(own, found, report)
    return replace(report, found_by=averaged)


def inherit_state(
    module: nn.Module, parent_state: dict[str, Tensor], mapping: dict[str, str] | None = None
) -> WeightsReport:
    """Fill ``module`` with the parent's entries of the same name and shape; the rest keeps its initial values.

    Args:
        module: the network of the new stage.
        parent_state: the state dict of the run it starts from.
        mapping: prefix of the parent's names -> prefix here, such as ``{"classifier.": "head.hallucinator."}``; the
            longest prefix that fits is replaced.
    """
    own: dict[str, Tensor] = module.state_dict()
    beginnings = sorted(mapping or {}, key=len, reverse=True)
    found, unexpected = {}, []
    for name, value in parent_state.items():
        old = next((b for b in beginnings if name.startswith(b)), "")
        here = (mapping or {}).get(old, "") + name.removeprefix(old)
        if here in own:
            found[here] = value
        else:
            unexpected.append(name)
    report = _compare(own, found, tuple(unexpected))
    _copy(own, found, report)
    return report


def _locate(path: Path, entries: dict[str, Tensor], own: dict[str, Tensor]) -> tuple[str, dict[str, str], str]:
    """The prefix of the backbone in the file, the file's name for each of its entries, and what to say of the choice.

    Of weights and their moving average (``state_dict_ema``, ``model_ema``) the average is taken, as timm does.
    """
    longest = max(name.count(".") + 1 for name in own)  # 5 in a ResNet: layer1.0.downsample.1.weight
    fits: dict[str, dict[str, str]] = {}
    for source in entries:
        parts = source.split(".")
        for start in range(max(0, len(parts) - longest), len(parts)):
            name = _torchvision_name(".".join(parts[start:]))
            if name in own:
                prefix = "".join(f"{part}." for part in parts[:start])
                fit = fits.setdefault(prefix, {})
                if name in fit:
                    raise DataProblem(f"{path}: both {_shown(fit[name])} and {_shown(source)} would be {name}")
                fit[name] = source
    if not fits:
        raise DataProblem(
            f"{path}: holds another network: none of its {len(entries)} tensors is named like one of the backbone's"
        )
    needed = {name for name in own if _is_needed(name)}
    complete = [prefix for prefix, names in fits.items() if needed <= names.keys()]
    averages = [prefix for prefix in complete if "ema" in re.split(r"[._]", prefix)]
    if len(complete) > len(averages) == 1:
        return averages[0], fits[averages[0]], f"of {_shown(averages[0]).rstrip('.')}, the moving average"
    for rival in complete[1:]:
        first, second = fits[complete[0]], fits[rival]
        if not all(torch.equal(entries[first[name]], entries[second[name]]) for name in needed):
            raise DataProblem(
                f"{path}: holds two networks that fit, under '{_shown(complete[0])}' and '{_shown(rival)}'; "
                "save only the one to load"
            )
    prefix = complete[0] if complete else max(fits, key=lambda prefix: len(fits[prefix]))
    return prefix, fits[prefix], ""


def _torchvision_name(name: str) -> str:
    """``res4b7_branch2a.weight`` -> ``layer3.7.conv1.weight``; other names are returned unchanged."""
    layer, _, entry = name.partition(".")
    if layer == "fc_add":
        return f"extra_fc.{entry}"
    if layer in _CAFFE_STEM:
        return f"{_CAFFE_STEM[layer]}.{entry}"
    block = _CAFFE_BLOCK.fullmatch(layer)
    if block is None:
        return name
    kind, stage, letter, number, branch = block.groups()
    index = int(number) if number else ord(letter) - ord("a")
    if branch == "1":
        inner = "downsample.0" if kind == "res" else "downsample.1"
    else:
        inner = ("conv" if kind == "res" else "bn") + str("abc".index(branch[1]) + 1)
    return f"layer{int(stage) - 1}.{index}.{inner}.{entry}"


def _fold_conv_biases(found: dict[str, Tensor], strays: dict[str, str], entries: dict[str, Tensor]) -> set[str]:
    """Fold the bias of a convolution into the mean of the batch-norm after it, which it only shifts.

    caffe's ResNet-50 has such a bias on conv1. Returns the file's names that were used up.
    """
    used = set()
    for name, source in strays.items():
        norm = name.removesuffix(".bias").replace("downsample.0", "downsample.1").replace("conv", "bn")
        mean = f"{norm}.running_mean"
        if name == f"{norm}.bias" or mean not in found or found[mean].shape != entries[source].shape:
            continue
        found[mean] = found[mean] - entries[source]
        used.add(source)
    return used


def _refuse_gaps(path: Path, report: WeightsReport, own: dict[str, Tensor]) -> None:
    """Check that only an extra fc stays random in a loaded backbone."""
    lacking = [name for name in report.missing if _is_needed(name)]
    shaped = {name: shapes for name, shapes in report.mis_shaped.items() if _is_needed(name)}
    if shaped:
        name, (there, here) = next(iter(shaped.items()))
        raise DataProblem(
            f"{path}: {len(shaped)} of {len(own)} entries have another shape, such as {name}: {there} in the file, "
            f"{here} in the network; set backbone.name, backbone.stem and backbone.width to those it was trained with"
        )
    if lacking:
        raise DataProblem(
            f"{path}: lacks {len(lacking)} of the backbone's {len(own)} entries ({_few(lacking)}); "
            "set backbone.name to the network it was trained with, or use a complete file"
        )


def _is_needed(name: str) -> bool:
    return not name.startswith("extra_fc.") and not name.endswith(COUNTER)


def _compare(own: dict[str, Tensor], found: dict[str, Tensor], unexpected: tuple[str, ...]) -> WeightsReport:
    fits = {name for name, value in found.items() if value.shape == own[name].shape}
    return WeightsReport(
        matched=tuple(name for name in own if name in fits),
        missing=tuple(name for name in own if name not in fits and not name.endswith(COUNTER)),
        unexpected=unexpected,
        mis_shaped={n: (tuple(v.shape), tuple(own[n].shape)) for n, v in found.items() if n not in fits},
    )


def _copy(own: dict[str, Tensor], found: dict[str, Tensor], report: WeightsReport) -> None:
    """Fill the network in place: a state dict shares its memory, and the destination keeps dtype and memory format."""
    for name in report.matched:
        own[name].copy_(found[name])


def _few(names: list[str]) -> str:
    return ", ".join(_shown(name) for name in names[:3]) + (", …" if len(names) > 3 else "")


def _shown(name: str) -> str:
    """A name from an untrusted file, safe for a terminal line."""
    return "".join(c if c.isalnum() or c in "._-" else "?" for c in name[:60])
