"""The job itself: its command is stopped before it is continued, and its exit code is the command's."""

import json
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oltr_cli.launching import command_job
from oltr_cli.launching.command_job import CommandJob

PROGRAM = "import signal, sys, time; signal.signal(signal.SIGTERM, {}); print(flush=True); time.sleep(99)"
SLEEPS, STUBBORN = PROGRAM.format("lambda *_: sys.exit(143)"), PROGRAM.format("signal.SIG_IGN")


def job(tmp_path, patience=60.0):
    return CommandJob(["jobs", "--json"], {"OLTR_RUNS": str(tmp_path)}, Path.cwd(), tmp_path, patience)


@pytest.fixture
def child(monkeypatch):
    """Starts a program in the place of the command, which is ready for signals."""
    started = []

    def start(text):
        process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        monkeypatch.setattr(command_job, "_child", process)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("text", "patience", "code"), [(SLEEPS, 60.0, 143), (STUBBORN, 0.2, -signal.SIGKILL)])
def test_before_it_is_continued_the_command_has_ended(child, tmp_path, monkeypatch, text, patience, code):
    monkeypatch.setattr(command_job, "_job_id", lambda: "7")
    process = child(text)
    again = job(tmp_path, patience).checkpoint()
    assert process.wait(timeout=0.1) == code  # its exit code is left for whoever waits for it
    assert again.function.arguments == ["jobs", "--json"]
    assert pickle.loads(pickle.dumps(again.function)).environment == {"OLTR_RUNS": str(tmp_path)}
    assert json.loads((tmp_path / "progress.json").read_text())["ended"]["reason"] == command_job.TIME_UP


def test_the_log_begins_with_the_command_as_it_can_be_typed_but_without_secrets(tmp_path, monkeypatch, capsys):
    def no_process(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(command_job, "_end_with_parent", lambda: None)
    monkeypatch.setattr(command_job.signal, "signal", lambda *_: None)
    monkeypatch.setattr(command_job.subprocess, "Popen", no_process)
    words = ["tune", "search", "--storage=postgresql://me:s3cret@db/x?password=hunter2", "--recipe", "my own.toml"]
    with pytest.raises(FileNotFoundError):
        CommandJob(words, {}, Path.cwd(), tmp_path, 1.0)()
    assert capsys.readouterr().out == (
        "oltr tune search '--storage=postgresql://db/x?password=***' --recipe 'my own.toml'\n"
    )


def test_only_a_running_job_is_preempted(monkeypatch):
    for said, is_ in (("RUNNING", True), ("PREEMPTED", True), ("COMPLETING", False), ("", False)):
        answer = subprocess.CompletedProcess([], 0, f"{said}\n", "")
        monkeypatch.setattr(command_job.subprocess, "run", lambda *_, _answer=answer, **__: _answer)
        assert command_job._is_preempted("7") is is_


@pytest.mark.parametrize(
    ("code", "slurm", "requeued", "leaves"),
    [
        (75, True, True, 75),
        (75, False, False, 75),
        (143, True, True, 75),
        (143, False, False, 143),
        (2, True, False, 2),
    ],
)
def test_a_job_goes_back_to_the_queue_if_it_is_to_be_continued(tmp_path, monkeypatch, code, slurm, requeued, leaves):
    """Not a local one, even within a job of SLURM: that would requeue somebody's shell."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm" if slurm else "local")
    monkeypatch.setattr(command_job, "_is_preempted", lambda _: True)
    monkeypatch.setattr(command_job, "_job_id", lambda: "7")
    asked = []
    monkeypatch.setattr(command_job.subprocess, "run", lambda words, **_: asked.append(words))
    with pytest.raises(SystemExit) as left:
        job(tmp_path)._leave(code)
    assert left.value.code == leaves
    assert asked == ([["scontrol", "requeue", "7"]] if requeued else [])
    assert (tmp_path / "progress.json").exists() is not requeued


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (143, "stopped with a checkpoint"),
        (-signal.SIGTERM, "stopped by SIGTERM"),  # it was still starting: there is no checkpoint
        (-signal.SIGKILL, "killed by SIGKILL, perhaps because memory ran out"),
        (-signal.SIGSEGV, "killed by SIGSEGV"),
        (3, ""),
    ],
)
def test_how_a_command_ended_is_written_down(tmp_path, monkeypatch, code, reason):
    monkeypatch.setattr(command_job, "_job_id", lambda: "7")
    with pytest.raises(SystemExit):
        job(tmp_path)._leave(code)
    assert json.loads((tmp_path / "progress.json").read_text())["ended"]["reason"] == reason
