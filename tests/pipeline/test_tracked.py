"""What a stopped command left out of a finished run is made up for; MLflow's store is filled again from files."""

import json
import os
import sqlite3
import time

import pytest

from oltr_cli.base.display import Display
from oltr_cli.drawing.run_plots import save_run_plots
from oltr_cli.errors import OltrError, UsageProblem
from oltr_cli.pipeline.tracked import _missing_plots, complete, rebuild_store
from oltr_cli.runs.history import as_lines
from oltr_cli.tracking.tracker import tracking_uri
from tests.helpers.fake_runs import a_failure, make_run


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("OLTR_TRACKING", raising=False)
    return tmp_path / "runs"


def with_history(run):
    rows = [
        {"epoch": n, "loss": 1 / n, "val/closed/overall": 0.1 * n, "val/closed/few": None, "seconds": 10.0}
        for n in (1, 2)
    ]
    (run.path / "metrics.jsonl").write_text(as_lines(rows))
    os.utime(run.path / "result.json", (1_700_000_000, 1_700_000_000))
    return run


def stored(root):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri(root), registry_uri=tracking_uri(root))
    experiments = [e.experiment_id for e in client.search_experiments()]
    return client, {run.info.run_name: run for run in client.search_runs(experiments)}


def test_what_a_kill_left_out_is_made(runs, capsys):
    run = with_history(make_run(runs, "tiny", "plain"))
    (run.path / "scores" / ".val.npz.abc.tmp").touch()
    (run.path / ".last.pt.xyz.tmp").touch()
    (run.path / "last.new.pt").touch()
    (run.path / "mlflow.json").write_text(json.dumps({"uri": tracking_uri(runs)}))  # MLflow was still being imported
    complete(run, run.result(), Display(), track=True)
    assert "warning" not in capsys.readouterr().err
    assert sorted(path.stem for path in (run.path / "plots").iterdir()) == [
        "accuracy-by-class-frequency",
        "confidence",
        "group-confusion",
        "rejection",
        "threshold",
        "training",
    ]
    assert not [*run.path.rglob(".*.tmp"), *run.path.rglob("*.new.pt")]
    client, found = stored(runs)
    mirrored = found[f"plain {run.hash}-s0"]
    assert mirrored.info.status == "FINISHED"
    assert (mirrored.info.start_time, mirrored.info.end_time) == (1_699_999_980_000, 1_700_000_000_000)
    assert [m.value for m in client.get_metric_history(mirrored.info.run_id, "loss")] == [1.0, 0.5]
    assert len(client.list_artifacts(mirrored.info.run_id, "plots")) == 6
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*.*")}
    began = time.monotonic()
    complete(run, run.result(), Display(), track=True)
    assert time.monotonic() - began < 0.5
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*.*")} == before
    assert capsys.readouterr().err == ""


def test_plots_are_missed_exactly_where_they_can_be_drawn(runs):
    bare, full = make_run(runs, "tiny", "plain"), with_history(make_run(runs, "tiny", "dme"))
    closed = make_run(runs, "tiny", "range")
    closed.scores("open").unlink()
    for run in (bare, full, closed):
        assert _missing_plots(run)
        save_run_plots(run.path)
        assert not _missing_plots(run)
    for path in (full.path / "plots").iterdir():
        content = path.read_bytes()
        path.unlink()
        assert _missing_plots(full), path.name
        path.write_bytes(content)


def test_a_run_that_another_process_holds_is_left_alone(runs):
    run = make_run(runs, "tiny", "plain")
    with run.lock():
        complete(run, run.result(), Display(), track=False)
    assert not (run.path / "plots").exists()


def test_a_store_is_filled_again_from_files(runs, oltr):
    one, two = with_history(make_run(runs, "tiny", "plain")), make_run(runs, "tiny", "dme+energy", seed=3)
    failed = make_run(runs, "tiny", "range")
    a_failure(failed).write(failed.path)
    damaged = make_run(runs, "tiny", "focal")
    (damaged.path / "result.json").write_text("[]")
    with sqlite3.connect(runs / "mlflow.db") as store:
        store.execute("CREATE TABLE runs (run_uuid TEXT)")
    store.close()
    before = (runs / "mlflow.db").read_bytes()
    done = oltr("ui", "--rebuild", OLTR_TRACKING="")
    assert done.stdout == f"2 runs in a new store; the old one is {runs / 'mlflow.old-1.db'}\n"
    assert f"{damaged.path / 'result.json'}: is damaged" in done.stderr
    assert (runs / "mlflow.old-1.db").read_bytes() == before
    client, found = stored(runs)
    assert set(found) == {f"plain {one.hash}-s0", f"dme+energy {two.hash}-s3"}
    mirrored = found[f"plain {one.hash}-s0"]
    assert mirrored.info.status == "FINISHED"
    assert mirrored.data.metrics["open/f_measure"] == pytest.approx(one.result().metrics["open/f_measure"])
    assert mirrored.data.params == {"method": "plain"}
    assert mirrored.info.end_time == 1_700_000_000_000
    assert [m.timestamp for m in client.get_metric_history(mirrored.info.run_id, "loss")] == [
        1_699_999_990_000,
        1_700_000_000_000,
    ]


def test_without_a_finished_run_there_is_nothing_to_fill_a_store_with(runs):
    with pytest.raises(UsageProblem, match="no finished runs"):
        rebuild_store(runs, Display())


def test_a_server_gets_the_runs_that_it_lacks(runs, monkeypatch, tmp_path, oltr):
    store = tmp_path / "elsewhere.db"
    uri = f"sqlite+pysqlite:///{store}"  # not the file in the runs folder: nothing is set aside
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    one = with_history(make_run(runs, "tiny", "plain"))
    assert rebuild_store(runs, Display()) == (1, None)
    two = make_run(runs, "tiny", "dme", seed=1)
    done = oltr("ui", "--rebuild", OLTR_TRACKING="", MLFLOW_TRACKING_URI=uri)
    assert done.stdout == f"1 run added to {uri}\n"
    client, found = stored(runs)
    assert set(found) == {f"plain {one.hash}-s0", f"dme {two.hash}-s1"}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    client.delete_run(found[f"plain {one.hash}-s0"].info.run_id)
    assert rebuild_store(runs, Display()) == (1, None)
    assert len(stored(runs)[1]) == 2


def test_a_server_that_is_down_is_named_without_its_secret(runs, monkeypatch):
    make_run(runs, "tiny", "plain")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    with pytest.raises(OltrError, match=r"http://127\.0\.0\.1:9: cannot be filled") as caught:
        rebuild_store(runs, Display())
    assert "secret" not in str(caught.value)
