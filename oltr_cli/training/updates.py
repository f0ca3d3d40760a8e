"""From the losses of batches to steps of the optimizer."""

from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from oltr_cli.method import Method
from oltr_cli.recipe.train import TrainSpec
from oltr_cli.training.average import WeightAverage
from oltr_cli.training.schedule import Schedule


def updates_per_epoch(train: TrainSpec, batches: int) -> int:
    """Optimizer steps of an epoch of ``batches``."""
    return -(-batches // (train.accumulate or 1))


class Updates:
    """Takes the optimizer's steps: with the gradients of one batch, or of ``train.accumulate`` successive ones.

    The batches of a step have equally many images, so the mean over its images is the mean of their losses; the last
    step of an epoch may have fewer batches, and takes the mean over those. A run is saved only between steps.

    Args:
        batches: of an epoch.
    """

    def __init__(
        self, train: TrainSpec, optimizer: Optimizer, scheduler: Schedule, accelerator: Accelerator, batches: int
    ) -> None:
        self.optimizer, self.scheduler, self.accelerator, self.batches = optimizer, scheduler, accelerator, batches
        self.clip_norm, self.size = train.clip_norm, train.accumulate or 1
        self.trained = [p for group in optimizer.param_groups for p in group["params"]]

    def complete(self, done: int) -> bool:
        """Whether a step ends with the batch after which ``done`` of the epoch are done."""
        return done % self.size == 0 or done == self.batches

    def apart(self, model: nn.Module, number: int) -> AbstractContextManager[None]:
        """For the loss of batch ``number`` and its gradients.

        Several processes exchange gradients with the last batch of a step only, which has their sum.
        """
        if self.accelerator.num_processes == 1 or self.complete(number + 1):
            return nullcontext()
        return self.accelerator.no_sync(model)

    def backward(self, loss: Tensor, number: int) -> None:
        """The gradients of the loss of batch ``number`` of the epoch, from 0."""
        first = number - number % self.size
        if number == first:
            self.optimizer.zero_grad(set_to_none=True)
        size = min(self.size, self.batches - first)
        # Not accelerate's accumulation, which divides by the full size also where an epoch's last step has less.
        self.accelerator.backward(loss if size == 1 else loss / size)
        if self.size > 1 or self.clip_norm is not None:  # after each batch: a later one may bring the first gradients
            _separate_gradients(self.trained)

    def step(self, number: int, method: Method, average: WeightAverage | None) -> None:
        """A step of the optimizer, the schedule and the average if one ends with batch ``number``; waits for no GPU."""
        if not self.complete(number + 1):
            return
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.trained, self.clip_norm)
        self.optimizer.step()
        self.scheduler.step()
        if average is not None:
            average.update(method)


def _separate_gradients(parameters: list[nn.Parameter]) -> None:
    """Give each parameter a gradient of its own, before gradients are changed in place.

    torch gives parameters that are added to one tensor through views the same memory for their gradients, as biases
    b.view(1, -1) with a batch of one: what is then added to one gradient, or scales it, changes the other as well
    (torch 2.14.1).
    """
    seen: set[int] = set()
    for p in parameters:
        if p.grad is not None and p.grad.numel():
            if p.grad.data_ptr() in seen:
                p.grad = p.grad.clone()
            seen.add(p.grad.data_ptr())
