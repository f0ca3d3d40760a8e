"""What has become of jobs: from their processes, from SLURM, and from what they wrote themselves."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from oltr_cli.launching.command_job import STOPPED
from oltr_cli.launching.records import Record, errors_of, last_error, process_started, this_host
from oltr_cli.launching.settings import LOCAL

_ROOM = 100_000  # bytes; a disk with less is full
PENDING, RUNNING, UNKNOWN = "pending", "running", "unknown"
# Of SLURM, for jobs that wait or run; all others have ended.
_WAITS = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESIZING", "SPECIAL_EXIT", "SUSPENDED"})
_RUNS = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "PREEMPTED", "SIGNALING", "STAGE_OUT", "STOPPED"})
# What a job could not write itself.
_MEANING = {
    "OUT_OF_MEMORY": "killed because it used more memory than it asked for; raise mem of --launcher-set",
    "TIMEOUT": "its time was up before it had saved a checkpoint; raise time or signal_delay of --launcher-set",
    "NODE_FAIL": "its node failed",
    "CANCELLED": "cancelled",
    "DEADLINE": "its deadline passed",
    "BOOT_FAIL": "its node did not start",
}
_MEMORY = re.compile(r"memory limit|out[ -]of[ -]memory|\boom\b", re.IGNORECASE)
_EXITED = re.compile(r"\btasks? \S+: (Exited|Killed|Terminated)")  # of srun, which knows no reason
_NEVER = "DependencyNeverSatisfied"


@dataclass(frozen=True)
class State:
    """Of one job.

    Attributes:
        word: pending, running, done, failed, stopped (with a checkpoint), cancelled, lost (its process is gone), or
            unknown (SLURM does not answer).
        node: where it runs or ran; "" before that.
        reason: why it failed, or waits.
    """

    word: str
    node: str = ""
    reason: str = ""

    @property
    def active(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return self.word in (PENDING, RUNNING, UNKNOWN)


@dataclass(frozen=True)
class _InSlurm:
    state: str
    node: str
    reason: str


def states_of(records: Iterable[Record]) -> dict[str, State]:
    """The state of each job, by its name. SLURM is asked once for all."""
    records = list(records)
    known = _ask_slurm([one.id for one in records if one.launcher != LOCAL])
    states = {}
    for one in records:
        if one.launcher == LOCAL:
            states[one.name] = _local(one)
        elif known is None:
            states[one.name] = State(UNKNOWN, reason="squeue does not answer")
        else:
            states[one.name] = _slurm(one, known.get(one.id))
    return states


def is_process(host: str, pid: int, started: str) -> bool:
    """Whether the process that was started then still runs, on this machine; on another one nobody can tell."""
    return bool(started) and host == this_host() and process_started(pid) == started


def _local(record: Record) -> State:
    node = record.host.partition("/")[0]
    if is_process(record.host, int(record.id), record.started):
        return State(RUNNING, node)
    if (ended := _ended(record, node)) is not None:
        return ended
    if node != this_host().partition("/")[0]:
        return State("lost", node, f"its process was on {node}")
    return State("lost", node, last_error(record.log) or f"its process died{_full_disk(record.folder)}")


def _full_disk(folder: Path) -> str:
    """Words that name a full disk, on which a job can neither write its log nor how it ended."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return ""
    return f"; {folder} is on a full disk: make room" if free < _ROOM else ""


def _slurm(record: Record, found: _InSlurm | None) -> State:
    node = str(record.progress().get("host", "")) or (found.node if found else "")
    if found is not None and found.state in _WAITS and found.reason != _NEVER:
        return State(PENDING, "", found.reason)
    if found is not None and found.state in _RUNS:
        return State(RUNNING, found.node or node)
    if found is not None and found.state in _MEANING and found.state != "CANCELLED":
        return State("failed", node, _MEANING[found.state])
    if (ended := _ended(record, node)) is not None:
        return ended
    if found is not None and (found.reason == _NEVER or found.state == "CANCELLED"):
        return State("cancelled", node, "a run that it starts from failed" if found.reason == _NEVER else "cancelled")
    if found is not None:
        return State("failed", node, _said(record) or f"SLURM says {found.state}")
    return State("lost", node, "SLURM does not know it any more")


def _ended(record: Record, node: str) -> State | None:
    """The state of a job that wrote how it ended."""
    ended = record.ended()
    if ended is None:
        return None
    if ended.code == 0:
        return State("done", node)
    if ended.code in STOPPED:
        return State("stopped", node, ended.reason)
    return State("failed", node, _said(record, ended.reason) or f"exit code {ended.code}")


def _said(record: Record, reason: str = "") -> str:
    """Why a job failed, from its log: by its command, or by SLURM as it ended the job.

    Args:
        reason: what the job itself knows of it, such as a signal; said if the log says no more.
    """
    by_command, by_slurm = last_error(record.log), errors_of(record.log, ("slurmstepd", "srun"))
    if record.launcher != LOCAL and any(_MEMORY.search(error) for error in by_slurm):
        return _MEANING["OUT_OF_MEMORY"]
    telling = [error for error in by_slurm if not _EXITED.search(error)]
    return by_command or next(iter(telling), "") or reason or next(iter(by_slurm), "")


def _ask_slurm(ids: list[str]) -> dict[str, _InSlurm] | None:
    """What SLURM says of these jobs: of those in its memory, then of those in its accounting, where there is one.

    None if it does not answer.
    """
    if not ids:
        return {}
    found = {}
    lines = _lines(["squeue", "--states=all", "--noheader", "--format=%i|%T|%N|%r"])
    if lines is None:
        return None
    for line in lines:
        job, state, node, reason = (*line.split("|"), "", "", "", "")[:4]
        found[job] = _InSlurm(state, node, reason)
    if forgotten := [one for one in ids if one not in found]:
        asked = [
            "sacct",
            "-X",
            "--noheader",
            "--parsable2",
            "--format=JobIDRaw,State,NodeList",
            "-j",
            ",".join(forgotten),
        ]
        for line in _lines(asked) or ():
            job, state, node = (*line.split("|"), "", "", "")[:3]
            found[job] = _InSlurm(state.partition(" ")[0], node, "")
    return found


def _lines(command: list[str]) -> list[str] | None:
    """What a command of SLURM prints; None if it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    return [line for line in done.stdout.splitlines() if "|" in line]
