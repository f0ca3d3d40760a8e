"""Output that cannot be written: progress is dropped and the work goes on, a lost result ends with its exit code."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Oltr

LIGHT = (["ls", "methods"], ["ls", "datasets"], ["run", "--help"], ["show", "glyphs-lt"])
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no device that is always full")


@pytest.mark.parametrize("command", LIGHT, ids=" ".join)
def test_a_reader_that_left_is_not_a_failed_run(oltr: Oltr, command: list[str]):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(oltr.command(*command), env=oltr.env, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@needs_full
@pytest.mark.parametrize("command", LIGHT, ids=" ".join)
def test_a_result_that_cannot_be_written_is_one_line(oltr: Oltr, command: list[str]):
    with FULL.open("w") as full:
        done = subprocess.run(oltr.command(*command), env=oltr.env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: stdout cannot be written: No space left on device\n"


def closed_terminal() -> int:
    """The end of a terminal whose other end is gone: every write fails with EIO."""
    master, slave = pty.openpty()
    os.close(master)
    return slave


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def full_disk() -> int:
    return os.open(FULL, os.O_WRONLY)


@pytest.mark.parametrize("stream", [closed_terminal, closed_pipe, pytest.param(full_disk, marks=needs_full)])
def test_training_goes_on_without_its_progress(oltr: Oltr, tiny_recipe: Path, stream):
    broken = stream()
    command = oltr.command("run", "plain", "--recipe", tiny_recipe, "--workers", 1, "--json")
    done = subprocess.run(command, env=oltr.env, stdout=subprocess.PIPE, stderr=broken, timeout=200)
    os.close(broken)
    assert done.returncode == 0
    assert done.stdout.startswith(b"{")


def test_an_error_that_nobody_can_read_keeps_its_exit_code(oltr: Oltr):
    broken = closed_pipe()
    done = subprocess.run(oltr.command("run", "nosuch"), env=oltr.env, stdout=subprocess.PIPE, stderr=broken)
    os.close(broken)
    assert done.returncode == 2


@pytest.mark.parametrize("command", [["--version"], *LIGHT[:2]], ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"])  # with 1, a library's probing of stdout meets the failure first
def test_a_stdout_that_was_closed_or_is_full_is_one_line(oltr: Oltr, command: list[str], unbuffered: str):
    environment = {**oltr.env, "PYTHONUNBUFFERED": unbuffered}
    for ending in (">&-", *([f"> {FULL}"] if FULL.exists() else [])):
        line = f'exec "$@" {ending}'
        done = subprocess.run(
            ["sh", "-c", line, "sh", *oltr.command(*command)], env=environment, stderr=subprocess.PIPE, text=True
        )
        assert done.returncode == 1, ending
        assert done.stderr.startswith("error: stdout cannot be written: "), done.stderr
        assert done.stderr.count("\n") == 1


def test_without_stderr_errors_do_not_go_to_stdout(oltr: Oltr):
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *oltr.command("show", "nosuch")], env=oltr.env, stdout=subprocess.PIPE
    )
    assert (done.returncode, done.stdout) == (2, b"")


def test_files_never_get_the_number_of_a_closed_stream(tmp_path: Path):
    script = (
        "import os; from oltr_cli.base.streams import guard_streams; guard_streams(); "
        "number = os.open('file', os.O_CREAT | os.O_WRONLY); os.write(1, b'out'); os.write(2, b'err'); "
        "os._exit(number < 3)"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", script]
    assert subprocess.run(command, cwd=tmp_path).returncode == 0
    assert (tmp_path / "file").read_bytes() == b""
