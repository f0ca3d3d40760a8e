"""When a run is saved during training, and how training resumes."""

import math
import os
import time
from typing import Any

from torch.optim import Optimizer

from oltr_cli.errors import DataProblem, UsageProblem, first_line
from oltr_cli.method import Method
from oltr_cli.networks.lora import merged_state
from oltr_cli.runs.checkpoint import BEST, LAST, load_latest, save_checkpoint
from oltr_cli.runs.folder import FolderGone
from oltr_cli.training.average import WeightAverage
from oltr_cli.training.schedule import Schedule
from oltr_cli.training.task import Progress, Task, fill

EVERY = "OLTR_CHECKPOINT_MINUTES"  # environment variable: minutes between checkpoints within an epoch
LEAST_BETWEEN = 100  # times the duration of writing one, so that they cost at most 1 % of the time


class Saving:
    """The checkpoints of one run in training.

    Attributes:
        found: content of the checkpoint to resume from; None if training starts from the beginning.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.best, self.last = task.run.path / BEST, task.run.path / LAST
        self.found, warning = load_latest(task.run)
        if warning:
            task.display.warn(warning)
        if self.found is not None and self.found["data_digest"] != task.data_digest:
            raise DataProblem(
                f"{self.last}: was trained with other image lists of '{task.run.dataset}'; restore them, or remove "
                f"{task.run.path} to start again"
            )
        self._recorded = (task.run.path / "recipe.toml").exists()
        self._every = checkpoint_seconds()
        self._saved_at, self._cost = time.monotonic(), 0.0

    @property
    def progress(self) -> Progress:
        """How far the run was."""
        try:
            return Progress(**self.found["progress"]) if self.found else Progress()
        except TypeError as error:
            raise self._unusable(str(error)) from None

    def restore_weights(self, method: Method) -> None:
        """Restore the weights, if training resumes."""
        if self.found is not None:
            fill(method, self.found["model"], self.last)

    def restore_optimizer(self, optimizer: Optimizer, scheduler: Schedule) -> None:
        """Restore momentum and learning rates, if training resumes."""
        if self.found is None:
            return
        try:
            # Of this device, which may be another one than before: it decides where AdamW keeps its count of steps.
            for group in self.found["optimizer"]["param_groups"]:
                group["fused"] = optimizer.defaults["fused"]
            optimizer.load_state_dict(self.found["optimizer"])
            scheduler.load_state_dict(self.found["scheduler"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unusable(f"optimizer or schedule: {error}") from None

    def restore_average(self, average: WeightAverage) -> None:
        """Restore the moving average of the weights, if training resumes."""
        if self.found is None:
            return
        try:
            average.load_state_dict(self.found["average"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise self._unusable(f"average of the weights: {first_line(error)}") from None

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is old enough to save another."""
        return time.monotonic() - self._saved_at > max(self._every, LEAST_BETWEEN * self._cost)

    def save_best(self, method: Method, epoch: int, value: float) -> None:
        """Write best.pt: the weights after ``epoch``, with the closed-set accuracy ``value`` on validation."""
        self._save(BEST, method, {"epoch": epoch, "value": value})

    def save_last(
        self,
        method: Method,
        progress: Progress,
        optimizer: Optimizer,
        scheduler: Schedule,
        average: WeightAverage | None = None,
    ) -> None:
        """Write last.pt: everything that training needs to resume from this step."""
        began = time.monotonic()
        state = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        if average is not None:
            state["average"] = average.state_dict()
        self._save(LAST, method, {"progress": {**vars(progress)}, **state})
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - began

    def _save(self, name: str, method: Method, content: dict[str, Any]) -> None:
        if not self.task.accelerator.is_main_process:
            return
        run = self.task.run
        if self._recorded and not (run.path / "recipe.toml").exists():
            raise FolderGone(
                f"{run.path}: was removed or moved during training; move it back, and the same command resumes from "
                "its last checkpoint"
            )
        identity = {"format": 1, "hash": run.hash, "seed": run.seed, "data_digest": self.task.data_digest}
        # Whoever reads best.pt builds the network without LoRA, which is part of its weights by then.
        merge = name == BEST and self.task.recipe.train.lora
        content = {**identity, **content, "model": merged_state(method) if merge else method.state_dict()}
        save_checkpoint(run.path / name, content, keep_previous=name == LAST)

    def _unusable(self, reason: str) -> DataProblem:
        return DataProblem(f"{self.last}: cannot resume from it ({reason}); remove {self.task.run.path} to start again")


def checkpoint_seconds() -> float:
    """Seconds between checkpoints within an epoch: five minutes, or as set by ``$OLTR_CHECKPOINT_MINUTES``.

    Raises:
        UsageProblem: that is not a number above 0.
    """
    text = os.environ.get(EVERY, "") or "5"
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not minutes > 0:
        raise UsageProblem(f"{EVERY}={text}: give a number of minutes above 0, for example 5")
    return 60 * minutes
