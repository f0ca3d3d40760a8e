"""Layers that several methods share: the cosine classifier with its squashing, and the two attentions."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Squash = Literal["code", "paper"]
AttentionInit = Literal["code", "zero"]
_TINY = 1e-12


def squash(x: Tensor, form: Squash = "code") -> Tensor:
    """Shrink vectors x (B, D) to a length below 1, short ones to almost nothing (Sabour et al. 2017).

    ``code``: x / (1 + ‖x‖), what the authors ran. ``paper``: Eq. 6, (‖x‖² / (1 + ‖x‖²)) · x / ‖x‖.
    """
    norm = x.norm(dim=1, keepdim=True)
    if form == "paper":
        return norm / (1 + norm * norm) * x
    return x / (1 + norm)


class CosineClassifier(nn.Module):
    """logits = scale · squash(x) · (w / ‖w‖)ᵀ, without bias (Sec. 3.3; Gidaris & Komodakis 2018).

    Attributes:
        weight: (K, D), one vector per class; its length does not matter.
    """

    def __init__(self, feature_dim: int, num_classes: int, scale: float = 16.0, form: Squash = "code") -> None:
        super().__init__()
        self.scale, self.form = scale, form
        self.weight = nn.Parameter(torch.empty(num_classes, feature_dim))
        bound = feature_dim**-0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, D) → logits (B, K)."""
        # Dividing the (B, K) products, not the (K, D) weights, avoids a copy of the weights and of its gradient.
        length = self.weight.norm(dim=1).clamp_min(_TINY)
        return F.linear(self.scale * squash(x, self.form), self.weight) / length


def full_precision(x: Tensor) -> Tensor:
    """x in torch's default precision, or in its own if that is finer: for losses and sums of squares.

    Under autocast a network gives half precision, which sums of squares overflow; the default is float32 unless
    ``OLTR_PRECISION`` asks for float64.
    """
    return x.to(torch.promote_types(x.dtype, torch.get_default_dtype()))


class SelfAttention(nn.Module):
    """SA(f): embedded-Gaussian non-local block (Wang et al. 2018) with C/2 inner channels.

    With ``init`` "zero" it starts as zero, by the weights of ``out``. With "code" the weights of all four convolutions
    are drawn from N(0, 2 / channels out) and biases are 0, as in the authors' code, where the initialisation of the
    whole network comes after that of this block.
    """

    def __init__(self, channels: int, init: AttentionInit = "zero") -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.g = nn.Conv2d(channels, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1, bias=False)
        nn.init.zeros_(self.out.weight)
        if init == "code":
            for conv in (self.theta, self.phi, self.g, self.out):
                nn.init.normal_(conv.weight, std=(2 / conv.out_channels) ** 0.5)
                if conv.bias is not None:
                    nn.init.zeros_(conv.bias)

    def forward(self, f: Tensor) -> Tensor:
        """Feature map (B, C, H, W) → (B, C, H, W)."""
        theta, phi, g = (conv(f).flatten(2) for conv in (self.theta, self.phi, self.g))  # (B, C/2, HW)
        affinity = (theta.transpose(1, 2) @ phi).softmax(dim=2)  # (B, HW, HW), a distribution over cells in each row
        mixed = (g @ affinity.transpose(1, 2)).view(*g.shape[:2], *f.shape[2:])
        return self.out(mixed)


class CellAttention(nn.Module):
    """MA(f): softmax over the H·W cells of a linear map C·H·W → H·W of the feature map (Sec. 3.2)."""

    def __init__(self, channels: int, map_size: tuple[int, int]) -> None:
        super().__init__()
        cells = map_size[0] * map_size[1]
        self.map_size = map_size
        self.linear = nn.Linear(channels * cells, cells)

    def forward(self, f: Tensor) -> Tensor:
        """Feature map (B, C, H, W) → weights (B, 1, H, W) that sum to 1 over the cells."""
        if tuple(f.shape[2:]) != self.map_size:
            raise ValueError(f"attention was built for a {self.map_size} map, not {tuple(f.shape[2:])}")
        return self.linear(f.flatten(1)).softmax(dim=1).view(-1, 1, *self.map_size)


class Attention(nn.Module):
    """The kinds of attention that Fig. 5 (c) compares, on the last feature map f.

    ``modulated``: f + MA(f) ⊙ SA(f) (Eq. 5), at first f itself unless ``init`` is "code". ``spatial``: f + MA(f) ⊙ f,
    the weights applied to f itself.
    """

    def __init__(
        self,
        kind: Literal["spatial", "modulated"],
        channels: int,
        map_size: tuple[int, int],
        init: AttentionInit = "zero",
    ) -> None:
        super().__init__()
        self.cells = CellAttention(channels, map_size)
        self.self_attention = SelfAttention(channels, init) if kind == "modulated" else None

    def forward(self, f: Tensor) -> Tensor:
        """Feature map (B, C, H, W) → (B, C, H, W)."""
        attended = f if self.self_attention is None else self.self_attention(f)
        return f + self.cells(f) * attended
