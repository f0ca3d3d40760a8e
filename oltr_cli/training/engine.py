"""One training loop for all methods.

Everything random is keyed by (seed, epoch, step), so a checkpoint needs no generator's state: resumed at any step, a
run on a CPU ends in the same bits as an unbroken one.
"""

import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast, gather_object

from oltr_cli.base.display import Bar, epoch_header, epoch_line
from oltr_cli.base.files import write_text
from oltr_cli.base.seeding import derive
from oltr_cli.base.signals import StopRequest
from oltr_cli.data.feed.loading import Batch
from oltr_cli.errors import DataProblem, NotFinite, Stopped
from oltr_cli.method import FeatureMethod
from oltr_cli.networks.pretrained import fetch_torchvision
from oltr_cli.networks.weights import inherit_state, load_weights
from oltr_cli.protocol.metrics import all_metrics
from oltr_cli.recipe.backbones import TORCHVISION
from oltr_cli.runs.checkpoint import load_checkpoint, load_latest, save_checkpoint
from oltr_cli.runs.history import as_lines
from oltr_cli.training.feeds import make_feed
from oltr_cli.training.schedule import build_optimizer, build_scheduler, freeze_backbone, keep_frozen_statistics
from oltr_cli.training.task import Progress, Task, build_method

MOST_FAILED = 0.01  # share of training images that may fail to decode before a run stops
SELECT_BY = "val/closed/overall"


def train(task: Task, log_epoch: Callable[[dict[str, Any]], None] = lambda row: None) -> Progress:
    """Train ``task`` to its last epoch, from its checkpoint where there is one.

    Args:
        log_epoch: called with the row of each epoch that ends, and of those that ended before a resumption.
    Returns:
        the history and the best epoch; the weights are in last.pt and best.pt.
    Raises:
        Stopped: a signal came; last.pt holds the very step.
        NotFinite: a loss term or a weight is NaN or infinite; no step was taken with it.
        DataProblem: more than 1 % of the training images cannot be decoded, or none of a class.
    """
    return _Training(task).run(log_epoch)


