"""A worker: one trial after another, as the study hands them out, until there are as many as requested."""

import socket
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.markup import escape

from oltr_cli.base.added_code import fault_of
from oltr_cli.base.display import Display, duration
from oltr_cli.base.files import write_text
from oltr_cli.errors import OltrError, Stopped, UsageProblem, with_type
from oltr_cli.pipeline.problems import named_shortages
from oltr_cli.planning.plan import Planned
from oltr_cli.runs.folder import FolderGone
from oltr_cli.tracking.mlflow_run import Status
from oltr_cli.tuning.best import record
from oltr_cli.tuning.claim import Claim, TrialLost
from oltr_cli.tuning.mlflow import Nest
from oltr_cli.tuning.storage import Heartbeat, StudyLost, storage_faults
from oltr_cli.tuning.study import Study
from oltr_cli.tuning.summary import line
from oltr_cli.tuning.trial import Outcome, Workbench

SELECTED_BY = "val/closed/overall"  # of an epoch's row; compared for pruning
FIRST_FAILURES = 3  # this many without a success end the command

Metrics = dict[str, float | None]


class _Pruned(Exception):
    """A trial has fallen behind."""


class Worker:
    """This process's loop.

    Args:
        total: trials of the study, by all workers.
        timeout: seconds after which no further trial is started.
        track: mirror trials to MLflow, below a run of the study.
    """

    def __init__(
        self, study: Study, bench: Workbench, total: int, timeout: float | None, track: bool, display: Display
    ) -> None:
        self.study, self.bench, self.total, self.timeout, self.display = study, bench, total, timeout, display
        self.nest = Nest(study, bench.view, track, display.warn)
        self.seconds: list[float] = []  # of the trials that ended here
        self.failures: list[str] = []

    def work(self) -> None:
        """Run trials until none is left to start or resume, or the time is up.

        Raises:
            OltrError: the first trials all failed.
        """
        try:
            self._loop()
        except BaseException as error:
            self._leave(error)
            raise
        files = record(self.study, self.display.warn)
        abandoned = self.study.abandoned()
        running = [t.number for t in self.study.trials() if t.state.name == "RUNNING" and t.number not in abandoned]
        if running:
            self.display.say(
                f"[dim]still running in other workers: {', '.join(f'trial {number}' for number in running)}[/]"
            )
        else:
            self.nest.close("FINISHED", files, self.study.best())

    def _leave(self, error: BaseException) -> None:
        """Record the results so far after ``error``; nothing that goes wrong here may replace this error.

        A second Ctrl-C skips the pictures, and a storage that has failed is not read again, which may take minutes.
        """
        files: list[Path] = []
        best = None
        if not isinstance(error, (StudyLost, *storage_faults())):
            with suppress(Exception, KeyboardInterrupt):
                best = self.study.best()
                files = record(self.study, self.display.warn)
        with suppress(Exception, KeyboardInterrupt):
            self.nest.close("KILLED", files, best)
        if isinstance(error, KeyboardInterrupt):
            self.display.say(f"stopped; the same command continues {self.study.name}")

    def _loop(self) -> None:
        began = time.monotonic()
        while self.timeout is None or time.monotonic() - began < self.timeout:
            claim = self.study.claim(self.total)
            if claim is None:
                break
            try:
                with Heartbeat(self.study.storage, self.study.trial_id(claim.number)):
                    self._make(claim)
            except TrialLost as lost:
                self.display.warn(str(lost))
            except (Stopped, KeyboardInterrupt):
                self.study.interrupted(claim)
                raise
            finally:
                claim.lock.release()
            if len(self.failures) >= FIRST_FAILURES and all(t.state.name == "FAIL" for t in self.study.trials()):
                raise OltrError(f"the first {len(self.failures)} trials failed, the last: {self.failures[-1]}")

    def _make(self, claim: Claim) -> None:
        began = time.monotonic()
        if claim.resumed:
            self.display.say(f"[dim]resuming trial {claim.number}, which was interrupted[/]")
        try:
            p = self.bench.resolve(claim.values, claim.run)
        except UsageProblem as problem:  # values that do not go together
            self._failed(claim, str(problem), began)
            return
        tracker = self.nest.trial(claim, p)
        status: Status = "KILLED"
        metrics: Metrics = {}
        try:
            status, metrics = self._ended(claim, p, tracker.epoch, began)
        finally:
            tracker.finish(status, metrics, [])

    def _ended(self, claim: Claim, p: Planned, log: Any, began: float) -> tuple[Status, Metrics]:
        """Train, evaluate, and record the result."""
        rows: list[dict[str, Any]] = []

        def log_epoch(row: dict[str, Any]) -> None:
            rows.append(row)
            log({k: v for k, v in row.items() if isinstance(v, int | float) and k != "epoch"}, row["epoch"])
            accuracy = row[SELECTED_BY]
            # Pruning compares accuracy; a study that minimises needs it as a number where smaller is better.
            behind = self.study.report(claim, row["epoch"], accuracy if self.study.about.maximize else 1.0 - accuracy)
            if behind and row["epoch"] < p.epochs:
                raise _Pruned

        try:
            with named_shortages():
                outcome = self.bench.run(p, log_epoch)
        except _Pruned:
            seconds = sum(row["seconds"] for row in rows)
            self.study.end(claim, "PRUNED", {"epochs": len(rows), "seconds": seconds, "host": socket.gethostname()})
            self._say(claim, began, seconds, remark=f"[dim]behind the others: cut short after epoch {len(rows)}[/]")
            return "FINISHED", {}
        except (Stopped, TrialLost, StudyLost):
            raise
        except FolderGone:
            gone = f"{claim.run.path}: was removed or moved during the trial; ask for one more trial instead"
            return self._failed(claim, gone, began)
        except OltrError as error:
            return self._failed(claim, str(error), began)
        except Exception as error:  # the method failed with these values; the next trial may succeed
            write_text(claim.run.path / "error.txt", traceback.format_exc())
            return self._failed(claim, str(fault_of(error) or with_type(error)), began)
        return self._finished(claim, outcome, began)

    def _finished(self, claim: Claim, outcome: Outcome, began: float) -> tuple[Status, Metrics]:
        objective = self.study.about.objective
        value = outcome.metrics[objective]
        if value is None:
            return self._failed(claim, f"{objective} cannot be computed on this validation set", began)
        self.study.end(claim, "COMPLETE", {**outcome.as_json(), "host": socket.gethostname()}, value)
        best = self.study.best()
        remark = "[green]best[/]" if best is not None and best.number == claim.number else ""
        self._say(claim, began, outcome.seconds, value, outcome.threshold, remark)
        tau = {} if outcome.threshold is None else {"threshold": outcome.threshold}
        return "FINISHED", {**{f"val/{name}": v for name, v in outcome.metrics.items()}, **tau}

    def _failed(self, claim: Claim, reason: str, began: float) -> tuple[Status, Metrics]:
        self.study.end(claim, "FAIL", reason)
        self.failures.append(reason)
        self._say(claim, began, remark=f"[red]failed[/]: {escape(reason)}")
        return "FAILED", {}

    def _say(
        self,
        claim: Claim,
        began: float,
        seconds: float | None = None,
        value: float | None = None,
        tau: float | None = None,
        remark: str = "",
    ) -> None:
        """A line about a trial that ended; ``seconds`` of training, as the study's table shows them."""
        passed = time.monotonic() - began
        self.seconds.append(passed)
        left = self.total - len(self.study.trials())
        if left > 0:
            eta = duration(left * sum(self.seconds) / len(self.seconds))
            remark = f"{remark}  [dim]{left} to go, {eta} for one worker[/]"
        self.display.say(
            line(
                self.study.about, claim.number, claim.values, value, tau, passed if seconds is None else seconds, remark
            )
        )
