"""The cosine classifier without squashing, for methods on lengths that do not count."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from oltr_cli.networks.layers import full_precision


class Cosine(nn.Module):
    """cos(w_c, v) of v (B, D) and every class, (B, K), without bias.

    Attributes:
        weight: (K, D), one vector per class; its length does not matter.
    """

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, feature_dim))
        bound = feature_dim**-0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, v: Tensor) -> Tensor:
        return cosines(v, self.weight)

    @torch.no_grad()
    def begin_at(self, means: NDArray[np.floating], counts: NDArray[np.integer]) -> None:
        """Begin at the class means (K, D) of ``counts`` (K,) features; a class without one keeps its random vector."""
        seen = torch.from_numpy(counts > 0).to(self.weight.device)
        # A vector's length only divides its steps; all begin equally long.
        unit = F.normalize(torch.from_numpy(means).to(self.weight))
        self.weight.copy_(torch.where(seen.unsqueeze(1), unit, self.weight))


def cosines(v: Tensor, w: Tensor) -> Tensor:
    """cos(w_c, v_n) of v (B, D) and w (K, D), (B, K), in float32 or finer; 0 for a vector of length 0."""
    with torch.autocast(v.device.type, enabled=False):  # a factor of the cosines makes rounding errors as large
        return F.linear(F.normalize(full_precision(v)), F.normalize(full_precision(w)))
