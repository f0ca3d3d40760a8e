"""``oltr jobs``: what it lists and what it cancels."""

import json
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.files import read_json
from oltr_cli.launching.progress import Ended, write_progress
from oltr_cli.launching.records import Record, jobs_root, own_jobs_root, process_started, this_host


def oltr(*words):
    return CliRunner().invoke(app, ["jobs", *words])


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def running():
    """A local job that runs, and one that is done."""
    own_jobs_root()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        about = {"host": this_host(), "started": process_started(process.pid)}
        for name, id_ in (("tiny/dme/2-s0", str(process.pid)), ("tiny/plain/1-s0", "0")):
            Record(name, "x", "local", id_, "oltr run dme", time.time(), **about).write()
        done = Record("tiny/plain/1-s0", "x", "local", "0", "oltr run plain", time.time(), host=this_host())
        done.write()
        write_progress(done.folder, "0", host="here", ended=Ended(0, "", 1.0))
        yield process
        process.kill()


def test_without_jobs_it_says_how_to_start_some():
    assert "no jobs; start some with --launcher" in oltr().stdout
    assert json.loads(oltr("--json").stdout) == {"jobs": []}


def test_it_lists_state_run_node_and_log(running):
    listed = {one["run"]: one for one in json.loads(oltr("--json").stdout)["jobs"]}
    assert {run: one["state"] for run, one in listed.items()} == {"tiny/dme/2-s0": "running", "tiny/plain/1-s0": "done"}
    shown = oltr().stdout
    for one in listed.values():
        assert one["log"] in shown
        assert one["node"] in shown


def test_it_cancels_what_is_named(running):
    missing = oltr("cancel", "tiny/plain")
    assert "no job of 'tiny/plain' waits or runs" in str(missing.exception)
    done = oltr("cancel", "dme")
    assert done.stdout == f"cancelled tiny/dme/2-s0, job {running.pid}\n"
    assert running.wait(timeout=60) == -15
    assert json.loads(oltr("cancel", "all", "--json").stdout) == {"cancelled": []}


@pytest.mark.parametrize("words", [["cancel"], ["stop", "all"], ["cancel", "a", "b"]])
def test_other_words_are_refused(words):
    assert "write oltr jobs, oltr jobs cancel RUN" in str(oltr(*words).exception)


def test_it_says_that_there_is_nothing_to_cancel():
    assert oltr("cancel", "all").stdout == "no job waits or runs\n"


def test_a_reason_does_not_repeat_the_state(running):
    stopped = Record("tiny/dme/3-s0", "x", "local", "0", "oltr run dme", time.time(), host=this_host())
    stopped.write()
    write_progress(stopped.folder, "0", host="here", ended=Ended(143, "stopped with a checkpoint", 1.0))
    (line,) = (line for line in oltr().stdout.splitlines() if "tiny/dme/3-s0" in line)
    assert line.startswith("stopped with a checkpoint ")


@pytest.mark.parametrize(
    "changed",
    [
        *({"id": "x"}, {"id": 5}, {"submitted": "x"}, {"submitted": None}, {"name": 5}, {"name": "../../x"}),
        *({"host": 3}, {"owner": "x"}, {"label": None}, {"device": 0}, {"more": 1}),
    ],
    ids=str,
)
def test_a_damaged_record_is_named_and_the_others_are_listed(running, changed):
    file = jobs_root() / "tiny" / "plain" / "1-s0" / "job.json"
    file.write_text(json.dumps(read_json(file) | changed))
    done = oltr("--json")
    assert done.exit_code == 0, done.output
    assert f"warning: {file}: damaged" in done.stderr
    assert [one["run"] for one in json.loads(done.stdout)["jobs"]] == ["tiny/dme/2-s0"]
    assert "cancelled tiny/dme/2-s0" in oltr("cancel", "all").stdout


@pytest.mark.parametrize("ended", [{"code": 0}, {"code": "0", "reason": "", "at": 1.0}, [1], "x"], ids=str)
def test_what_a_job_wrote_of_its_end_may_be_damaged(running, ended):
    file = jobs_root() / "tiny" / "plain" / "1-s0" / "progress.json"
    file.write_text(json.dumps(read_json(file) | {"ended": ended}))
    done = oltr("--json")
    assert done.exit_code == 0, done.output
    states = {one["run"]: one["state"] for one in json.loads(done.stdout)["jobs"]}
    assert states == {"tiny/dme/2-s0": "running", "tiny/plain/1-s0": "lost"}
