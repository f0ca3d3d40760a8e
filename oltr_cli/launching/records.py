"""Jobs on disk: ``$OLTR_RUNS/.jobs/<name>/``, where the name is that of the run, with a folder for each.

================  ==============================================================
job.json          the latest job of the run: launcher, number, command, log
progress.json     written by the job: where it runs, and how it ended
<number>_0_log.out  what the command printed; one for each job, requeued or not
<number>_*        files of submitit
================  ==============================================================

submitit pickles a job, and whoever can write such a file can run anything in the job's name. So the folder belongs to
one user, and nobody else may open it.
"""

import os
import socket
import stat
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from oltr_cli.base.files import read_json, write_json
from oltr_cli.base.locks import Lock
from oltr_cli.errors import OltrError
from oltr_cli.launching.progress import PROGRESS, Ended, as_ended
from oltr_cli.runs.folder import runs_root

JOBS = ".jobs"  # no dataset can be named like it
RECORD = "job.json"


@dataclass(frozen=True)
class Record:
    """A job as it was submitted.

    Attributes:
        name: of its run, or of a worker of a study.
        label: what it was asked for, as "dme, seed 0".
        launcher: local or slurm; ``id``: the number of the process or the job.
        host, started: of a local job: the machine, and when its process started, in the kernel's count.
        owner, owner_started: of a local job, the launching process likewise.
        device: the GPU of a local job.
        submitted: seconds since 1970.
    """

    name: str
    label: str
    launcher: str
    id: str
    command: str
    submitted: float
    host: str = ""
    started: str = ""
    owner: int = 0
    owner_started: str = ""
    device: str = ""

    @property
    def folder(self) -> Path:
        return jobs_root() / self.name

    @property
    def log(self) -> Path:
        return self.folder / f"{self.id}_0_log.out"

    def write(self) -> None:
        write_json(self.folder / RECORD, asdict(self))

    def progress(self) -> dict[str, Any]:
        """What the job wrote: ``host``, ``pid``, and ``ended`` once it has; empty before it started."""
        found = read_json(self.folder / PROGRESS)
        return found if isinstance(found, dict) and found.get("job") == self.id else {}

    def ended(self) -> Ended | None:
        return as_ended(self.progress().get("ended"))


def jobs_root() -> Path:
    return runs_root().absolute() / JOBS


def own_jobs_root() -> Path:
    """The folder of jobs, made if it does not exist.

    Raises:
        OltrError: it belongs to another user, or others may open or replace it.
    """
    root = jobs_root()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = root.stat()
    except OSError as error:
        raise OltrError(f"{root}: cannot be used ({error.strerror}); set OLTR_RUNS to a folder of your own") from None
    if about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077:
        raise OltrError(
            f"{root}: jobs are started from files in it, so it must belong to you and be closed to others (mode 700); "
            "set OLTR_RUNS to a folder of your own"
        )
    if _is_others(root.parent.stat()):
        raise OltrError(
            f"{root.parent}: other users can rename what is in it, and jobs are started from files in its {JOBS}; set "
            "OLTR_RUNS to a folder of your own"
        )
    return root


def _is_others(about: os.stat_result) -> bool:
    """Whether others than this user and root may rename what is in a folder; a user's own group is the user."""
    if about.st_uid not in (os.getuid(), 0):
        return True
    if about.st_mode & stat.S_ISVTX:  # such as /tmp
        return False
    return bool(about.st_mode & stat.S_IWOTH or (about.st_mode & stat.S_IWGRP and about.st_gid != os.getgid()))


def launch_lock() -> Lock:
    """Held while it is looked which jobs there are and others are submitted."""
    return Lock(own_jobs_root() / ".lock")


def read_record(name: str) -> Record | None:
    """The latest job of that name, if there is one; None if its file is damaged or of another version."""
    found = read_json(jobs_root() / name / RECORD)
    if not isinstance(found, dict) or not all(
        _fits(found[one.name], one.type) for one in fields(Record) if one.name in found
    ):
        return None
    try:
        record = Record(**found)
    except TypeError:  # keys that are missing, or not known
        return None
    return record if record.name == name and record.id.isdecimal() else None


def _fits(value: object, type_: Any) -> bool:
    return isinstance(value, float | int if type_ is float else type_)


def read_records(warn: Callable[[str], object] = lambda said: None) -> list[Record]:
    """All jobs, the latest of each name, in the order in which they were submitted.

    Args:
        warn: told of each file that cannot be read.
    """
    if not jobs_root().is_dir():
        return []
    root = own_jobs_root()
    found = []
    for file in sorted(root.rglob(RECORD)):
        if (record := read_record(str(file.parent.relative_to(root)))) is not None:
            found.append(record)
        elif file.exists():
            warn(f"{file}: damaged, or of another version; its job is not listed. Remove the file if no job runs")
    return sorted(found, key=lambda one: one.submitted)


def this_host() -> str:
    """Names this machine since it was started: numbers of processes mean nothing after that."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except OSError:
        boot = ""
    return f"{socket.gethostname()}/{boot}"


def process_started(pid: int) -> str:
    """When the process started, which tells it from a later one with the same number; "" if it is gone."""
    if sys.platform != "linux":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        return "?"
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def last_error(log: Path) -> str:
    """The last error that a command printed to its log; "" if there is none."""
    said = [line.removeprefix("error: ") for line in _end_of(log) if line.startswith("error: ")]
    return said[-1] if said else ""


def errors_of(log: Path, programs: tuple[str, ...]) -> list[str]:
    """The errors of other programs in a log, in lines such as "slurmstepd-node7: error: …"."""
    return [
        line.partition(": error: ")[2] for line in _end_of(log) if line.startswith(programs) and ": error: " in line
    ]


def _end_of(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 20_000))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
