"""LoRA in the attention of a transformer: W x + (α / r) · B A x, with trained A (r, in) and B (out, r), through peft.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022. A is random and B is 0 at first; W
stays. A network has LoRA only while it is trained: best.pt holds W + (α / r) · B A under the name of W, so that
everything after training needs no peft.
"""

import importlib.util
import re
from typing import Any

import torch
from torch import Tensor, nn

from oltr_cli.errors import OltrError, UsageProblem, first_line
from oltr_cli.networks.backbones import Backbone
from oltr_cli.recipe.train import TrainSpec

INSTALL = "pip install 'oltr[peft]'"


def check_peft() -> None:
    """Raises UsageProblem: peft is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise UsageProblem(f"train.lora needs peft: {INSTALL}")


def add_lora(backbone: Backbone, name: str, train: TrainSpec, image_size: int) -> str:
    """Add LoRA to every linear layer of the attention, and leave everything else but an extra fc out of training.

    A is drawn from torch's generator.

    Args:
        name: of the backbone, for the message.
    Returns:
        a line that says how much is trained.
    Raises:
        UsageProblem: the backbone has no such layer, or peft is not installed.
        OltrError: peft cannot be imported.
    """
    check_peft()
    layers = attention_layers(backbone, image_size)
    if not layers:
        raise UsageProblem(
            f"train.lora changes the attention of transformer blocks, and backbone '{name}' has none; use a "
            "transformer, such as --set backbone.name=timm/vit_small_patch16_224 --weights hub"
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise OltrError(f"peft cannot be imported ({first_line(error)}): {INSTALL}") from None
    before = sum(p.numel() for p in backbone.parameters())
    assert train.lora is not None
    inject_adapter_in_model(
        LoraConfig(
            r=train.lora,
            lora_alpha=train.lora_alpha or train.lora,
            target_modules="|".join(re.escape(layer) for layer in layers),
        ),
        backbone,
    )
    if backbone.extra_fc is not None:
        backbone.extra_fc.requires_grad_(True)
    added = sum(p.numel() for p in backbone.parameters()) - before
    kinds = ", ".join(dict.fromkeys(layer.rpartition(".")[2] for layer in layers))
    return f"LoRA of rank {train.lora} in {len(layers)} layers ({kinds}): {added:,} weights beside {before:,} that stay"


@torch.no_grad()
def attention_layers(backbone: Backbone, image_size: int) -> list[str]:
    """Names of the linear layers inside of every block's ``attn``.

    Some models take only the weight of such a layer, as BEiT's qkv: LoRA would have no effect there. So it is tried
    which of them are called.
    """
    called: set[int] = set()

    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        called.add(id(layer))

    found: dict[nn.Module, Any] = {}
    for block in backbone.modules():
        if isinstance(attention := getattr(block, "attn", None), nn.Module):
            linear = [layer for layer in attention.modules() if isinstance(layer, nn.Linear)]
            found |= {layer: layer.register_forward_hook(note) for layer in linear if layer not in found}
    training = backbone.training
    try:
        if found:
            backbone.eval()(torch.zeros(1, 3, image_size, image_size))
    finally:
        backbone.train(training)
        for hook in found.values():
            hook.remove()
    return [name for name, layer in backbone.named_modules() if id(layer) in called]


@torch.no_grad()
def merged_state(network: nn.Module) -> dict[str, Tensor]:
    """The state of a network with LoRA as that of the network without it which computes the same."""
    from peft.tuners.lora import LoraLayer

    state: dict[str, Tensor] = network.state_dict()
    for name, layer in network.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        own = {key: state.pop(key) for key in list(state) if key.startswith(f"{name}.")}
        start = f"{name}.base_layer."
        state |= {f"{name}.{key.removeprefix(start)}": v for key, v in own.items() if key.startswith(start)}
        state[f"{name}.weight"] = state[f"{name}.weight"] + layer.get_delta_weight("default")
    return state
