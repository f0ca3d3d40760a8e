"""Stopping: a command never waits for its worker processes, which ignore signals."""

import signal
import subprocess
import sys

import pytest

from oltr_cli.base import signals
from oltr_cli.base.signals import StopRequest

FAILS_WITH_A_WORKER = """
import multiprocessing, os, signal
from oltr_cli import app
from oltr_cli.base.signals import ignore_stopping
from oltr_cli.errors import DataProblem

ready, parent = multiprocessing.Event(), os.pipe()

def work():
    ignore_stopping()
    os.close(parent[1])
    ready.set()
    os.read(parent[0], 1)  # until the main process has ended

def command():
    worker = multiprocessing.Process(target=work, daemon=True)
    worker.start()
    ready.wait()
    signal.signal(signal.SIGCHLD, lambda *_: print("a worker was killed"))  # torch's own raises
    raise DataProblem("the disk is full")

app.app = command
app.main()
"""


def test_a_failed_command_does_not_wait_for_its_workers():
    done = subprocess.run([sys.executable, "-c", FAILS_WITH_A_WORKER], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "error: the disk is full\n")


@pytest.mark.parametrize(("numbers", "later"), [((15, 15), 0.0), ((15, 15), 60.0), ((15, 2), 0.0), ((2, 2), 0.0)])
def test_a_second_sigterm_soon_after_is_the_same_request(monkeypatch, numbers, later):
    """A scheduler sends it to every process of a job, and the job passes it on. Others stop at once."""
    raised = []
    monkeypatch.setattr(signals.signal, "raise_signal", raised.append)
    moment = [0.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: moment[0])
    with StopRequest() as stop:
        for number in numbers:
            stop._remember(number, None)
            moment[0] += later
    assert raised == ([] if (numbers, later) == ((15, 15), 0.0) else [numbers[1]])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
