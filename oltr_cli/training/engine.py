"""One training loop for all methods.

Everything random is keyed by (seed, epoch, step), so a checkpoint holds no generator's state: resumed at any step, a
run on a CPU gives the same bits as an uninterrupted one.
"""

import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate.utils import broadcast, gather_object

from oltr_cli.base.display import Bar, epoch_header, epoch_line
from oltr_cli.base.files import write_text
from oltr_cli.base.seeding import derive
from oltr_cli.base.signals import StopRequest
from oltr_cli.data.feed.loading import Batch
from oltr_cli.data.feed.mixing import draw_mixing
from oltr_cli.errors import NotFinite, Stopped
from oltr_cli.method import FeatureMethod, Method
from oltr_cli.protocol.catalogue import GROUPS
from oltr_cli.protocol.metrics import all_metrics
from oltr_cli.runs.checkpoint import load_best
from oltr_cli.runs.history import as_lines
from oltr_cli.training.average import WeightAverage
from oltr_cli.training.compiling import compiled
from oltr_cli.training.feeds import Feed, make_feed
from oltr_cli.training.first_weights import first_weights
from oltr_cli.training.freezing import freeze
from oltr_cli.training.loss import Loss
from oltr_cli.training.optimizers import build_optimizer
from oltr_cli.training.saving import Saving
from oltr_cli.training.schedule import build_scheduler
from oltr_cli.training.shares import share_norms
from oltr_cli.training.task import Progress, Task, build_method
from oltr_cli.training.updates import Updates, updates_per_epoch
from oltr_cli.training.watch import LossWatch

ACCURACIES = [f"closed/{group}" for group in ("overall", *GROUPS)]  # of validation, in each epoch's row
SELECT_BY = "val/closed/overall"


def train(task: Task, log_epoch: Callable[[dict[str, Any]], None] = lambda row: None) -> Progress:
    """Train ``task`` to its last epoch, from its checkpoint if there is one.

    Args:
        log_epoch: called with the row of each epoch that ends, and of those that ended before a resumption.
    Returns:
        the history and the best epoch; the weights are in last.pt and best.pt.
    Raises:
        Stopped: a signal came; last.pt holds the exact step.
        NotFinite: a loss term or a weight is NaN or infinite; no step was taken with it.
        DataProblem: more than 1 % of the training images cannot be decoded, or none of a class.
    """
    return Training(task).run(log_epoch)


