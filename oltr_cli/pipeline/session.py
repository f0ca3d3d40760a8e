"""Making the runs of one command: each is locked, trained or detected, scored, and recorded with how it ended."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tomli_w

from oltr_cli.base.added_code import named_faults
from oltr_cli.base.digests import toml_with_digest
from oltr_cli.base.display import Display, duration
from oltr_cli.base.files import write_json, write_text
from oltr_cli.base.text import counted, visible
from oltr_cli.errors import BeingMade, OltrError, Stopped
from oltr_cli.pipeline.problems import (
    named_lost_process,
    named_shortages,
)
from oltr_cli.pipeline.seen import record_trained_on
from oltr_cli.pipeline.together import of_first
from oltr_cli.pipeline.tracked import draw_plots, facts, numbers, remove_stray_files
from oltr_cli.planning.plan import Planned
from oltr_cli.planning.registry import files_of
from oltr_cli.runs.folder import FolderGone, Run
from oltr_cli.runs.made_with import ADDED_FILES
from oltr_cli.runs.result import DetectorFacts, RunFailure, RunResult, read_result

if TYPE_CHECKING:
    from accelerate import Accelerator

    from oltr_cli.data.feed.opening import OpenedDataset
    from oltr_cli.method import Method
    from oltr_cli.pipeline.detect import Detection
    from oltr_cli.pipeline.networks import NetworkScores
    from oltr_cli.runs.scores import SavedScores
    from oltr_cli.tracking.mlflow_run import Status
    from oltr_cli.tracking.tracker import Tracker
    from oltr_cli.training.task import Progress


GLANCE = 1.0  # seconds that nobody but the maker of a run holds its lock


@dataclass(frozen=True)
class Session:
    """What the runs of one command share."""

    planned: list[Planned]
    networks: "NetworkScores"
    track: bool
    compiled: bool
    waits: bool = True

    @property
    def accelerator(self) -> "Accelerator":
        return self.networks.accelerator

    @property
    def dataset(self) -> "OpenedDataset":
        return self.networks.dataset

    @property
    def display(self) -> Display:
        return self.networks.display

    def make(self, p: Planned) -> RunResult:
        with named_lost_process(), self._only_one(p.run):
            result = of_first(p.run.result)  # another process may have finished it while this one waited
            if result is not None:
                return result
            if self.accelerator.is_main_process:
                remove_stray_files(p.run)
                self._record_recipe(p)
            try:
                with named_faults(), named_shortages(), named_lost_process():
                    return self._make_and_record(p)
            except Stopped:
                raise
            except OltrError as error:
                if self.accelerator.is_main_process:
                    self._record_failure(p, error)
                raise

    def add_sets(self, p: Planned, sets: list[str]) -> RunResult:
        """The result of a finished run with open sets that were added to its lists since, which are scored now."""
        from oltr_cli.pipeline.result import with_sets

        self.display.say(f"[bold]{p.run.name}[/]: scoring {', '.join(sets)}, added since it was finished")
        with named_lost_process(), self._only_one(p.run), named_faults(), named_shortages():
            if p.is_detector:
                self._judge(p, sets)
            else:
                self._score(p, sets)
            self.accelerator.wait_for_everyone()
            result = with_sets(p, read_result(p.run.path), self.dataset, sets)
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process:
                result.write(p.run.path)
            return result

    @contextmanager
    def _only_one(self, run: Run) -> Iterator[None]:
        """Hold the run's lock, in the first process of a group; wait, with a message, while another command has it.

        Raises:
            BeingMade: another process trains it, and this one is not to wait.
        """

        def busy() -> None:
            about = f"another process is working on {run.name}"
            if not self.waits:
                raise BeingMade(f"{about}; it is left to that one")
            self.display.warn(f"{about}; waiting for it (Ctrl-C stops only the waiting)")

        # Without waiting, a moment is left to those who only look whether somebody holds it.
        with ExitStack() as held:
            lock = run.lock().held(busy, patience=0.0 if self.waits else GLANCE)
            of_first(lambda: held.enter_context(lock))
            yield

    def _record_recipe(self, p: Planned) -> None:
        from oltr_cli.base.machine import describe

        write_text(p.run.path / "recipe.toml", toml_with_digest(tomli_w.dumps(p.link.recipe.as_toml())))
        made_on = {**describe(self.accelerator, self.networks.workers), "compiled": self.compiled}
        start = {"starts_from": p.parent.name if p.parent else None}
        added = {ADDED_FILES: files_of(p.run.method, p.link.recipe.backbone.name)}
        write_json(p.run.path / "environment.json", {**made_on, **start, **added})

    def _record_failure(self, p: Planned, error: OltrError) -> None:
        if not (p.run.path / "recipe.toml").exists():  # it was removed: a result alone would be no run
            return
        try:
            RunFailure(**p.run.identity, error=visible(str(error)), exit_code=error.exit_code).write(p.run.path)
        except OltrError as second:  # the disk is full: the first error is the one to report
            self.display.warn(str(second))

    def _make_and_record(self, p: Planned) -> RunResult:
        from oltr_cli.tracking.tracker import Tracker

        tracker = Tracker.start(
            p.run,
            *facts(p.run, p.link.recipe.as_toml(), self.dataset.digest, len(self.dataset.splits["train"])),
            enabled=self.track and self.accelerator.is_main_process,
            warn=self.display.warn,
        )
        status: Status = "FAILED"
        try:
            result = self._detect(p) if p.is_detector else self._train_and_score(p, tracker)
            pictures = draw_plots(p.run, self.display) if self.accelerator.is_main_process else []
            status = "FINISHED"
        except (Stopped, KeyboardInterrupt):
            status = "KILLED"
            raise
        finally:
            if status == "FINISHED":
                tracker.finish("FINISHED", result.metrics, pictures)
            else:
                tracker.finish(status, {}, [])
        return result

    def _train_and_score(self, p: Planned, tracker: "Tracker") -> RunResult:
        """Train, then score every split with the weights of the best epoch."""
        from oltr_cli.method import FeatureMethod, Method
        from oltr_cli.pipeline.embeddings import identify
        from oltr_cli.pipeline.result import scored_splits
        from oltr_cli.training.engine import train
        from oltr_cli.training.task import Task

        assert issubclass(p.cls, Method)
        recipe = p.link.recipe
        if self.accelerator.is_main_process and (warning := record_trained_on(p, self.dataset)):
            self.display.warn(warning)
        if issubclass(p.cls, FeatureMethod):
            assert p.parent is not None
            self.networks.training(self.networks.planned[p.parent])
        epochs = counted(recipe.train.epochs, "epoch")
        how = f"{epochs}, {recipe.train.sampler} sampling" if p.cls.trains else "nothing to train"
        on = ", on saved features" if issubclass(p.cls, FeatureMethod) else ""
        self.display.say(f"[bold]{p.run.name}[/]: {how}{on}")
        machine = (self.accelerator, self.networks.workers, self.display, self.compiled)
        task = Task(p.run, p.link, p.cls, self.dataset, p.parent, *machine)
        progress = train(task, lambda row: tracker.epoch(numbers(row), row["epoch"]))
        began = time.monotonic()
        network = self._score(p, scored_splits(self.dataset))
        result = self._record_result(p, progress, identification=identify(p, network, self.networks))
        self.display.say(
            f"[dim]{f'best epoch {progress.best_epoch}; ' if p.cls.trains else ''}trained in "
            f"{duration(result.seconds or 0.0)}, scored in {duration(time.monotonic() - began)}[/]"
        )
        return result

    def _detect(self, p: Planned) -> RunResult:
        """Run a detector on the finished run that it starts from."""
        from oltr_cli.pipeline.result import scored_splits
        from oltr_cli.training.task import Progress

        assert p.parent is not None
        self.display.say(f"[bold]{p.run.name}[/]: on {p.parent.name}")
        began = time.monotonic()
        detection = self._judge(p, scored_splits(self.dataset))
        seconds = time.monotonic() - began
        self.display.say(f"[dim]fitted and scored in {duration(seconds)}[/]")
        return self._record_result(p, Progress(), detector=detection.facts())

    def _score(self, p: Planned, splits: list[str]) -> "Method":
        """Save the scores of a trained method's network; returns the network."""
        network = self.networks.network(p)
        with self.display.bar("scoring", sum(len(self.dataset.splits[name]) for name in splits)) as bar:
            for name in splits:
                self._keep(p, name, self.networks.of_split(p, network, name, bar))
        return network

    def _judge(self, p: Planned, splits: list[str]) -> "Detection":
        """Save the scores of a detector; returns it, fitted."""
        from oltr_cli.pipeline.detect import Detection

        assert p.parent is not None
        detection = Detection(p, self.networks.planned[p.parent], self.networks)
        detection.prepare()
        for name in splits:
            self._keep(p, name, detection.scores(name))
        return detection

    def _keep(self, p: Planned, split: str, scores: "SavedScores") -> None:
        if self.accelerator.is_main_process:
            scores.save(p.run.scores(split))

    def _record_result(
        self,
        p: Planned,
        progress: "Progress",
        detector: DetectorFacts | None = None,
        identification: dict[str, Any] | None = None,
    ) -> RunResult:
        from oltr_cli.pipeline.result import make_result

        self.accelerator.wait_for_everyone()
        needed = ["recipe.toml", *(["best.pt"] if detector is None else [])]
        if lost := [name for name in needed if not (p.run.path / name).exists()]:
            raise FolderGone(
                f"{p.run.path}: has lost {' and '.join(lost)}, so its folder was removed or moved; move it back, or "
                "start again with the same command"
            )
        result = make_result(p, progress, self.dataset, self.accelerator.device.type, detector, identification)
        if self.accelerator.is_main_process:
            result.write(p.run.path)
        self.accelerator.wait_for_everyone()
        return result
