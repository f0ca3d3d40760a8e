"""Jobs of SLURM: submitted at once, each after the one that it depends on, so that they need no launching process."""

import re
import subprocess
import time
from collections.abc import Iterable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted
from oltr_cli.errors import OltrError, first_line
from oltr_cli.launching.command_job import CommandJob, shown
from oltr_cli.launching.records import Record, jobs_root, launch_lock, own_jobs_root, read_record
from oltr_cli.launching.settings import LOCAL, SLURM, Launcher
from oltr_cli.launching.states import State, states_of
from oltr_cli.launching.tasks import Task, with_log

LOOK = 5.0  # seconds between questions to SLURM, which become longer
LONGEST = 60.0


def run_slurm(tasks: list[Task], launcher: Launcher, display: Display) -> dict[str, str]:
    """Submit the tasks, and wait until they have ended; returns the names of those that failed, with reasons.

    A job that is there already is not submitted again. A signal ends the waiting, not the jobs.

    Raises:
        OltrError: SLURM refuses a job; what was submitted before it stays.
    """
    own_jobs_root()
    records, failed = _submit_all(tasks, launcher, display)
    if not records:
        return failed
    if not launcher.wait:
        display.say("the jobs need no launching process; see them with: oltr jobs")
        return failed
    display.say("[dim]waiting for the jobs; Ctrl-C ends the waiting, and the jobs go on (see: oltr jobs)[/]")
    by_name = {task.name: task for task in tasks}
    for name, state in _ended(records, display).items():
        if state.word == "done" or _is_there(by_name[name]):  # it may have been killed after its result
            continue
        if state.word != "cancelled" or "starts from" not in state.reason:
            failed[name] = with_log(state.reason or state.word, records[name].log)
    return failed


def _is_there(task: Task) -> bool:
    try:
        return task.finished()
    except OltrError:  # damaged: the job's own reason is told
        return False


def _submit_all(tasks: list[Task], launcher: Launcher, display: Display) -> tuple[dict[str, Record], dict[str, str]]:
    """The jobs of the tasks that are not finished, and why others cannot be."""
    records: dict[str, Record] = {}
    failed: dict[str, str] = {}
    with launch_lock():
        there = [one for task in tasks if (one := read_record(task.name)) is not None]
        states = states_of(there)
        active = {one.name: one for one in there if states[one.name].active}
        for task in tasks:
            if task.parent in failed:
                failed[task.name] = f"starts from {task.parent}, which cannot be made"
                continue
            try:
                if task.finished():
                    display.say(f"[dim]finished[/]  {task.name}")
                    continue
            except OltrError as error:  # its result is damaged
                failed[task.name] = str(error)
                continue
            word = "submitted"
            if (record := active.get(task.name)) is not None:
                word = states[task.name].word
            else:
                try:
                    record = _submit(task, launcher, records.get(task.parent or ""))
                except OltrError:
                    if records:
                        display.warn(f"{counted(len(records), 'job')} had been submitted before; see: oltr jobs")
                    raise
            records[task.name] = record
            display.say(f"[dim]{word:<9}[/] {task.name} ({task.label}), job {record.id}")
    return records, failed


def _submit(task: Task, launcher: Launcher, after: Record | None) -> Record:
    from submitit import SlurmExecutor

    folder = jobs_root() / task.name
    options = {key.replace("-", "_"): value for key, value in launcher.sbatch.items() if value is not False}
    if after is not None and after.launcher != LOCAL:
        options |= {"dependency": f"afterok:{after.id}", "kill_on_invalid_dep": "yes"}
    options |= {"job_name": _job_name(task.name), "requeue": True}
    try:
        executor = SlurmExecutor(folder, max_num_timeout=launcher.requeues)
        executor.update_parameters(
            time=launcher.minutes or 0,
            signal_delay_s=launcher.signal_delay,
            stderr_to_stdout=True,
            setup=list(launcher.setup) or None,
            additional_parameters=options,
        )
        patience = max(1.0, launcher.signal_delay - 15.0)
        with redirect_stderr(StringIO()):  # submitit prints what it raises, too
            job = executor.submit(CommandJob([*task.arguments], {}, Path.cwd(), folder, patience))
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        # submitit raises what sbatch prints, or that there is no SLURM here.
        raise OltrError(f"SLURM took no job for {task.name}: {_said(error)}") from error
    record = Record(task.name, task.label, SLURM, job.job_id, shown(task.arguments), time.time())
    record.write()
    return record


def _job_name(name: str) -> str:
    """What squeue shows: the run's name without its dataset's, which is mostly the same."""
    return f"oltr {name.partition('/')[2]}"


def _said(error: BaseException) -> str:
    """What made sbatch give up, or all of its lines: the last one is often only "Unspecified error"."""
    fatal = re.findall(r"^sbatch: fatal: (.*\S)", str(error), re.MULTILINE)
    found = fatal or re.findall(r"^sbatch: (?:error: )?(.*\S)", str(error), re.MULTILINE)
    return "; ".join(dict.fromkeys(found)) if found else first_line(error)


def _ended(records: dict[str, Record], display: Display) -> dict[str, State]:
    """The states of the jobs once all have ended."""
    ended: dict[str, State] = {}
    pause, quiet = LOOK, False
    while True:
        states = states_of(one for name, one in records.items() if name not in ended)
        for name, state in states.items():
            if not state.active:
                ended[name] = state
                display.say(f"[dim]{state.word:<9}[/] {name}{f' on {state.node}' if state.node else ''}")
        if len(ended) == len(records):
            return ended
        if any(state.word == "unknown" for state in states.values()) and not quiet:
            display.warn("squeue does not answer; asking again")
            quiet = True
        time.sleep(pause)
        pause = min(LONGEST, 1.2 * pause)


def cancel_slurm(records: Iterable[Record]) -> None:
    """Cancel jobs of SLURM, which sends them SIGTERM first.

    Raises:
        OltrError: scancel fails.
    """
    if not (ids := [record.id for record in records]):
        return
    try:
        subprocess.run(["scancel", *ids], check=True, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise OltrError("scancel is not on this machine; cancel the jobs where SLURM is") from None
    except subprocess.SubprocessError as error:
        raise OltrError(f"scancel failed: {first_line(error)}") from None
