"""From the losses of batches to steps of the optimizer."""

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer

from oltr_cli.recipe.specs import TrainSpec
from oltr_cli.training.schedule import Schedule


class Updates:
    """Takes the optimizer's steps, with gradients that are clipped if the recipe says so."""

    def __init__(self, train: TrainSpec, optimizer: Optimizer, scheduler: Schedule, accelerator: Accelerator) -> None:
        self.optimizer, self.scheduler, self.accelerator = optimizer, scheduler, accelerator
        self.clip_norm = train.clip_norm
        self.trained = [p for group in optimizer.param_groups for p in group["params"]]

    def backward(self, loss: Tensor) -> None:
        """The gradients of the loss of a batch."""
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)

    def step(self) -> None:
        """One step of the optimizer and the schedule, without waiting for a GPU."""
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.trained, self.clip_norm)
        self.optimizer.step()
        self.scheduler.step()
