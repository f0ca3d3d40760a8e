"""Adapters in the blocks of a transformer, whose own weights stay as they are."""

import math
from functools import partial

from torch import Tensor, nn

from oltr_cli.errors import UsageProblem
from oltr_cli.networks.backbones import Backbone


class AdaptFormer(nn.Module):
    """s · W_up relu(W_down x + b_down) + s · b_up of tokens x (…, D); 0 at first.

    Attributes:
        down: D to r; ``up``: r to D, 0 at first.
        scale: s (1,), 1 at first and trained.
    """

    def __init__(self, dim: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, bottleneck)
        self.up = nn.Linear(bottleneck, dim)
        self.scale = nn.Parameter(self.down.weight.new_ones(1))
        nn.init.kaiming_normal_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.up(self.down(x).relu())


def adapted_mlps(backbone: Backbone, name: str, method: str) -> list[tuple[nn.Module, int]]:
    """The MLP of each transformer block of the backbone, in order, and the size D of its tokens.

    Args:
        name: of the backbone; ``method``: that of the method, both for the message.
    Raises:
        UsageProblem: it has no such block.
    """
    found = []
    for block in backbone.modules():
        mlp = getattr(block, "mlp", None)
        if isinstance(mlp, nn.Module) and isinstance(getattr(block, "attn", None), nn.Module):
            first = next((layer for layer in mlp.modules() if isinstance(layer, nn.Linear)), None)
            if first is not None:
                found.append((mlp, first.in_features))
    if not found:
        raise UsageProblem(
            f"{method} adapts the MLP of every transformer block, and backbone '{name}' has none; use a transformer, "
            "such as --set backbone.name=timm/vit_small_patch16_224 --weights hub"
        )
    return found


def add_to(mlp: nn.Module, adapter: AdaptFormer) -> None:
    """From now on ``mlp`` gives mlp(x) + adapter(x). The adapter is no part of it: names of weights stay."""
    mlp.register_forward_hook(partial(_sum, adapter))


def _sum(adapter: AdaptFormer, mlp: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + adapter(inputs[0])
