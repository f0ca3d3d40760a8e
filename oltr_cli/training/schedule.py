"""Learning-rate schedule of a stage."""

from typing import Any, Protocol

from torch.optim import Optimizer, lr_scheduler

from oltr_cli.recipe.train import TrainSpec


class Schedule(Protocol):
    """Sets the rates of an optimizer; stepped once after each of its steps."""

    def step(self) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class WarmUp:
    """The rates of a schedule, in step s of the first ``steps`` (from 0) times (s + 1) / steps.

    torch's schedules compute a rate from the one before, so each is shown the rate that it set itself.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, steps: int) -> None:
        self.optimizer, self.schedule, self.steps = optimizer, schedule, steps
        self.taken = 0
        self._scale()

    def step(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate
        self.schedule.step()
        self.taken += 1
        self._scale()

    def state_dict(self) -> dict[str, Any]:
        return {"schedule": self.schedule.state_dict(), "taken": self.taken, "rates": self.rates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.schedule.load_state_dict(state_dict["schedule"])
        self.taken, self.rates = state_dict["taken"], state_dict["rates"]

    def _scale(self) -> None:
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        if self.taken < self.steps:
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * (self.taken + 1) / self.steps


def build_scheduler(optimizer: Optimizer, train: TrainSpec, steps_per_epoch: int) -> Schedule:
    """The recipe's schedule, stepped once after every optimizer step; under a warm-up it runs from the first step."""
    schedule = _without_warmup(optimizer, train, steps_per_epoch)
    if train.warmup_epochs is None:
        return schedule
    return WarmUp(optimizer, schedule, train.warmup_epochs * steps_per_epoch)


def _without_warmup(optimizer: Optimizer, train: TrainSpec, steps_per_epoch: int) -> lr_scheduler.LRScheduler:
    total = train.epochs * steps_per_epoch
    if train.schedule == "step":
        return lr_scheduler.StepLR(optimizer, train.step_size * steps_per_epoch, train.gamma)
    if train.schedule == "multistep":
        milestones = [epoch * steps_per_epoch for epoch in train.milestones or ()]
        return lr_scheduler.MultiStepLR(optimizer, milestones, train.gamma)
    if train.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, total)
    rates = [group["lr"] for group in optimizer.param_groups]
    # One step more than is taken: the last call of step() would otherwise run past the schedule's end.
    return lr_scheduler.OneCycleLR(optimizer, rates, total + 1, cycle_momentum=False)
