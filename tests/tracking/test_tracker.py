"""MLflow as a mirror: read back with its own client; and as a source of trouble, which must never reach a run."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from oltr_cli.base.files import read_json
from oltr_cli.runs.folder import Run
from oltr_cli.tracking.mlflow_run import Description
from oltr_cli.tracking.tracker import STOPPED_PATIENCE, STORE_PATIENCE, Tracker, tracking_uri

PARAMS = {**{f"train.p{i}": i for i in range(120)}, "data.name": "glyphs-lt", "long": "x" * 9000, "empty": ""}
DATASET = {"name": "glyphs-lt", "digest": "d" * 64, "num_train": 1234}

# A run's whole life in a process of its own: what the command line does, without the training.
SCRIPT = """
import sys
from pathlib import Path
from oltr_cli.runs.folder import Run
from oltr_cli.tracking.tracker import Tracker

run = Run(Path(sys.argv[1]), "glyphs-lt", "dme", "abc", int(sys.argv[2]))
data = {"name": "glyphs-lt", "digest": "d"}
tracker = Tracker.start(run, {"a": 1}, {"method": "dme"}, data, warn=lambda line: print("warning:", line))
for epoch in (1, 2, 3):
    tracker.epoch({"loss": 1 / epoch}, epoch)
tracker.finish("FINISHED", {"open/f_measure": 0.5}, [])
print("done")
"""


def client_of(root: Path):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri(root), registry_uri=tracking_uri(root))


def note_of(run: Run) -> dict:
    return read_json(run.path / "mlflow.json")


def start(run: Run, warnings: list[str] | None = None, **options) -> Tracker:
    warn = (lambda line: None) if warnings is None else warnings.append
    return Tracker.start(run, PARAMS, {"method": "dme", "hash": run.hash}, DATASET, warn=warn, **options)


def script(root: Path, seed: int = 0, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "default", "-c", SCRIPT, str(root), str(seed)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env={**os.environ, **env}, text=True, **pipes)


def test_everything_of_a_run_can_be_read_back(run, capfd):
    warnings: list[str] = []
    before = int(1000 * time.time())
    tracker = start(run, warnings)
    begun = int(1000 * time.time())
    for epoch in (1, 2, 3):
        tracker.epoch({"loss": 3.0 / epoch, "bad": float("nan"), "worse": float("inf"), "val/closed/few": None}, epoch)
    picture = run.path / "plots" / "threshold.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"a picture")
    tracker.finish("FINISHED", {"open/f_measure": 0.25, "closed/many": None, "open/auroc": float("nan")}, [picture])
    assert warnings == []
    client = client_of(run.root)
    stored = client.get_run(note_of(run)["run_id"])
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == "dme 0123456789-s2"
    assert client.get_experiment(stored.info.experiment_id).name == "glyphs-lt"
    assert set(stored.data.params) == set(PARAMS)
    assert stored.data.params["train.p119"] == "119"
    assert stored.data.params["long"] == "x" * 6000
    assert set(stored.data.metrics) == {"loss", "open/f_measure"}
    history = client.get_metric_history(stored.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 3.0), (2, 1.5), (3, 1.0)]
    assert stored.data.metrics["open/f_measure"] == 0.25
    assert stored.data.tags["method"] == "dme"
    [used] = stored.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("glyphs-lt", "d" * 36)
    assert json.loads(used.dataset.profile) == {"num_train": 1234}
    assert before <= stored.info.start_time <= begun <= stored.info.end_time <= 1000 * time.time()
    [logged] = client.list_artifacts(stored.info.run_id, "plots")
    assert logged.path == "plots/threshold.png"
    assert list((run.root / "mlartifacts").rglob("threshold.png"))
    assert not Path("mlruns").exists()
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_a_resumed_run_goes_on_and_repeats_nothing(run):
    first = start(run)
    for epoch in (1, 2):
        first.epoch({"loss": float(epoch)}, epoch)
    first.finish("KILLED", {}, [], timeout=60)
    client, run_id = client_of(run.root), note_of(run)["run_id"]
    assert client.get_run(run_id).info.status == "KILLED"
    second = start(run)
    for epoch in (1, 2, 3):  # a resumed run sends its history again
        second.epoch({"loss": float(epoch)}, epoch)
    second.finish("FINISHED", {"closed/overall": 0.5}, [])
    assert note_of(run)["run_id"] == run_id
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "loss")] == [(1, 1.0), (2, 2.0), (3, 3.0)]

    client.delete_run(run_id)
    third = start(run)
    for epoch in (1, 2, 3):
        third.epoch({"loss": float(epoch)}, epoch)
    third.finish("FINISHED", {}, [])
    new = note_of(run)["run_id"]
    assert new != run_id
    assert [m.step for m in client.get_metric_history(new, "loss")] == [1, 2, 3]

    experiment = client.get_run(new).info.experiment_id
    client.delete_experiment(experiment)
    (run.path / "mlflow.json").write_text("{ cut short")
    warnings: list[str] = []
    fourth = start(run, warnings)
    fourth.finish("FAILED", {}, [])
    assert warnings == []
    again = client.get_run(note_of(run)["run_id"])
    assert (again.info.experiment_id, again.info.status) == (experiment, "FAILED")


def test_the_commit_of_the_current_checkout_is_a_tag(run, tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    monkeypatch.chdir(checkout)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    start(run).finish("FINISHED", {}, [])
    tags = client_of(run.root).get_run(note_of(run)["run_id"]).data.tags
    assert tags["mlflow.source.git.commit"] == commit


def test_off_means_off(run, monkeypatch):
    threads = threading.active_count()
    tracker = start(run, enabled=False)
    monkeypatch.setenv("OLTR_TRACKING", "off")
    for t in (tracker, start(run)):
        t.epoch({"loss": 1.0}, 1)
        t.finish("FINISHED", {}, [])
        t.close()
    assert threading.active_count() == threads
    assert not run.root.exists()


def test_without_mlflow_there_is_one_warning(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    warnings: list[str] = []
    tracker = start(run, warnings)
    for epoch in range(1, 5):
        tracker.epoch({"loss": 1.0}, epoch)
    tracker.finish("FINISHED", {}, [])
    assert len(warnings) == 1
    assert "MLflow is not installed" in warnings[0]


def test_what_could_not_be_logged_is_logged_once_the_store_is_back(run, monkeypatch):
    folder = run.root / "mounted"
    folder.parent.mkdir(parents=True)
    folder.touch()  # no folder: nothing below it can be opened
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    warned = threading.Event()
    warnings: list[str] = []

    def warn(line: str) -> None:
        warnings.append(line)
        warned.set()

    tracker = Tracker.start(run, {}, {}, DATASET, warn=warn)
    tracker.epoch({"loss": 1.0}, 1)
    assert warned.wait(120)
    folder.unlink()
    folder.mkdir()
    tracker.epoch({"loss": 2.0}, 2)
    tracker.finish("FINISHED", {"closed/overall": 0.5}, [], timeout=60)
    assert len(warnings) == 1
    client, run_id = client_of(run.root), note_of(run)["run_id"]
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "loss")] == [(1, 1.0), (2, 2.0)]
    assert client.get_run(run_id).info.status == "FINISHED"


def test_several_runs_warn_once_of_the_same_server(run, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{probe.getsockname()[1]}")
    warnings: list[str] = []
    for _ in range(2):
        tracker = start(run, warnings)
        tracker.epoch({"loss": 1.0}, 1)
        tracker.finish("FINISHED", {}, [], timeout=60)
    assert len(warnings) == 1


def test_a_server_that_is_down_costs_one_line(tmp_path):
    done = script(tmp_path, MLFLOW_TRACKING_URI="http://me:secret@127.0.0.1:9")
    out, err = done.communicate(timeout=120)
    assert (done.returncode, err) == (0, "")
    warning, last = out.splitlines()
    assert last == "done"
    assert warning.startswith("warning: not tracked in http://127.0.0.1:9: ")
    assert "refused" in warning
    assert "secret" not in out


def test_a_server_that_never_answers_costs_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = script(tmp_path, MLFLOW_TRACKING_URI=uri)
        out, err = done.communicate(timeout=120)
    assert (done.returncode, err) == (0, "")
    warning, last = out.splitlines()
    assert last == "done"
    assert warning.startswith(f"warning: not tracked in {uri}: ")


def test_eight_processes_start_on_a_fresh_store(tmp_path):
    processes = [script(tmp_path, seed) for seed in range(8)]
    for process in processes:
        assert process.communicate(timeout=240) == ("done\n", "")
    client = client_of(tmp_path)
    [experiment] = [e for e in client.search_experiments() if e.name == "glyphs-lt"]
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 8
    for stored in runs:
        assert stored.info.status == "FINISHED"
        assert stored.data.metrics == {"loss": pytest.approx(1 / 3), "open/f_measure": 0.5}


def test_a_process_forked_at_once_finds_mlflow_imported(tmp_path):
    """A fork in the middle of an import would leave a lock shut for ever in the child."""
    code = SCRIPT.partition("for epoch")[0] + (
        "import os\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    import mlflow\n"
        "    os._exit(0 if mlflow.MlflowClient else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path, "0"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_no_process_is_started_beside_the_main_thread(tmp_path):
    """A loader that is forked meanwhile would hold the pipe to it open, and its reader would wait for that loader."""
    watch = (
        "import sys, threading\n"
        "def hook(event, _):\n"
        "    if event in ('subprocess.Popen', 'os.fork', 'os.posix_spawn', 'os.system'):\n"
        "        print(event, threading.current_thread().name)\n"
        "sys.addaudithook(hook)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", watch + SCRIPT, tmp_path, "0"], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    *started, last = done.stdout.splitlines()
    assert last == "done"
    assert "subprocess.Popen MainThread" in started  # git
    assert not [line for line in started if "MainThread" not in line]


class Waiting:
    """A thread that is never done; it keeps how long it is waited for, and may be interrupted."""

    def __init__(self, interrupted: bool = False) -> None:
        self.waits: list[float] = []
        self.interrupted = interrupted

    def join(self, timeout: float) -> None:
        self.waits.append(timeout)
        if self.interrupted:
            raise KeyboardInterrupt

    def is_alive(self) -> bool:
        return True


def stuck(run: Run, warnings: list[str], interrupted: bool = False) -> tuple[Tracker, Waiting]:
    description = Description(run, f"sqlite:///{run.root}/mlflow.db", {}, {}, dict(DATASET))
    tracker, thread = Tracker(description, warnings.append), Waiting(interrupted)
    tracker._thread = thread
    tracker._imported.set()
    tracker._ready.set()
    return tracker, thread


def test_a_run_that_was_stopped_is_waited_for_a_few_seconds(run, monkeypatch):
    monkeypatch.setattr("oltr_cli.tracking.tracker._failing", set())
    warnings: list[str] = []
    tracker, thread = stuck(run, warnings)
    tracker.finish("KILLED", {}, [])
    assert 0 < thread.waits[0] <= STOPPED_PATIENCE <= 5
    assert f"no answer within {STOPPED_PATIENCE:g} s" in warnings[0]
    monkeypatch.setattr("oltr_cli.tracking.tracker._failing", set())
    tracker, thread = stuck(run, warnings)
    tracker.finish("FINISHED", {}, [])
    assert thread.waits == [STORE_PATIENCE]


def test_a_second_ctrl_c_ends_the_wait_and_nothing_else(run):
    warnings: list[str] = []
    tracker, thread = stuck(run, warnings, interrupted=True)
    tracker.finish("KILLED", {}, [])
    tracker.close()
    assert len(thread.waits) == 1
    assert warnings == []
    tracker, _ = stuck(run, warnings, interrupted=True)
    with pytest.raises(KeyboardInterrupt):
        tracker.finish("FINISHED", {}, [])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def test_ui_says_what_it_would_start(oltr):
    done = oltr("ui", "--dry-run", check=2)
    assert "oltr run dme" in done.stderr
    oltr.runs.mkdir()
    (oltr.runs / "mlflow.db").touch()
    line = oltr("ui", "--dry-run", "--port", 5003).stdout
    assert f"sqlite:///{oltr.runs}/mlflow.db" in line
    assert "--port 5003" in line
    answer = json.loads(oltr("ui", "--dry-run", "--json").stdout)
    assert answer["address"] == "http://127.0.0.1:5000"
    assert answer["command"][1:4] == ["-m", "mlflow", "server"]
    done = oltr("ui", MLFLOW_TRACKING_URI="https://me:secret@mlflow.example.org")
    assert done.stdout == "https://mlflow.example.org\n"


def test_ui_names_a_port_that_is_taken(oltr):
    oltr.runs.mkdir()
    (oltr.runs / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = oltr("ui", "--port", port, check=2)
    assert len(done.stderr.splitlines()) == 1
    assert str(port) in done.stderr
    assert "--port" in done.stderr


def get(address: str, body: dict | None = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def wait_for(address: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        try:
            get(address)
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
    raise AssertionError(f"{address} does not answer")


def test_ui_serves_the_runs_and_ends_quietly(oltr):
    run = Run(oltr.runs, "glyphs-lt", "dme", "0123456789", 2)
    tracker = start(run)
    picture = run.path / "plots" / "threshold.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"a picture")
    tracker.finish("FINISHED", {"open/f_measure": 0.25}, [picture])
    run_id = note_of(run)["run_id"]
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    process = oltr.start("ui", "--port", port)
    try:
        wait_for(f"{address}/health", process)
        shown = json.loads(get(f"{address}/api/2.0/mlflow/runs/get?run_id={run_id}"))
        assert [m["value"] for m in shown["run"]["data"]["metrics"]] == [0.25]
        query = urllib.parse.urlencode({"path": "plots/threshold.png", "run_uuid": run_id})
        assert get(f"{address}/get-artifact?{query}") == b"a picture"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=150)
    finally:
        process.kill()
    assert (process.returncode, out) == (0, "")
    assert f"MLflow: {address}" in err
    assert "Traceback" not in err
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
