"""Working through a graph next to others: each run once, a failure costs what starts from it, a dead maker nothing."""

import json
import os
import signal
from pathlib import Path

import pytest

from oltr_cli.base.display import Display
from oltr_cli.errors import BeingMade, OltrError, Stopped
from oltr_cli.pipeline import working
from oltr_cli.pipeline.working import How, work_through
from oltr_cli.planning.graph import Wanted, build_graph
from tests.helpers.fake_runs import a_failure, a_result

ROWS = ("plain", "dme", "crt", "range+openmax")


@pytest.fixture
def graph(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(working, "LOOK", 0.01)
    return build_graph([Wanted(f"{m}, seed 0", m, "glyphs-lt", "--dataset glyphs-lt") for m in ROWS])


@pytest.fixture
def made(monkeypatch):
    """Methods in the order in which their runs were made; ``made.fails`` maps some to errors."""

    class Made(list):
        fails: dict = {}  # noqa: RUF012

    calls = Made()
    calls.fails = {}

    def make_runs(chain, **_):
        run = chain[-1].run
        calls.append(run.method)
        if run.method in calls.fails:
            raise calls.fails[run.method]

    monkeypatch.setattr(working, "make_runs", make_runs)
    return calls


def test_all_are_made_in_order(graph, made):
    assert work_through(graph, How(), Display(quiet=True)) == []
    assert made == ["plain", "dme", "crt", "range", "range+openmax"]


def test_a_failure_costs_its_row_and_those_that_start_from_it(graph, made, capsys):
    made.fails["range"] = OltrError("loss is nan")
    failures = work_through(graph, How(), Display(quiet=True))
    assert made == ["plain", "dme", "crt", "range"]
    (name,) = [run.name for run in graph.nodes if run.method == "range"]
    assert [(what, str(error)) for what, error in failures] == [
        ("range+openmax, seed 0", f"starts from {name}: loss is nan")
    ]
    made.clear()
    made.fails = {"plain": ValueError("oops")}
    failures = work_through(graph, How(), Display(quiet=True))
    assert made == ["plain"]
    assert [what for what, _ in failures] == [f"{row}, seed 0" for row in ROWS]
    assert "for the traceback: oltr run plain --dataset glyphs-lt" in str(failures[0][1])


def test_a_stop_ends_all(graph, made):
    made.fails["dme"] = Stopped("stopped", 15)
    with pytest.raises(Stopped):
        work_through(graph, How(), Display(quiet=True))
    assert made == ["plain", "dme"]


def test_what_another_process_works_on_is_left_to_it_and_the_rest_is_made_first(graph, made, monkeypatch, capsys):
    run = next(run for run in graph.nodes if run.method == "dme")
    lock = run.lock()
    lock.acquire()
    slept = []

    def sleep(seconds):
        slept.append(list(made))
        lock.release()  # the process that made it has died

    monkeypatch.setattr("oltr_cli.pipeline.working.time.sleep", sleep)
    assert work_through(graph, How(), Display()) == []
    assert slept == [["plain", "crt", "range", "range+openmax"]]
    assert made[-1] == "dme"
    said = " ".join(capsys.readouterr().err.split())
    assert said.count(f"other processes are working on {run.name}; waiting for them") == 1


def test_a_run_that_is_taken_between_two_looks_is_left_too(graph, made, monkeypatch):
    made.fails["crt"] = BeingMade("another process")
    monkeypatch.setattr("oltr_cli.pipeline.working.time.sleep", lambda _: made.fails.clear())
    assert work_through(graph, How(), Display(quiet=True)) == []
    assert made[:5] == ["plain", "dme", "crt", "range", "range+openmax"]
    assert set(made[5:]) == {"crt"}


def test_a_run_that_failed_elsewhere_meanwhile_is_not_tried_again(graph, made, monkeypatch):
    """One that had failed before the command began is."""
    dme, crt = (next(run for run in graph.nodes if run.method == name) for name in ("dme", "crt"))
    a_failure(crt, "yesterday").write(crt.path)
    lock = dme.lock()
    lock.acquire()

    def sleep(_):
        a_failure(dme, "out of memory").write(dme.path)
        lock.release()

    monkeypatch.setattr("oltr_cli.pipeline.working.time.sleep", sleep)
    failures = work_through(graph, How(), Display(quiet=True))
    assert [(what, str(error)) for what, error in failures] == [("dme, seed 0", "out of memory")]
    assert "dme" not in made
    assert "crt" in made


def test_two_commands_share_a_table(oltr, tiny_recipe):
    options = ("--recipe", tiny_recipe, "--methods", "plain,crt,tau-norm,dme", "--run", "--device", "cpu", "--json")
    both = [oltr.start("compare", "--table", "3a", *options) for _ in range(2)]
    ended = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    tables = [json.loads(out) for out, _ in ended]
    assert all(row["status"] == "measured" for table in tables for row in table["rows"])
    said = " ".join(err for _, err in ended)
    runs = [path.parent for path in oltr.runs.glob("tiny/*/*/result.json")]
    assert len(runs) == 4
    for run in runs:
        name = run.relative_to(oltr.runs)
        assert sum(f"{name}: {what}" in said for what in ("3 epochs", "2 epochs", "nothing to train")) == 1, said
        assert len([line for line in said.splitlines() if line.startswith((f"{name}: 3", f"{name}: 2"))]) <= 1, said


def test_a_run_is_taken_over_from_a_process_that_dies(oltr, tiny_recipe):
    """The second command waits for the first one's run, and makes it once that one is killed."""
    options = ("--recipe", tiny_recipe, "--methods", "plain", "--run", "--device", "cpu", "--json")
    slow = ("--set", "train.epochs=500")
    plain = ("run", "plain", "--recipe", tiny_recipe, "--device", "cpu", "--workers", "0")
    first = oltr.start(*plain, *slow)
    _wait_for(lambda: list(oltr.runs.glob("tiny/plain/*/last.pt")), first)
    (folder,) = (path.parent for path in oltr.runs.glob("tiny/plain/*/last.pt"))
    refused = oltr(*plain, *slow, "--no-wait", check=75)
    name = folder.relative_to(oltr.runs)
    assert f"error: another process is working on {name}; it is left to that one" in refused.stderr
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    done = oltr("compare", "--table", "3a", *options)
    assert [row["status"] for row in json.loads(done.stdout)["rows"]] == ["measured"]


def _wait_for(there, process) -> None:
    while not there():
        assert process.poll() is None


def test_results_are_those_of_the_finished_runs(graph, made, monkeypatch, tmp_path):
    """A finished run is left as it is by the real thing: nothing is imported or opened for it."""
    monkeypatch.undo()
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    for run in graph.nodes:
        run.path.mkdir(parents=True, exist_ok=True)
        a_result(run).write(run.path)
    opened = []
    monkeypatch.setattr("oltr_cli.pipeline.opened.Opened.dataset", lambda *a: opened.append(a))
    before = {path: path.stat().st_mtime_ns for path in Path(tmp_path).rglob("result.json")}
    assert work_through(graph, How(track=False), Display(quiet=True)) == []
    assert not opened
    assert {path: path.stat().st_mtime_ns for path in Path(tmp_path).rglob("result.json")} == before
