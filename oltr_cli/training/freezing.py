"""What of the backbone a run does not train."""

from collections.abc import Callable

import torch
from rich.markup import escape
from torch import nn

from oltr_cli.base.seeding import derive
from oltr_cli.errors import UsageProblem
from oltr_cli.method import FeatureMethod, Method
from oltr_cli.networks.lora import add_lora
from oltr_cli.recipe.specs import Recipe


def freeze(
    method: Method, recipe: Recipe, seed: int, say: Callable[[str], None] = lambda line: None
) -> list[nn.Module]:
    """Leave out of training what the recipe does not train, and add LoRA if it asks for some.

    Args:
        method: with its first weights, on the CPU.
        say: told how large LoRA is.
    Returns:
        layers to set to eval mode while the rest trains: batch norms, whose statistics are weights too.
    Raises:
        UsageProblem: the backbone has fewer blocks than are to be frozen, or no attention for LoRA.
    """
    if recipe.train.freeze_backbone or isinstance(method, FeatureMethod):
        freeze_backbone(method)
        return frozen_norms(method, whole=True)
    if recipe.train.frozen_blocks:
        freeze_blocks(method, recipe.train.frozen_blocks)
        return frozen_norms(method, whole=False)
    if recipe.train.lora:
        torch.manual_seed(derive(seed, "lora", recipe.method))
        said = add_lora(method.backbone, recipe.backbone.name, recipe.train, recipe.data.image_size)
        say(f"[dim]{escape(said)}[/]")
        return frozen_norms(method, whole=True)
    return []


def freeze_backbone(method: Method) -> None:
    """Exclude the backbone from training; a fc after its pooling is still trained (the authors' Places-LT recipe)."""
    for name, parameter in method.backbone.named_parameters():
        parameter.requires_grad_(name.startswith("extra_fc"))


def freeze_blocks(method: Method, blocks: int) -> None:
    """Exclude the first ``blocks`` layers of the backbone from training; the stem is the first.

    Raises:
        UsageProblem: it has fewer, or does not name its layers.
    """
    layers = method.backbone.layer_groups()
    if blocks > len(layers):
        raise UsageProblem(
            f"train.freeze = {blocks} blocks: the backbone '{method.setup.backbone.name}' has {len(layers)}, the stem "
            "among them; with all of it frozen, heads are trained on saved features: train.freeze = all"
        )
    for layer in layers[:blocks]:
        for parameter in layer:
            parameter.requires_grad_(False)


def frozen_norms(method: Method, *, whole: bool) -> list[nn.Module]:
    """The batch-norm layers that keep their statistics while the rest trains, which are set to eval mode for it.

    Args:
        whole: all of the backbone, else those without a parameter that is trained.
    """
    norms: list[nn.Module] = [m for m in method.backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return norms if whole else [norm for norm in norms if _is_frozen(norm)]


def _is_frozen(norm: nn.Module) -> bool:
    parameters = list(norm.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)
