"""A job: one ``oltr`` command line in a process of its own, which is stopped with a checkpoint and started again.

submitit pickles the job and calls it, on this machine or on a node. It needs neither torch nor the rest of oltr.
"""

import contextlib
import ctypes
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from oltr_cli.base.secrets import without_secrets
from oltr_cli.errors import BeingMade
from oltr_cli.launching.progress import Ended, write_progress

BUSY = BeingMade.exit_code  # another process is working on the run
STOPPED = frozenset({128 + n for n in (1, 2, 15)} | {-1, -2, -15})
TIME_UP = "its time was up; the same command goes on"
LOOK = 0.1  # seconds
_PR_SET_PDEATHSIG = 1

_child: "subprocess.Popen[bytes] | None" = None  # of the job in this process; not part of the job, which is pickled


class CommandJob:
    """Runs ``oltr ARGUMENTS``; the job fails if the command does.

    Args:
        arguments: of the command.
        environment: added to that of the job.
        cwd: where it was typed.
        folder: of the job's record.
        patience: seconds that the command has to save a checkpoint.
    """

    def __init__(
        self, arguments: list[str], environment: dict[str, str], cwd: Path, folder: Path, patience: float
    ) -> None:
        self.arguments, self.environment, self.cwd, self.folder = arguments, environment, cwd, folder
        self.patience = patience

    def __call__(self) -> None:
        """Raises SystemExit with the command's exit code, unless that is 0."""
        global _child
        _end_with_parent()
        signal.signal(signal.SIGTERM, self._stop)  # submitit ignores it; a scheduler sends it before it kills
        environment = {**os.environ, **self.environment}
        print(shown(self.arguments), flush=True)
        _child = subprocess.Popen(
            [sys.executable, "-m", "oltr_cli", *self.arguments],
            env=environment,
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_as_if_typed,
        )
        write_progress(self.folder, _job_id(), host=socket.gethostname(), pid=_child.pid)
        # Not wait(): its lock may be held while a signal's handler waits for the same process.
        while (code := _child.poll()) is None:
            time.sleep(LOOK)
        self._leave(code)

    def checkpoint(self, *_: Any) -> Any:
        """What submitit continues with after the job's time is up, or it was preempted: the same command."""
        from submitit.helpers import DelayedSubmission

        print("stopping: the job's time is up, or another one needs its place", flush=True)
        self._end_child()
        # If the scheduler, or submitit, does not start it again, this is how it ended.
        ended = Ended(128 + signal.SIGTERM, TIME_UP, time.time())
        write_progress(self.folder, _job_id(), host=socket.gethostname(), ended=ended)
        return DelayedSubmission(self)

    __submitit_checkpoint__ = checkpoint

    def _leave(self, code: int) -> None:
        job = os.environ.get("SLURM_JOB_ID", "") if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" else ""
        if job and (code == BUSY or (code in STOPPED and _is_preempted(job))):
            why = "another process is working on the run" if code == BUSY else "another job needs its place"
            print(f"{why}; the job goes back to the queue", flush=True)
            subprocess.run(["scontrol", "requeue", job], check=True, timeout=60)
            sys.exit(BUSY)
        write_progress(
            self.folder, _job_id(), host=socket.gethostname(), ended=Ended(code, _meaning(code), time.time())
        )
        if code:
            print(f"ended with exit code {code}{f': {meant}' if (meant := _meaning(code)) else ''}", flush=True)
            sys.exit(code if code > 0 else 128 - code)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM, of a cancelled or preempted job: the command saves a checkpoint and ends, and then the job does."""
        print("stopping: SIGTERM", flush=True)
        _tell_child()

    def _end_child(self) -> None:
        """Stop the command and wait for its end, so that the run is free when the job starts again."""
        _tell_child()
        end = time.monotonic() + self.patience
        while _runs() and time.monotonic() < end:
            time.sleep(LOOK)
        if _runs() and _child is not None:
            _child.kill()
            while _runs():
                time.sleep(LOOK)


def shown(arguments: Iterable[str]) -> str:
    """The command of a job, without what is secret in addresses."""
    return shlex.join(["oltr", *map(without_secrets, arguments)])


def _is_preempted(job: str) -> bool:
    """Whether SLURM still counts the job as running: a cancelled one is not, while it ends."""
    asked = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() in ("RUNNING", "PREEMPTED")


def _tell_child() -> None:
    if _child is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(_child.pid, signal.SIGTERM)


def _runs() -> bool:
    """Whether the command has not ended; its exit code stays for whoever waits for it."""
    try:
        return _child is not None and os.waitid(os.P_PID, _child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _as_if_typed() -> None:
    """In the new process: signals as a shell leaves them, and none for submitit; it ends with the job."""
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # a scheduler may send it to every process of a job
    _end_with_parent()


def _end_with_parent() -> None:
    """SIGTERM to this process when the one that started it dies, where there is such a thing (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _job_id() -> str:
    from submitit import JobEnvironment

    return JobEnvironment().job_id


def _meaning(code: int) -> str:
    if code == -signal.SIGKILL or code == 128 + signal.SIGKILL:
        return "killed by SIGKILL, perhaps because memory ran out"
    if code in STOPPED:  # below 0: by the signal itself, while there was nothing to save
        return "stopped with a checkpoint" if code > 0 else f"stopped by {signal.Signals(-code).name}"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else ""
