"""What is said of a job: from SLURM's answer, from its process, and from what it wrote."""

import os
import shutil
import stat
import subprocess
import sys
import time

import pytest

from oltr_cli.errors import OltrError
from oltr_cli.launching import states
from oltr_cli.launching.progress import Ended, write_progress
from oltr_cli.launching.records import (
    Record,
    jobs_root,
    own_jobs_root,
    process_started,
    read_record,
    read_records,
    this_host,
)
from oltr_cli.launching.states import states_of
from oltr_cli.runs.folder import find_runs, find_studies

NAME = "tiny/plain/0123456789-s0"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    own_jobs_root()
    return tmp_path / "runs"


def record(name=NAME, launcher="slurm", id_="7", **more) -> Record:
    made = Record(name, "plain, seed 0", launcher, id_, "oltr run plain", time.time(), **more)
    made.write()
    return made


def slurm_says(monkeypatch, *lines, accounting=()):
    """``squeue`` prints ``lines``, ``sacct`` the others; None: it fails."""
    monkeypatch.setattr(
        states,
        "_lines",
        lambda command: None if lines == (None,) else [*lines] if command[0] == "squeue" else [*accounting],
    )


def ended(one: Record, code: int, reason: str = "") -> None:
    write_progress(one.folder, one.id, host="node3", ended=Ended(code, reason, 1.0))


@pytest.mark.parametrize(
    ("line", "is_"),
    [
        ("7|PENDING||Priority", ("pending", "", "Priority")),
        ("7|RUNNING|node3|None", ("running", "node3", "")),
        ("7|COMPLETING|node3|None", ("running", "node3", "")),
        ("7|PENDING||DependencyNeverSatisfied", ("cancelled", "", "a run that it starts from failed")),
        ("7|CANCELLED|node3|None", ("cancelled", "node3", "cancelled")),
        ("7|NODE_FAIL|node3|None", ("failed", "node3", "its node failed")),
        ("7|FAILED|node3|NonZeroExitCode", ("failed", "node3", "SLURM says FAILED")),
    ],
)
def test_of_a_job_that_wrote_nothing_slurm_knows(monkeypatch, line, is_):
    slurm_says(monkeypatch, "6|RUNNING|node1|None", line)
    state = states_of([record()])[NAME]
    assert (state.word, state.node, state.reason) == is_


def test_a_forgotten_job_is_in_the_accounting_or_lost(monkeypatch):
    one = record()
    slurm_says(monkeypatch, accounting=["7|CANCELLED by 0|node3"])
    assert states_of([one])[NAME].word == "cancelled"
    slurm_says(monkeypatch)
    assert states_of([one])[NAME].word == "lost"
    slurm_says(monkeypatch, None)
    assert states_of([one])[NAME].word == "unknown"
    assert states_of([one])[NAME].active


def test_what_the_job_wrote_says_more(monkeypatch):
    one = record()
    slurm_says(monkeypatch, "7|COMPLETED|node3|None")
    ended(one, 0)
    assert states_of([one])[NAME] == states.State("done", "node3")
    slurm_says(monkeypatch, "7|FAILED|node3|NonZeroExitCode")
    ended(one, 1)
    one.log.write_text(
        "1/3 1.2\nerror: cannot write last.pt: No space left on device\nsrun: error: node3: task 0: Exited\n"
    )
    assert states_of([one])[NAME].reason == "cannot write last.pt: No space left on device"
    ended(one, 143, "stopped with a checkpoint")
    assert states_of([one])[NAME].word == "stopped"
    # What srun adds says less than the job does, but more than SLURM's state.
    one.log.write_text("1/3 1.2\nsrun: error: node3: task 0: Exited with exit code 137\n")
    ended(one, -9, "killed by SIGKILL, perhaps because memory ran out")
    assert states_of([one])[NAME].reason == "killed by SIGKILL, perhaps because memory ran out"
    (one.folder / "progress.json").unlink()
    assert states_of([one])[NAME].reason == "node3: task 0: Exited with exit code 137"
    # A job that was submitted again has not ended, whatever the one before wrote.
    again = record(id_="8")
    slurm_says(monkeypatch, "8|PENDING||Resources")
    assert states_of([again])[NAME].word == "pending"


