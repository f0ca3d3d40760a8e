"""Stopping: a command never waits for its worker processes, which ignore signals."""

import subprocess
import sys

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
