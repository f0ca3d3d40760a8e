"""A study in a PostgreSQL server of its own: eight workers, some of which are killed, and a password that stays secret.

Needs the server's programs (Debian: apt-get install postgresql) and psycopg.
"""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from oltr_cli.errors import UsageProblem
from oltr_cli.tuning.request import Request
from oltr_cli.tuning.search import search
from oltr_cli.tuning.storage import open_database
from oltr_cli.tuning.trial import Outcome, Workbench
from tests.helpers.forked import context
from tests.helpers.searches import QUIET, numbers

PASSWORD = "Sekret9"
WORKERS, TRIALS, KILLED = 8, 24, {"003", "007", "011"}


def _programs():
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(found).parent if found else folders[-1].parent if folders else None


def _as_somebody(*command):
    """The server refuses to run as root."""
    before = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
    return subprocess.run([*before, *map(str, command)], capture_output=True, text=True, check=True, timeout=120)


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("psycopg")
    programs = _programs()
    if programs is None or (os.geteuid() == 0 and shutil.which("runuser") is None):
        pytest.skip("no PostgreSQL server here")
    # Below /tmp: a socket's path is short, and the user who runs it can enter the folder.
    folder = Path(_as_somebody("mktemp", "-d", "/tmp/oltr-pg-XXXXXX").stdout.strip())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        _as_somebody("sh", "-c", f"echo {PASSWORD} > {folder}/pw")
        _as_somebody(
            *(programs / "initdb", "-D", folder / "data", "-U", "me", f"--pwfile={folder}/pw"),
            *("-A", "scram-sha-256", "--no-sync"),
        )
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        control = [programs / "pg_ctl", "-D", folder / "data"]
        _as_somebody(*control, "-o", options, "-l", folder / "log", "-w", "start")
        yield f"127.0.0.1:{port}"
        _as_somebody(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _worker(environment, request, folder):
    """A worker whose trials train nothing; the first to have one of ``KILLED`` dies in it."""
    os.environ.update(environment)

    def run(self, p, log_epoch):
        number = p.run.path.name
        log_epoch({"epoch": 1, "val/closed/overall": 0.5, "seconds": 1.0, "loss": 0.0})
        if number in KILLED and not Path(folder, number).exists():
            Path(folder, number).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with Path(folder, "ended").open("a") as file:
            file.write(f"{number}\n")
        return Outcome({"open/f_measure": p.link.recipe.params.lambda_}, 0.1, 1, 1, 1.0)

    Workbench.run = run
    search(request, QUIET)


def test_eight_workers_share_an_empty_database_and_three_are_killed(server, root, tiny_data, tiny_recipe, tmp_path):
    url = f"postgresql://me:{PASSWORD}@{server}/postgres"
    options = {"ranges": ("lambda=0.001:1:log",), "sets": [], "track": False, "database": url}
    request = Request(method="dme", recipe=str(tiny_recipe), total=TRIALS, workers=0, device="cpu", **options)
    environment = {"OLTR_RUNS": str(root), "OLTR_DATA": str(tiny_data), "OMP_NUM_THREADS": "1"}
    workers = [context.Process(target=_worker, args=(environment, request, str(tmp_path))) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(240)
    assert sorted(worker.exitcode for worker in workers) == [-signal.SIGKILL] * len(KILLED) + [0] * (8 - len(KILLED))
    study = search(request, QUIET)  # nothing is left to do
    assert numbers(study) == list(range(TRIALS)) == [trial.number for trial in study.trials()]
    ended = sorted(int(line) for line in (tmp_path / "ended").read_text().split())
    assert ended == list(range(TRIALS)), "a trial was made twice, or was lost"
    study.storage.engine.dispose()
    for file in root.rglob("*"):
        assert file.is_dir() or PASSWORD.encode() not in file.read_bytes(), file


def _opens(url, all_here):
    all_here.wait(120)
    open_database(url, lambda study, trial: None)


def test_an_empty_database_is_opened_by_all_at_the_same_time(server):
    import psycopg

    url = f"postgresql://me:{PASSWORD}@{server}"
    with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
        connection.execute("create database empty")
    all_here = context.Barrier(WORKERS)
    workers = [context.Process(target=_opens, args=(f"{url}/empty", all_here)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * WORKERS


def test_a_refused_password_is_not_shown(server):
    for database in ("postgres", "missing"):
        with pytest.raises(UsageProblem, match="--storage postgresql") as caught:
            open_database(f"postgresql://me:Wrong{PASSWORD}@{server}/{database}", lambda study, trial: None)
        assert PASSWORD not in str(caught.value)
        assert "\n" not in str(caught.value)
