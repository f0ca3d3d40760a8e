"""The loss of each step: summed for the epoch's row, and checked before a step is kept."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from oltr_cli.errors import NotFinite
from oltr_cli.networks.layers import full_precision
from oltr_cli.training.task import Progress

EVERY = 20  # steps between two looks at a GPU's losses


class LossWatch:
    """Adds up loss terms, and stops training at the first that is not finite.

    Reading a number from a GPU waits for all the work queued on it, so the terms are added up there and read every
    ``EVERY`` steps. From the first term on that is not finite, the fused optimizer gets ``found_inf`` = 1 and leaves
    weights and momentum as they were before that step. So no bad step is kept, although it is noticed later.
    Elsewhere every step is read and checked before the optimizer's step.

    Args:
        optimizer: fused, if the terms stay on the device.
        where, rates: name of the run, and its learning rates, for the error.
    """

    def __init__(self, optimizer: Optimizer, progress: Progress, where: str, rates: str) -> None:
        self.optimizer, self.progress, self.where, self.rates = optimizer, progress, where, rates
        self.every = EVERY if optimizer.defaults["fused"] else 1
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | None = None
        self._first_bad: Tensor | None = None  # (terms,), steps since the last look; −1 while all were finite
        self._seen = 0

    def add(self, terms: Mapping[str, Tensor], epoch: int, step: int) -> None:
        """Count the terms of a step, before the optimizer takes it.

        Raises:
            NotFinite: one of them is NaN or infinite, or was in a step since the last look.
        """
        values = torch.stack([full_precision(term.detach()) for term in terms.values()])
        if self.every == 1:
            self._check(dict(zip(terms, values.tolist(), strict=True)), epoch, step)
            return
        bad = ~values.isfinite()
        if self._sums is None or self._first_bad is None:
            self._names = tuple(terms)
            self._sums = torch.zeros_like(values, dtype=torch.float64)
            self._first_bad = torch.full_like(values, -1, dtype=torch.int64)
        self._sums += values
        self._first_bad = torch.where(bad & (self._first_bad < 0), self._seen, self._first_bad)
        self.optimizer.found_inf = (self._first_bad >= 0).any().float()  # type: ignore[attr-defined]
        self._seen += 1
        if self._seen == self.every:
            self.look(epoch, step + 1)

    def look(self, epoch: int, step: int) -> None:
        """Read what was added since the last look; ``step`` steps of the epoch are done.

        Raises:
            NotFinite: see ``add``.
        """
        if self._sums is None or self._first_bad is None or not self._seen:
            return
        first = self._first_bad.tolist()
        for name, total, bad in zip(self._names, self._sums.tolist(), first, strict=True):
            if bad >= 0 and bad == min(value for value in first if value >= 0):
                self._check({name: total}, epoch, step - self._seen + bad)
            self.progress.sums[name] = self.progress.sums.get(name, 0.0) + total
        self._sums = self._first_bad = None
        self._seen = 0

    def _check(self, values: Mapping[str, float], epoch: int, step: int) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                raise NotFinite(
                    f"{self.where}: loss term '{name}' is {value} at epoch {epoch + 1}, step {step + 1}; no step "
                    f"was taken with it. Lower {self.rates}"
                )
        for name, value in values.items():
            self.progress.sums[name] = self.progress.sums.get(name, 0.0) + value