class _Training:
    def __init__(self, task: Task) -> None:
        self.task = task
        train_spec, accelerator = task.recipe.train, task.accelerator
        self.last, self.best = task.run.path / "last.pt", task.run.path / "best.pt"
        self.progress = Progress()
        self.method = build_method(task.cls, task.recipe, task.dataset.class_counts, task.run.seed)
        checkpoint, warning = load_latest(self.last)
        if warning:
            task.display.warn(warning)
        # What a feature method keeps of the training set is no weight: it looks at it again when a run goes on.
        on_features = issubclass(task.cls, FeatureMethod)
        frozen = train_spec.freeze_backbone or on_features
        if checkpoint is None or frozen:  # a frozen backbone's features are found by its weights
            self._first_weights(quiet=checkpoint is not None)
        if checkpoint is not None:
            self._check_origin(checkpoint)
            self.progress = Progress(**checkpoint["progress"])
        self.method.to(accelerator.device)
        if frozen:
            freeze_backbone(self.method)
        self.feed = make_feed(task, self.method)
        if checkpoint is None or on_features:
            self.feed.prepare(self.method)
        if checkpoint is not None:
            self.method.load_state_dict(checkpoint["model"])
        if not task.cls.trains:
            return
        self.optimizer = build_optimizer(self.method, train_spec)
        self.scheduler = build_scheduler(self.optimizer, train_spec, self.feed.steps)
        if checkpoint is not None:
            self.optimizer.load_state_dict(checkpoint["optimizer"])
            self.scheduler.load_state_dict(checkpoint["scheduler"])
        self.loss = accelerator.prepare_model(self.feed.loss(self.method))

    def run(self, log_epoch: Callable[[dict[str, Any]], None]) -> Progress:
        if self.task.cls.trains:
            self._epochs(log_epoch)
        else:
            self._save(self.best, {"epoch": 0, "value": self._validate()[SELECT_BY]})
        self.task.accelerator.wait_for_everyone()  # best.pt is about to be read by all, and one writes it
        # A kill between writing best.pt and last.pt can leave a best epoch that a GPU does not find again: the file
        # counts.
        best = load_checkpoint(self.best)
        self.progress.best_epoch, self.progress.best_value = best["epoch"], best["value"]
        return self.progress

    def _epochs(self, log_epoch: Callable[[dict[str, Any]], None]) -> None:
        task, progress = self.task, self.progress
        epochs = task.recipe.train.epochs
        for row in progress.history:
            log_epoch(row)
        if progress.epoch < epochs:
            if progress.epoch or progress.step:
                task.display.say(f"[dim]resuming after epoch {progress.epoch}, step {progress.step}[/]")
            task.display.say(epoch_header())
        total = epochs * self.feed.steps
        with StopRequest() as stop, task.display.bar(task.recipe.method, total) as bar:
            bar.progress.update(bar.task, completed=progress.epoch * self.feed.steps + progress.step)
            while progress.epoch < epochs:
                self._epoch(stop, bar)
                row = self._finish_epoch()
                if task.accelerator.is_main_process:
                    log_epoch(row)
                    task.display.say(epoch_line(row, epochs, progress.best_epoch == row["epoch"]))
                if self._stop_wanted(stop) and progress.epoch < epochs:
                    self._stop(stop.signal_number or signal.SIGTERM)

    def _weight_file(self) -> str | Path:
        """The file that the recipe names; torchvision's is fetched by one process, and the others wait."""
        task, backbone = self.task, self.task.recipe.backbone
        if backbone.weights != TORCHVISION:
            return backbone.weights
        with task.accelerator.main_process_first():
            return fetch_torchvision(backbone, quiet=task.display.quiet)

    def _first_weights(self, quiet: bool) -> None:
        task = self.task
        say = (lambda line: None) if quiet else task.display.say
        if task.parent is not None:
            parent = load_checkpoint(task.parent.path / "best.pt")["model"]
            report = inherit_state(self.method, parent, task.cls.renames)
            lost = [n for n in report.missing if n.startswith("backbone.") and "extra_fc" not in n]
            if lost:
                raise DataProblem(f"{task.parent.name}/best.pt lacks {len(lost)} backbone weights, such as {lost[0]}")
            say(f"[dim]from {task.parent.name}: {report.summary()}[/]")
        elif task.recipe.backbone.weights:
            report = load_weights(self.method.backbone, self._weight_file())
            say(f"[dim]{task.recipe.backbone.weights}: {report.summary()}[/]")

    def _check_origin(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint goes on only with the lists it began with."""
        if checkpoint["data_digest"] != self.task.dataset.digest:
            raise DataProblem(
                f"{self.last}: was begun with other image lists of '{self.task.run.dataset}'; restore them, or remove "
                f"{self.task.run.path} to begin anew"
            )

    def _epoch(self, stop: StopRequest, bar: Bar) -> None:
        """The steps of one epoch that are still to do."""
        task, progress = self.task, self.progress
        self.method.train()
        if task.recipe.train.freeze_backbone:
            keep_frozen_statistics(self.method)
        began = time.monotonic() - progress.epoch_seconds
        epoch = progress.epoch
        title = f"{task.recipe.method} · epoch {epoch + 1}/{task.recipe.train.epochs}"
        for batch in self.feed.epoch(epoch, progress.step):
            terms = self._step(batch, epoch, progress.step)
            for name, value in terms.items():
                progress.sums[name] = progress.sums.get(name, 0.0) + value
            progress.step += 1
            progress.epoch_seconds = time.monotonic() - began
            bar.advance(1, task.recipe.train.batch_size, title)
            if self._stop_wanted(stop) and progress.step < self.feed.steps:
                self._stop(stop.signal_number or signal.SIGTERM)

    def _step(self, batch: Batch, epoch: int, step: int) -> dict[str, float]:
        """One optimizer step; returns the loss terms as numbers."""
        task, seed = self.task, self.task.run.seed
        self._count_failures(batch.failed)
        torch.manual_seed(derive(seed, "step", epoch, step))  # for methods with dropout or noise of their own
        accelerator = task.accelerator
        self.method.progress = (epoch * self.feed.steps + step) / (task.recipe.train.epochs * self.feed.steps)
        inputs = self.feed.inputs(batch, epoch, step)
        labels = batch.labels.to(accelerator.device, non_blocking=True)
        self.optimizer.zero_grad(set_to_none=True)
        terms = self.loss(inputs, labels)
        total = torch.stack(list(terms.values())).sum()
        accelerator.backward(total)
        # Read after the backward pass was queued: a GPU is busy with it while the numbers travel.
        values = dict(zip(terms, torch.stack([t.detach().float() for t in terms.values()]).tolist(), strict=True))
        for name, value in values.items():
            if not math.isfinite(value):
                raise NotFinite(
                    f"{task.run.name}: loss term '{name}' is {value} at epoch {epoch + 1}, step {step + 1}; no step "
                    f"was taken with it. Lower train.lr (now {task.recipe.train.lr})"
                )
        self.optimizer.step()
        self.scheduler.step()
        return values

    def _count_failures(self, failed: list[int]) -> None:
        if not failed:
            return
        known = set(self.progress.failed)
        self.progress.failed += sorted(set(failed) - known)
        split = self.task.dataset.splits["train"]
        if len(self.progress.failed) > MOST_FAILED * len(split):
            raise DataProblem(
                f"{len(self.progress.failed)} of {len(split):,} training images cannot be decoded, more than 1 %; the "
                f"first is {split.names[self.progress.failed[0]]}"
            )

    def _finish_epoch(self) -> dict[str, Any]:
        """Validate, note the row, keep the weights when they are the best so far, and write last.pt."""
        task, progress = self.task, self.progress
        if not all(torch.isfinite(p).all() for p in self.method.parameters()):
            raise NotFinite(f"{task.run.name}: weights are not finite after epoch {progress.epoch + 1}; lower train.lr")
        began = time.monotonic()
        if task.accelerator.num_processes > 1:
            # Each process kept batch-norm statistics of its own share; the first one's are the run's.
            broadcast(list(self.method.buffers()))
            progress.failed = sorted(set(gather_object(progress.failed)))
        validation = self._validate()
        terms = {name: total / self.feed.steps for name, total in progress.sums.items()}
        seconds = progress.epoch_seconds
        row: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "loss": sum(terms.values()),
            **{f"loss/{name}": value for name, value in terms.items()},
            **validation,
            **{f"lr/{group['name']}": group["lr"] for group in self.optimizer.param_groups},
            "images_per_second": self.feed.steps * task.recipe.train.batch_size / max(seconds, 1e-9),
            "seconds": seconds + time.monotonic() - began,
        }
        progress.epoch, progress.step, progress.sums, progress.epoch_seconds = progress.epoch + 1, 0, {}, 0.0
        progress.history.append(row)
        value = row[SELECT_BY]
        if value > progress.best_value:
            progress.best_epoch, progress.best_value = progress.epoch, value
            self._save(self.best, {"epoch": progress.epoch, "value": value})
        self._save_last()
        if task.accelerator.is_main_process:
            write_text(task.run.path / "metrics.jsonl", as_lines(progress.history))
        return row

    def _validate(self) -> dict[str, float | None]:
        """The closed-set metrics of the validation split."""
        metrics = all_metrics(self.feed.validate(self.method), None, self.task.dataset.class_counts, threshold=0.0)
        return {f"val/{name}": value for name, value in metrics.items() if name.startswith("closed/")}

    def _stop_wanted(self, stop: StopRequest) -> bool:
        """Whether any process was told to stop: a launcher signals them one by one."""
        if self.task.accelerator.num_processes == 1:
            return stop.signal_number is not None
        told = torch.tensor(int(stop.signal_number is not None), device=self.task.accelerator.device)
        return bool(self.task.accelerator.reduce(told, "sum").item())

    def _stop(self, signal_number: int) -> None:
        self._save_last()
        raise Stopped(
            f"stopped {self.task.run.name} after epoch {self.progress.epoch}, step {self.progress.step}; "
            "the same command goes on from there",
            signal_number,
        )

    def _save_last(self) -> None:
        content = {
            "progress": {**vars(self.progress)},
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
        }
        self._save(self.last, content, keep_previous=True)

    def _save(self, path: Any, content: dict[str, Any], keep_previous: bool = False) -> None:
        if not self.task.accelerator.is_main_process:
            return
        run = self.task.run
        identity = {"format": 1, "hash": run.hash, "seed": run.seed, "data_digest": self.task.dataset.digest}
        save_checkpoint(path, {**identity, **content, "model": self.method.state_dict()}, keep_previous=keep_previous)