@pytest.mark.parametrize(
    ("line", "log"),
    [
        ("7|OUT_OF_MEMORY|node3|OutOfMemory", ""),
        (
            "7|FAILED|node3|NonZeroExitCode",
            "slurmstepd-n: error: StepId=7.0 exceeded memory limit (2 > 1), being killed",
        ),
        ("7|FAILED|node3|X", "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0.\nsrun: error: n: Killed"),
    ],
)
def test_a_job_that_used_too_much_memory_is_named_as_such(monkeypatch, line, log):
    one = record()
    one.log.write_text(log)
    slurm_says(monkeypatch, line)
    assert "used more memory than it asked for" in states_of([one])[NAME].reason


@pytest.mark.parametrize("launcher", ["slurm", "local"])
@pytest.mark.parametrize("said", ["boom.py, line 9: ValueError: no room", "CUDA out of memory; lower train.batch_size"])
def test_the_commands_own_error_is_not_taken_for_a_lack_of_memory_of_the_job(monkeypatch, launcher, said):
    one = record(launcher=launcher)
    one.log.write_text(f"error: {said}\nended with exit code 1\n")
    ended(one, 1)
    slurm_says(monkeypatch, "7|FAILED|node3|NonZeroExitCode")
    assert states_of([one])[NAME].reason == said


def test_a_local_job_is_known_by_its_process():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        about = {"host": this_host(), "started": process_started(process.pid)}
        one = record(launcher="local", id_=str(process.pid), **about)
        assert states_of([one])[NAME].word == "running"
        other = record(launcher="local", id_=str(process.pid), **{**about, "started": "1"})
        assert states_of([other])[NAME].word == "lost"  # the number is now another process's
    assert states_of([one])[NAME].word == "lost"
    ended(one, -9, "killed by SIGKILL, perhaps because memory ran out")
    assert states_of([one])[NAME] == states.State(
        "failed", one.host.partition("/")[0], "killed by SIGKILL, perhaps because memory ran out"
    )


def test_a_job_that_could_not_write_its_end_is_explained_by_its_log_or_a_full_disk(monkeypatch):
    one = record(launcher="local", id_="1", host=this_host(), started="gone")
    assert states_of([one])[NAME].reason == "its process died"
    usage = shutil.disk_usage(one.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=0))
    assert states_of([one])[NAME].reason == f"its process died; {one.folder} is on a full disk: make room"
    one.log.write_text("error: cannot write best.pt: No space left on device\n")
    assert states_of([one])[NAME] == states.State(
        "lost", one.host.partition("/")[0], "cannot write best.pt: No space left on device"
    )


def test_records_are_listed_and_are_no_runs(root):
    one, other = record(), record("tiny/tune/dme-12345678/worker-1", id_="9")
    assert read_records() == [one, other]
    assert read_record(NAME) == one
    assert read_record("tiny/plain/other-s0") is None
    assert find_runs(root) == []
    assert find_studies() == {}


def test_a_folder_that_others_can_open_is_refused(root):
    assert stat.S_IMODE(jobs_root().stat().st_mode) == 0o700
    jobs_root().chmod(0o770)
    with pytest.raises(OltrError, match="must belong to you and be closed to others"):
        own_jobs_root()
    with pytest.raises(OltrError, match="mode 700"):
        read_records()


@pytest.mark.parametrize(
    ("mode", "refused"), [(0o755, False), (0o775, False), (0o777, True), (0o1777, False), (0o707, True)]
)
def test_a_runs_folder_in_which_others_can_replace_the_jobs_is_refused(root, mode, refused):
    root.chmod(mode)
    if refused:
        with pytest.raises(OltrError, match="other users can rename what is in it"):
            own_jobs_root()
    else:
        own_jobs_root()


def test_a_runs_folder_of_another_user_or_group_is_refused(root, monkeypatch):
    root.chmod(0o775)
    monkeypatch.setattr(os, "getgid", lambda: root.stat().st_gid + 1)
    with pytest.raises(OltrError, match="set OLTR_RUNS to a folder of your own"):
        own_jobs_root()


def test_a_process_that_ended_is_gone_before_its_parent_looks():
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process_started(process.pid) == ""
    process.wait()
