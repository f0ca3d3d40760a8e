"""Several jobs at once on this machine, each after the run that it starts from.

The launching process holds a job back until the run that it starts from is finished. If it is killed, its jobs go on,
and the same command finds them.
"""

import os
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from oltr_cli.base.display import Display
from oltr_cli.base.signals import StopRequest
from oltr_cli.base.text import counted
from oltr_cli.errors import OltrError, Stopped, first_line
from oltr_cli.launching.command_job import BUSY, TIME_UP
from oltr_cli.launching.local_job import cancel_local, gpus, start_job
from oltr_cli.launching.records import (
    Record,
    jobs_root,
    launch_lock,
    own_jobs_root,
    process_started,
    read_record,
)
from oltr_cli.launching.settings import LOCAL, Launcher
from oltr_cli.launching.states import is_process, states_of
from oltr_cli.launching.tasks import Task, names, with_log

LOOK = 0.3  # seconds between looks at the jobs
PATIENCE = 120.0  # seconds for jobs that are stopped


def run_local(tasks: list[Task], launcher: Launcher, device: str | None, display: Display) -> dict[str, str]:
    """Run the tasks as jobs, each after its parent; returns the names of those that failed, with reasons.

    A task whose parent failed is given up, without being named.

    Raises:
        Stopped: a signal came; the jobs have saved checkpoints and ended.
    """
    own_jobs_root()
    return _Pool(tasks, launcher, gpus(device), display).run()


@dataclass
class _Pool:
    tasks: list[Task]
    launcher: Launcher
    devices: list[str]
    display: Display
    failed: dict[str, str] = field(default_factory=dict)
    active: dict[str, Record] = field(default_factory=dict)
    jobs: dict[str, Any] = field(default_factory=dict)  # of submitit, for those that were started here
    given_up: set[str] = field(default_factory=set)  # names of those that start from one that failed
    waited_for: set[str] = field(default_factory=set)  # names that were said to be other processes'
    continued: Counter[str] = field(default_factory=Counter)  # how often, after their time was up

    def __post_init__(self) -> None:
        assert self.launcher.count is not None
        self.count = self.launcher.count
        self.left = {task.name: task for task in self.tasks}
        if 0 < len(self.devices) < self.count:
            said = f"{self.count} jobs at once on {counted(len(self.devices), 'GPU')}: they share"
            self.display.warn(said)

    def run(self) -> dict[str, str]:
        with StopRequest() as stop:
            self._take_over()
            while self.left or self.active:
                if stop.signal_number is not None:
                    self._stop(stop.signal_number)
                self._end_jobs()
                self._start_jobs()
                if self.left or self.active:
                    time.sleep(LOOK)
        return self.failed

    def _take_over(self) -> None:
        """Find jobs that a launching process which died has left."""
        with launch_lock():
            records = [one for name in self.left if (one := read_record(name)) is not None and one.launcher == LOCAL]
            states = states_of(records)
            for record in records:
                if states[record.name].active and not _has_owner(record):
                    self._adopt(record, self.left.pop(record.name))

    def _adopt(self, record: Record, task: Task) -> None:
        self.active[task.name] = replace(record, owner=os.getpid(), owner_started=process_started(os.getpid()))
        self.active[task.name].write()
        self.display.say(f"[dim]runs[/]     {task.name} ({task.label}), job {record.id}")

    def _end_jobs(self) -> None:
        """See which jobs have ended, and how."""
        for job in self.jobs.values():
            job.done()  # takes the exit code, so that the process is gone
        states = states_of(self.active.values())
        for name, state in states.items():
            if state.active:
                continue
            record, task = self.active.pop(name), next(task for task in self.tasks if task.name == name)
            self.jobs.pop(name, None)
            ended = record.ended()
            if (ended is not None and ended.code == BUSY) or (state.word != "done" and task.busy()):
                # Until the other process has finished it; of a job that was killed, its command may not have ended yet.
                self.left[name] = task
            elif ended is not None and ended.reason == TIME_UP and self.continued[name] < self.launcher.requeues:
                self.continued[name] += 1
                self.left[name] = task
            elif state.word == "done" or self._is_there(task):  # it may have been killed after its result
                self.display.say(f"[dim]done[/]     {name}")
            else:
                reason = state.reason or state.word
                self.failed[name] = with_log(reason, record.log)
                self.display.warn(f"{task.label}: {name}: {self.failed[name]}")

    def _start_jobs(self) -> None:
        """Start what can be started; what others work on is left to them."""
        busy = []
        for task in list(self.left.values()):
            if task.parent in self.failed or task.parent in self.given_up:
                self.given_up.add(task.name)
                del self.left[task.name]
            elif task.parent in self.left or task.parent in self.active or self._has_finished(task):
                continue
            elif len(self.active) < self.count and not self._start(task):
                busy.append(task)
        if busy and not self.active and not {task.name for task in busy} <= self.waited_for:
            self.waited_for |= {task.name for task in busy}
            said = f"other processes are working on {names(busy)}; waiting for them (Ctrl-C stops only the waiting)"
            self.display.warn(said)

    def _is_there(self, task: Task) -> bool:
        try:
            return task.finished()
        except OltrError:  # damaged: the job's own reason is told
            return False

    def _has_finished(self, task: Task) -> bool:
        """Whether there is nothing to do for the task, because it is finished or cannot be."""
        try:
            if not task.finished():
                return False
            self.display.say(f"[dim]finished[/] {task.name}")
        except OltrError as error:  # its result is damaged
            self.failed[task.name] = str(error)
            self.display.warn(f"{task.label}: {task.name}: {error}")
        del self.left[task.name]
        return True

    def _start(self, task: Task) -> bool:
        """Start the task, or take over its job from a launching process that died; False: it is another's for now."""
        with launch_lock():
            before = read_record(task.name)
            if before is not None and states_of([before])[task.name].active:
                if before.launcher != LOCAL or _has_owner(before):
                    return False
                self._adopt(before, task)
            elif task.busy():
                return False
            else:
                try:
                    self.active[task.name] = self._submit(task)
                except (OSError, OltrError) as error:  # a full disk
                    reason = getattr(error, "strerror", None) or first_line(error)
                    self.failed[task.name] = f"no job can be started in {jobs_root()}: {reason}"
                    self.display.warn(f"{task.label}: {task.name}: {self.failed[task.name]}")
        del self.left[task.name]
        return True

    def _submit(self, task: Task) -> Record:
        self.jobs[task.name], record = start_job(task, self.launcher, self.devices)
        self.display.say(f"[dim]started[/]  {task.name} ({task.label}), job {record.id}")
        return record

    def _stop(self, number: int) -> None:
        """End all jobs, which save checkpoints first."""
        cancel_local(self.active.values())
        end = time.monotonic() + PATIENCE
        while self.active and time.monotonic() < end:
            for job in self.jobs.values():
                job.done()
            states = states_of(self.active.values())
            self.active = {name: one for name, one in self.active.items() if states[name].active}
            time.sleep(LOOK)
        raise Stopped("stopped all jobs; the same command goes on from their checkpoints", number)


def _has_owner(record: Record) -> bool:
    """Whether the launching process of a local job still lives."""
    return is_process(record.host, record.owner, record.owner_started)