class Training:
    """A task, ready for its next step; with a ``feed`` from random weights and nothing prepared, to time steps."""

    def __init__(self, task: Task, feed: Feed | None = None) -> None:
        self.task = task
        train_spec, accelerator = task.recipe.train, task.accelerator
        self.saving = Saving(task)
        self.progress = self.saving.progress
        resumed = self.saving.found is not None
        self.method = build_method(task.cls, task.recipe, task.dataset.class_counts, task.run.seed)
        # What a feature method keeps of the training set is not in the weights: it reads it again when a run resumes.
        on_features = issubclass(task.cls, FeatureMethod)
        frozen = train_spec.freeze_backbone or on_features
        if feed is None and (not resumed or frozen):  # a frozen backbone's features are stored under its weights
            first_weights(task, self.method, quiet=resumed)
        self.still = freeze(self.method, task.recipe, task.run.seed, task.display.say)
        self.method.to(accelerator.device)
        self.feed = make_feed(task, self.method) if feed is None else feed
        if feed is None and (not resumed or on_features):
            self.feed.prepare(self.method)
        self.saving.restore_weights(self.method)
        if not task.cls.trains:
            return
        self.optimizer = build_optimizer(self.method, train_spec, fused=accelerator.device.type == "cuda")
        self.scheduler = build_scheduler(self.optimizer, train_spec, updates_per_epoch(train_spec, self.feed.steps))
        self.saving.restore_optimizer(self.optimizer, self.scheduler)
        self.updates = Updates(train_spec, self.optimizer, self.scheduler, accelerator, self.feed.steps)
        self.average = WeightAverage(self.method, train_spec.ema) if train_spec.ema is not None else None
        if self.average is not None:
            self.saving.restore_average(self.average)
        self.watch = LossWatch(self.optimizer, self.progress, task.run.name, self._rates())
        if task.compiled:
            self.method.backbone.compute_map = compiled(self.method.backbone.compute_map)  # type: ignore[method-assign,assignment]
        if self.feed.shares is not None:
            share_norms(self.method.backbone, self.feed.shares)
        self.loss = accelerator.prepare_model(Loss(self.method, self.feed.given, self.feed.shares))

    def run(self, log_epoch: Callable[[dict[str, Any]], None]) -> Progress:
        if self.task.cls.trains:
            self._epochs(log_epoch)
        else:
            self.saving.save_best(self.method, 0, self._validate()[SELECT_BY] or 0.0)
        self.task.accelerator.wait_for_everyone()  # one process writes best.pt, which all are about to read
        # After a kill between writing best.pt and last.pt a GPU may not reproduce the best epoch: the file counts.
        best = load_best(self.task.run)
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

    def _epoch(self, stop: StopRequest, bar: Bar) -> None:
        """The remaining steps of one epoch."""
        task, progress = self.task, self.progress
        self.train_mode()
        self.began = time.monotonic() - progress.epoch_seconds
        epoch = progress.epoch
        title = f"{task.recipe.method} · epoch {epoch + 1}/{task.recipe.train.epochs}"
        for batch in self.feed.epoch(epoch, progress.step):
            self.step(batch, epoch, progress.step)
            progress.step += 1
            progress.epoch_seconds = time.monotonic() - self.began
            bar.advance(1, task.recipe.train.batch_size, title)
            if progress.step < self.feed.steps and self.updates.complete(progress.step):
                # Several processes ask each other, which waits for their GPUs.
                ask = task.accelerator.num_processes == 1 or progress.step % self.watch.every < self.updates.size
                if ask and self._stop_wanted(stop):
                    self._stop(stop.signal_number or signal.SIGTERM)
                if self.saving.due:
                    self._save_last()

    def train_mode(self) -> None:
        """Put the network, but for norms that keep their statistics, into the mode for steps."""
        self.method.train()
        for norm in self.still:
            norm.eval()

    def step(self, batch: Batch, epoch: int, step: int) -> None:
        """One batch, without waiting for a GPU."""
        task, seed = self.task, self.task.run.seed
        task.count_failures(self.progress, batch.failed)
        torch.manual_seed(derive(seed, "step", epoch, step))  # for methods that use dropout or noise
        accelerator = task.accelerator
        self.method.progress = (epoch * self.feed.steps + step) / (task.recipe.train.epochs * self.feed.steps)
        inputs = self.feed.inputs(batch, epoch, step)
        labels = batch.labels.to(accelerator.device, non_blocking=True)
        recipe = task.recipe
        rows = len(labels) if self.feed.shares is None else self.feed.shares.rows
        mixing = draw_mixing(recipe.train, (seed, "mixing", epoch, step), rows, recipe.data.image_size)
        with self.updates.apart(self.loss, step):
            terms = self.loss(inputs, labels, mixing)
            self.updates.backward(torch.stack(list(terms.values())).sum(), step)
        self.watch.add(terms, epoch, step)
        self.updates.step(step, self.method, self.average)

    def _rates(self) -> str:
        """``train.lr.features (now 0.1) or train.lr.classifier (now 0.1)``, of the parts that are trained."""
        rates = self.task.recipe.train.lr
        names = dict.fromkeys(group["name"] for group in self.optimizer.param_groups)
        return " or ".join(f"train.lr.{name} (now {rates[name]:g})" for name in names)

    def _finish_epoch(self) -> dict[str, Any]:
        """Validate, record the row, keep the weights if they are the best so far, and write last.pt."""
        task, progress = self.task, self.progress
        self.watch.look(progress.epoch, progress.step)
        progress.epoch_seconds = time.monotonic() - self.began
        began = time.monotonic()
        if task.accelerator.num_processes > 1:
            # Equal sums may differ in their last bits from GPU to GPU; those of the first process are the run's.
            broadcast([*self.method.buffers(), *(self.average.values.values() if self.average else [])])
            progress.failed = sorted(set(gather_object(progress.failed)))
        self._end_epoch()
        if not all(torch.isfinite(p).all() for p in self.method.parameters()):
            raise NotFinite(
                f"{task.run.name}: weights are not finite after epoch {progress.epoch + 1}. Lower {self._rates()}"
            )
        seconds = progress.epoch_seconds
        with self._scored_weights():
            validation = self._validate()
            took = seconds + time.monotonic() - began
            value = validation[SELECT_BY] or 0.0
            if value > progress.best_value:
                progress.best_epoch, progress.best_value = progress.epoch + 1, value
                self.saving.save_best(self.method, progress.best_epoch, value)
        terms = {name: total / self.feed.steps for name, total in progress.sums.items()}
        row: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "loss": sum(terms.values()),
            **{f"loss/{name}": value for name, value in terms.items()},
            **validation,
            **{f"lr/{group['name']}": group["lr"] for group in self.optimizer.param_groups},
            "images_per_second": self.feed.steps * task.recipe.train.batch_size / max(seconds, 1e-9),
            "seconds": took,
        }
        progress.epoch, progress.step, progress.sums, progress.epoch_seconds = progress.epoch + 1, 0, {}, 0.0
        progress.history.append(row)
        self._save_last()
        if task.accelerator.is_main_process:
            write_text(task.run.path / "metrics.jsonl", as_lines(progress.history))
        return row

    def _end_epoch(self) -> None:
        """Let the method change its weights, and their moving average likewise."""
        if type(self.method).end_epoch is Method.end_epoch:
            return
        for weights in (nullcontext(), self._scored_weights()) if self.average else (nullcontext(),):
            with weights:
                self.feed.end_epoch(self.method)
                if self.task.accelerator.num_processes > 1:  # equal sums may differ in their last bits from GPU to GPU
                    broadcast([tensor.detach() for tensor in (*self.method.parameters(), *self.method.buffers())])

    def _scored_weights(self) -> AbstractContextManager[None]:
        """Inside this context the method has the weights that are scored: their moving average, if there is one."""
        return nullcontext() if self.average is None else self.average.in_place(self.method)

    def _validate(self) -> dict[str, float | None]:
        """The closed-set metrics of the validation split."""
        metrics = all_metrics(self.feed.validate(self.method), None, self.task.dataset.class_counts, threshold=0.0)
        return {f"val/{name}": metrics[name] for name in ACCURACIES}

    def _stop_wanted(self, stop: StopRequest) -> bool:
        """Whether any process got a signal to stop: a launcher signals them one by one."""
        if self.task.accelerator.num_processes == 1:
            return stop.signal_number is not None
        told = torch.tensor(int(stop.signal_number is not None), device=self.task.accelerator.device)
        return bool(self.task.accelerator.reduce(told, "sum").item())

    def _stop(self, signal_number: int) -> None:
        self._save_last()
        raise Stopped(
            f"stopped {self.task.run.name} after epoch {self.progress.epoch}, step {self.progress.step}; "
            "the same command resumes from there",
            signal_number,
        )

    def _save_last(self) -> None:
        self.watch.look(self.progress.epoch, self.progress.step)
        self.saving.save_last(self.method, self.progress, self.optimizer, self.scheduler, self.average)
