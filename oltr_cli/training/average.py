"""The moving average of a network's weights, which is validated, saved as the best and scored in their place."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from oltr_cli.method import Method

WARM_UP = (
    10  # the n-th update (from 0) has a decay of at most (1 + n) / (WARM_UP + n), so that early weights are forgotten
)


class WeightAverage:
    """Exponential moving average of parameters and buffers: a ← d · a + (1 − d) · w after each optimizer step.

    The statistics of batch norm are averaged like weights. Whole numbers, such as its count of batches, are copied.

    Attributes:
        values: entry of the method's state → its average.
        updates: how many were made.
    """

    def __init__(self, method: Method, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.values = {name: value.detach().clone() for name, value in method.state_dict().items()}

    @torch.no_grad()
    def update(self, method: Method) -> None:
        """Take in the weights of ``method``, without waiting for a GPU."""
        decay = min(self.decay, (1 + self.updates) / (WARM_UP + self.updates))
        weights = method.state_dict()
        moving = {name: value for name, value in self.values.items() if value.is_floating_point()}
        torch._foreach_lerp_(list(moving.values()), [weights[name] for name in moving], 1 - decay)
        others = [name for name in self.values if name not in moving]
        if others:
            torch._foreach_copy_([self.values[name] for name in others], [weights[name] for name in others])
        self.updates += 1

    @contextmanager
    def in_place(self, method: Method) -> Iterator[None]:
        """Inside this context ``method`` has the averages; what it changes of them stays."""
        own = {name: value.clone() for name, value in method.state_dict().items()}
        _copy(self.values, method.state_dict())
        try:
            yield
        finally:
            _copy(method.state_dict(), self.values)
            _copy(own, method.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; it raises KeyError, TypeError or RuntimeError if that is of another network."""
        _copy(state["values"], self.values)
        self.updates = int(state["updates"])


@torch.no_grad()
def _copy(values: dict[str, Tensor], into: dict[str, Tensor]) -> None:
    for name, value in into.items():
        value.copy_(values[name])
