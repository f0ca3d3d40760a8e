"""Optimizer of a stage: SGD or AdamW, with groups for the parts of a method and the layers of its backbone."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from oltr_cli.base.added_code import defined_at
from oltr_cli.errors import OltrError, UsageProblem, nearest
from oltr_cli.method import Method
from oltr_cli.recipe.train import TrainSpec


def build_optimizer(method: Method, train: TrainSpec, *, fused: bool = False) -> Optimizer:
    """The recipe's optimizer over ``method.parts()``, each with its own rate, without parameters that are frozen.

    A part is one group. With ``layer_decay`` and ``decay_norms`` it is several, of one name; those with the largest
    rate come last.

    Args:
        fused: one kernel for all parameters, which ``LossWatch`` can tell on the device to skip a step.
    Raises:
        UsageProblem: the recipe gives no learning rate for a part, or has ``layer_decay`` for a backbone that does not
            name its layers.
        OltrError: ``parts`` returns no dict.
    """
    frozen = {id(p) for p in method.backbone.parameters() if not p.requires_grad}
    factors = _layer_factors(method, train.layer_decay)
    undecayed = _undecayed(method) if train.decay_norms is False else None
    groups: list[dict[str, Any]] = []
    parts = method.parts()
    if not isinstance(parts, dict):
        raise OltrError(f"{defined_at(method.parts)}: returns a {type(parts).__name__}, not a dict of parameters")
    for part, parameters in parts.items():
        if part not in train.lr:
            raise UsageProblem(f"train.lr has no rate for the part '{part}'{nearest(part, train.lr)}")
        moving = [p for p in parameters if id(p) not in frozen]
        for factor, inside in _by_layer(moving, factors):
            groups += _groups(inside, {"lr": train.lr[part] * factor, "name": part}, undecayed)
    common: dict[str, Any] = {"lr": 0.0, "weight_decay": train.weight_decay, "fused": fused or None}
    if train.optimizer == "adamw":
        return AdamW(groups, **common, betas=train.betas or (0.9, 0.999))
    return SGD(groups, **common, momentum=train.momentum)


def _layer_factors(method: Method, decay: float | None) -> dict[int, float]:
    """Parameter's id → factor of its rate: ``decay`` for the backbone's last layer, its square for the one before…

    Source: Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022, as timm counts layers. What follows
    the backbone's layers is not among them.
    """
    if decay is None:
        return {}
    layers = method.backbone.layer_groups()
    return {id(p): decay ** (len(layers) - number) for number, layer in enumerate(layers) for p in layer}


def _by_layer(parameters: list[nn.Parameter], factors: dict[int, float]) -> Iterator[tuple[float, list[nn.Parameter]]]:
    """The parameters that have one factor, for each factor, ascending."""
    for factor in sorted({factors.get(id(p), 1.0) for p in parameters}):
        yield factor, [p for p in parameters if factors.get(id(p), 1.0) == factor]


def _undecayed(method: Method) -> set[int]:
    """Ids of the parameters without weight decay: scales and shifts of norms, biases, and what the backbone names."""
    flat = {id(p) for name, p in method.named_parameters() if p.ndim <= 1 or name.endswith(".bias")}
    return flat | {id(p) for p in method.backbone.undecayed()}


def _groups(
    parameters: list[nn.Parameter], facts: dict[str, Any], undecayed: set[int] | None
) -> Iterator[dict[str, Any]]:
    if undecayed is None:
        yield {"params": parameters, **facts}
        return
    without, others = ([p for p in parameters if (id(p) in undecayed) == wanted] for wanted in (True, False))
    if without:
        yield {"params": without, **facts, "weight_decay": 0.0}
    if others:
        yield {"params": others, **facts}
