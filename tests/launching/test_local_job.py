"""One job on this machine: its GPU or its share of the cores, and what happens if it cannot be started."""

import errno
import time

import pytest

from oltr_cli.base.display import Display
from oltr_cli.errors import OltrError
from oltr_cli.launching import local_job
from oltr_cli.launching.local import run_local
from oltr_cli.launching.local_job import gpus
from oltr_cli.launching.records import Record, process_started
from oltr_cli.launching.settings import Launcher
from tests.launching.test_local import task


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)
    return tmp_path / "runs"


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Pretends that this machine has the driver of a maker of GPUs."""

    def of(maker):
        for name, file in (("_NVIDIA", "nvidiactl"), ("_AMD", "kfd")):
            monkeypatch.setattr(local_job, name, tmp_path / file)
        (tmp_path / {"NVIDIA": "nvidiactl", "AMD": "kfd"}[maker]).touch()

    return of


def test_gpus_are_those_that_this_process_may_use(monkeypatch, driver):
    driver("NVIDIA")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "7")  # means nothing to NVIDIA's
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-8a")
    assert gpus(None) == ["2", "GPU-8a"]
    assert gpus("cpu") == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus("cuda") == []


def test_amds_gpus_are_chosen_by_their_own_variable_first(monkeypatch, driver):
    driver("AMD")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert gpus("cuda") == ["0", "1"]
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "3")
    assert gpus(None) == ["3"]


def test_without_a_variable_all_gpus_are_counted(monkeypatch, driver):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    driver("AMD")
    assert gpus(None) == ["0", "1"]


@pytest.mark.parametrize(
    ("maker", "variables"),
    [("NVIDIA", {"CUDA_VISIBLE_DEVICES"}), ("AMD", {"CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"})],
)
def test_a_job_gets_the_gpu_that_the_fewest_use(monkeypatch, driver, maker, variables):
    driver(maker)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    running = [Record(name, name, "local", "1", "oltr", 0.0, local_job.this_host(), "1", device="0") for name in "ab"]
    monkeypatch.setattr(local_job, "read_records", lambda: running)
    monkeypatch.setattr(local_job, "is_process", lambda *_: True)
    monkeypatch.setattr("oltr_cli.launching.states.is_process", lambda *_: True)
    device = local_job._free_device(["0", "1"])
    assert device == "1"
    assert local_job._environment(device, 3) == {**dict.fromkeys(variables, "1"), "OMP_NUM_THREADS": "3"}
    assert local_job._environment("", 3) == {"OMP_NUM_THREADS": "3"}


def test_a_job_that_cannot_be_written_costs_its_row(root, monkeypatch):
    def full(self, job):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("submitit.LocalExecutor.submit", full)
    tasks = [task("plain", "jobs"), task("dme", "jobs", parent="plain")]
    failed = run_local(tasks, Launcher("local", 1), "cpu", Display(quiet=True))
    assert list(failed) == [tasks[0].name]
    assert failed[tasks[0].name].endswith(".jobs: No space left on device")


def test_a_job_that_cannot_be_recorded_is_stopped(root, monkeypatch):
    started = []

    def unwritable(self):
        started.append(self)
        raise OltrError("cannot write job.json: No space left on device")

    monkeypatch.setattr(Record, "write", unwritable)
    one = task("plain", "jobs")
    assert "cannot write job.json" in run_local([one], Launcher("local", 1), "cpu", Display(quiet=True))[one.name]
    wait_for_end = time.monotonic() + 60
    while process_started(int(started[0].id)) and time.monotonic() < wait_for_end:
        time.sleep(0.05)
    assert not process_started(int(started[0].id))


def test_a_job_on_one_core_loads_its_images_itself():
    """Another process would only take time from training, unless that waits for a GPU."""
    assert [local_job._loading_workers(share, "") for share in (1, 2, 3, 8, 64)] == [0, 1, 1, 4, 8]
    assert [local_job._loading_workers(share, "0") for share in (1, 2, 8)] == [1, 1, 4]
