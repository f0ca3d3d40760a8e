"""Jobs on this machine: in order, a few at once, found again, stopped with checkpoints."""

import json
import os
import signal
from pathlib import Path
from unittest.mock import Mock

import pytest

from oltr_cli.base.display import Display
from oltr_cli.errors import UsageProblem
from oltr_cli.launching import local
from oltr_cli.launching.command_job import TIME_UP
from oltr_cli.launching.launch import run_tasks
from oltr_cli.launching.local import run_local
from oltr_cli.launching.progress import Ended, write_progress
from oltr_cli.launching.records import Record, read_record
from oltr_cli.launching.settings import Launcher
from oltr_cli.launching.states import states_of
from oltr_cli.launching.tasks import Task, graph_tasks, machine_options
from oltr_cli.pipeline.working import How
from oltr_cli.planning.graph import Wanted, build_graph
from tests.helpers.fake_runs import make_run
from tests.helpers.outcomes import run_dir, wait_for


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(local, "LOOK", 0.05)
    return tmp_path / "runs"


def task(name, *arguments, parent=None, **more):
    return Task(
        f"tiny/{name}/0123456789-s0", f"{name}, seed 0", arguments, parent and f"tiny/{parent}/0123456789-s0", **more
    )


def test_a_job_comes_after_its_parent_and_a_failure_costs_what_starts_from_it(root, capfd):
    tasks = [
        task("plain", "show", "plain", "--workers", "0"),  # show knows no --workers
        task("other", "jobs", parent=None),
        task("dme", "jobs", parent="plain"),
        task("done", "jobs", finished=lambda: True),
        task("after", "jobs", parent="done"),
    ]
    failed = run_local(tasks, Launcher("local", 2), "cpu", Display())
    assert set(failed) == {"tiny/plain/0123456789-s0", "tiny/other/0123456789-s0", "tiny/after/0123456789-s0"}
    record = read_record("tiny/plain/0123456789-s0")
    assert record is not None
    assert failed[record.name].endswith(f"(log: {record.log})")
    assert "exit code 2" in failed[record.name]
    assert "No such option: --workers" in record.log.read_text()
    assert read_record("tiny/dme/0123456789-s0") is None
    assert read_record("tiny/done/0123456789-s0") is None
    assert states_of([record])[record.name].word == "failed"


def test_a_job_that_is_killed_after_its_result_has_not_failed(root):
    looks = []
    one = task("plain", "show", "plain", "--workers", "0", finished=lambda: looks.append(1) or len(looks) > 1)
    assert run_local([one], Launcher("local", 1), "cpu", Display(quiet=True)) == {}
    assert len(looks) == 2


def test_what_a_killed_job_left_out_is_made_for_a_finished_run(root):
    graph = build_graph([Wanted("plain, seed 0", "plain", "glyphs-lt", "--dataset glyphs-lt")])
    (run,) = graph.nodes
    made = make_run(root, run.dataset, run.method, run_hash=run.hash)
    (left := made.path / ".result.json.x.tmp").touch()
    (only,) = graph_tasks(graph, How(track=False), Display(quiet=True))
    with run.lock():  # the command of a killed job has not ended yet
        assert not only.finished()
        assert only.busy()
    assert only.finished()
    assert not left.exists()
    assert (made.path / "plots" / "threshold.png").exists()


def test_what_another_process_works_on_is_started_when_it_is_free(capsys):
    looks = []

    def busy():
        looks.append(1)
        return len(looks) < 3

    one = task("plain", "ls", "tables", busy=busy)
    assert set(run_local([one], Launcher("local", 1), "cpu", Display())) == {one.name}  # ls knows no --workers
    assert len(looks) >= 3
    assert capsys.readouterr().err.count("other processes are working on") == 1


@pytest.mark.parametrize("requeues", [0, 8])
def test_a_job_whose_time_is_up_is_started_again(monkeypatch, requeues):
    """As often as it may be, which is more often than submitit starts one job."""
    started = []

    def submit(one, launcher, devices):
        started.append(one.name)
        record = Record(one.name, one.label, "local", "1", "oltr", 0.0)  # of a process that has ended
        write_progress(record.folder, "1", host="here", ended=Ended(143, TIME_UP, 0.0))
        return Mock(), record

    monkeypatch.setattr(local, "start_job", submit)
    monkeypatch.setattr(local, "LOOK", 0)
    one = task("plain", "jobs")
    failed = run_local([one], Launcher("local", 1, requeues=requeues), "cpu", Display(quiet=True))
    assert failed[one.name].startswith(TIME_UP)
    assert len(started) == 1 + requeues


def test_options_of_the_machine_reach_the_job():
    how = How("cuda", 3, track=False, compiled=True)
    assert machine_options(how) == ("--device", "cuda", "--workers", "3", "--no-track", "--compile")
    with pytest.raises(UsageProblem, match="jobs are given a GPU each; use --device cuda"):
        machine_options(How("cuda:1"))


def test_a_group_of_processes_starts_no_jobs(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageProblem, match="leave torchrun out"):
        run_tasks([], Launcher("local", 1), None, Display())


def test_jobs_outlive_the_launching_process_and_are_stopped_with_the_next_one(oltr, tiny_recipe):
    """One long run: the process that launched it is killed, the same command finds it, and SIGTERM stops it."""
    command = ("run", "plain", "--recipe", tiny_recipe, "--set", "train.epochs=3000", "--device", "cpu", "--seeds", 1)
    command = (*command, "--launcher", "local:2")

    def jobs():
        return json.loads(oltr("jobs", "--json").stdout)["jobs"]

    first = oltr.start(*command)
    wait_for(lambda: list(oltr.runs.glob("tiny/plain/*/last.pt")), first, 240)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    (job,) = jobs()
    assert job["state"] == "running"
    second = oltr.start(*command)
    wait_for(lambda: f'"owner": {second.pid}' in next(oltr.runs.rglob("job.json")).read_text(), second, 240)
    os.kill(second.pid, signal.SIGTERM)
    _, err = second.communicate(timeout=200)
    assert second.returncode == 143, err
    assert "stopped all jobs; the same command goes on from their checkpoints" in err
    (stopped,) = jobs()
    assert (stopped["state"], stopped["job"]) == ("stopped", job["job"])
    assert "Traceback" not in oltr("jobs").stdout
    assert not (run_dir(oltr, "plain") / "result.json").exists()
    assert "the same command resumes from there" in Path(stopped["log"]).read_text()
