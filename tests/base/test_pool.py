"""Worker processes: order, Ctrl-C, processes that are killed, and a main process that is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oltr_cli.base.display import Display
from oltr_cli.base.pool import Workers, over_files
from oltr_cli.errors import OltrError, Stopped


def interrupt(file: Path) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return 1


def interrupt_parent_once(file: Path) -> int:
    if file.name == "0":
        os.kill(os.getppid(), signal.SIGINT)
    return 1


def die(file: Path) -> int:
    os._exit(9)


def size_of_name(file: Path) -> int:
    return len(file.name)


def test_over_files_stops_when_asked_to():
    files = [Path(str(i)) for i in range(400)]
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped, match="stopped after 1 of 400") as caught:
        over_files(interrupt, files, "x", 0, Display(quiet=True))
    assert caught.value.exit_code == 130
    with pytest.raises(Stopped) as caught:
        over_files(interrupt_parent_once, files, "x", 2, Display(quiet=True))
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) == handler


def test_processes_do_not_outlive_a_main_process_that_is_killed(tmp_path):
    code = f"""
import os, time
from pathlib import Path
from oltr_cli.base.pool import over_files
from oltr_cli.base.display import Display

def linger(file):
    Path({str(tmp_path)!r}, str(os.getpid())).touch()
    time.sleep(0.05)

over_files(linger, [Path(str(i)) for i in range(5000)], "x", 2, Display(quiet=True))
"""
    main = subprocess.Popen([sys.executable, "-c", code])
    workers = []
    while len(workers) < 2 and main.poll() is None:
        workers = [int(path.name) for path in tmp_path.iterdir()]
        time.sleep(0.05)
    main.kill()
    main.wait()
    assert len(workers) == 2
    for _ in range(200):
        workers = [pid for pid in workers if is_running(pid)]
        time.sleep(0.05)
        if not workers:
            break
    assert workers == []


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")  # where nobody asks after the orphans, their entries stay
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_over_files_keeps_the_order_and_says_when_a_process_died():
    files = [Path("x" * (1 + i % 7)) for i in range(1000)]
    assert over_files(size_of_name, files, "x", 3, Display(quiet=True)) == [len(f.name) for f in files]
    assert over_files(size_of_name, [], "x", 3, Display(quiet=True)) == []
    with pytest.raises(OltrError, match="a process was killed"):
        over_files(die, files, "x", 2, Display(quiet=True))


def terminate_all(file: Path) -> int:
    """A scheduler's SIGTERM reaches the whole group."""
    if file.name == "0":
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)
    return 1


def test_a_stop_of_the_whole_group_is_no_process_that_died():
    with pytest.raises(Stopped) as caught:
        over_files(terminate_all, [Path(str(i)) for i in range(400)], "x", 2, Display(quiet=True))
    assert caught.value.exit_code == 143


def test_workers_prepare_ignore_ctrl_c_and_work_here_when_there_are_none():
    with Workers(1, prepare_here) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()
        assert pool.submit(os.getenv, "PREPARED").result() == "yes"
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
    with Workers(0, prepare_here) as pool:
        assert pool.submit(os.getpid).result() == os.getpid()
    assert "PREPARED" not in os.environ


def prepare_here() -> None:
    os.environ["PREPARED"] = "yes"
