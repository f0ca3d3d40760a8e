"""The SQLite store of MLflow: whole or not there, and set aside where it cannot be used."""

import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from oltr_cli.runs.folder import Run
from oltr_cli.tracking.store import store_lock, what_is_wrong
from oltr_cli.tracking.tracker import STORE_PATIENCE
from tests.tracking.test_tracker import client_of, script, start


def half_made(file: Path) -> None:
    """What a kill in the middle of MLflow's own first start leaves: tables, but no version."""
    with sqlite3.connect(file) as store:
        store.execute("CREATE TABLE experiments (experiment_id INTEGER)")
        store.execute("CREATE TABLE runs (run_uuid TEXT)")
        store.execute("CREATE TABLE alembic_version (version_num TEXT)")
    store.close()


def not_a_database(file: Path) -> None:
    file.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 20)


@pytest.mark.parametrize("spoil", [half_made, not_a_database])
def test_a_store_that_cannot_be_used_is_set_aside(run: Run, spoil):
    run.root.mkdir(parents=True)
    file = run.root / "mlflow.db"
    spoil(file)
    before = file.read_bytes()
    assert what_is_wrong(file)
    warnings: list[str] = []
    tracker = start(run, warnings)
    tracker.finish("FINISHED", {"open/f_measure": 0.5}, [])
    (warning,) = warnings
    assert "it is now mlflow.broken-1.db" in warning
    assert warning.endswith("oltr ui --rebuild")
    assert (run.root / "mlflow.broken-1.db").read_bytes() == before
    assert what_is_wrong(file) == ""
    (found,) = client_of(run.root).search_runs([client_of(run.root).get_experiment_by_name("glyphs-lt").experiment_id])
    assert found.data.metrics == {"open/f_measure": 0.5}


def test_a_folder_in_its_place_costs_one_line_and_no_time(run: Run):
    (run.root / "mlflow.db").mkdir(parents=True)
    warnings: list[str] = []
    tracker = start(run, warnings)
    assert tracker._ready.wait(60)
    began = time.monotonic()
    tracker.finish("FINISHED", {}, [])
    assert time.monotonic() - began < 10
    (warning,) = warnings
    assert "mlflow.db is a folder; move it away" in warning


def test_a_kill_while_it_is_built_leaves_none(run: Run):
    process = script(run.root)
    end = time.monotonic() + 120
    while not list(run.root.glob(".mlflow.db.*.tmp")) and time.monotonic() < end:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (run.root / "mlflow.db").exists()
    out, _ = script(run.root).communicate(timeout=120)
    assert out == "done\n"
    assert what_is_wrong(run.root / "mlflow.db") == ""
    assert not list(run.root.glob(".mlflow.db.*"))


def test_a_held_lock_costs_seconds(run: Run):
    run.root.mkdir(parents=True)
    warnings: list[str] = []
    with store_lock(run.root):
        tracker = start(run, warnings)
        assert tracker._ready.wait(60)
        began = time.monotonic()
        tracker.finish("FINISHED", {}, [])
        assert time.monotonic() - began < STORE_PATIENCE + 2
    assert [line for line in warnings if "no answer within 8 s" in line] == warnings != []
