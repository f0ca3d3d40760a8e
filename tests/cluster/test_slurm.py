"""Jobs on a real SLURM of one node. By hand: ``.ci/slurm``, which sets ``OLTR_TEST_SLURM=1``, as root; 10 minutes."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.cluster.slurm import missing, slurm
from tests.helpers.outcomes import assert_equal, outcome_of, run_dir
from tests.helpers.tiny import Oltr

WHY = missing() if os.environ.get("OLTR_TEST_SLURM") else "set OLTR_TEST_SLURM=1 to start a SLURM on this machine"
pytestmark = [pytest.mark.skipif(bool(WHY), reason=WHY), pytest.mark.timeout(1200)]
SET = ("--launcher", "slurm", "--launcher-set", "mem=3500M", "--launcher-set", "cpus_per_task=2")
PATIENCE = 600.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm(tmp_path_factory.mktemp("slurm") / "slurm", cpus=4, memory=8000) as environment:
        yield environment


@pytest.fixture
def oltr(tmp_path, tiny_data, cluster) -> Oltr:
    made = Oltr(tmp_path / "runs", tiny_data)
    made.env |= cluster
    return made


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_data, tiny_recipe):
    """Bits of a long run of plain that nobody stopped."""
    there = Oltr(tmp_path_factory.mktemp("undisturbed") / "runs", tiny_data)
    there("run", "plain", *LONG, "--recipe", tiny_recipe, "--no-track", "--device", "cpu")
    return outcome_of(run_dir(there, "plain"))


LONG = ("--set", "train.epochs=60")


def slurm_command(oltr: Oltr, *command: str) -> str:
    done = subprocess.run(command, env=oltr.env, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def jobs(oltr: Oltr) -> dict[str, dict]:
    """By method."""
    done = subprocess.run(oltr.command("jobs", "--json"), env=oltr.env, capture_output=True, text=True, check=True)
    return {one["run"].split("/")[1]: one for one in json.loads(done.stdout)["jobs"]}


def start(oltr: Oltr, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        oltr.command(*arguments), env=oltr.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(what, process: subprocess.Popen):
    """The first value of ``what()`` that is true, while the process lives."""
    end = time.monotonic() + PATIENCE
    while not (found := what()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.5)
    return found


def checkpoint(oltr: Oltr) -> list[Path]:
    return list(oltr.runs.glob("tiny/plain/*/last.pt"))


def test_a_table_is_made_by_jobs_and_its_logs_are_found(oltr, tiny_recipe):
    options = ("--recipe", tiny_recipe, "-m", "plain,crt,plain+energy", "--run", "--device", "cpu", *SET)
    command = ("compare", "--table", "3a", *options, "--json")
    done = start(oltr, *command)
    out, err = done.communicate(timeout=PATIENCE)
    assert done.returncode == 0, err
    assert {row["key"]: row["status"] for row in json.loads(out)["rows"]} == dict.fromkeys(
        ("plain", "crt", "plain+energy"), "measured"
    )
    there = jobs(oltr)
    assert {one["state"] for one in there.values()} == {"done"}
    for one in there.values():
        assert one["run"] in Path(one["log"]).read_text()
        assert one["run"] in one["log"]
        assert one["node"]
    numbers = {one["job"] for one in there.values()}
    again = start(oltr, *command)
    again.communicate(timeout=PATIENCE)
    assert again.returncode == 0
    assert {one["job"] for one in jobs(oltr).values()} == numbers


def test_a_preempted_job_is_requeued_and_goes_on_from_its_checkpoint(oltr, tiny_recipe, undisturbed):
    """By a job of a partition with a higher priority, which takes the whole node."""
    process = start(oltr, "run", "plain", "--recipe", tiny_recipe, *LONG, "--seeds", 1, "--device", "cpu", *SET)
    wait_for(lambda: checkpoint(oltr), process)
    slurm_command(oltr, "sbatch", "-p", "high", "--exclusive", "--mem=100M", "-o", "/dev/null", "--wrap", "sleep 5")
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    log = Path(jobs(oltr)["plain"]["log"]).read_text()
    assert log.count("oltr run plain") == 2, log
    assert "stopping: SIGTERM" in log
    assert "Traceback" not in log
    assert_equal(outcome_of(run_dir(oltr, "plain")), undisturbed)


def test_a_job_whose_time_is_up_is_continued(oltr, tiny_recipe, undisturbed):
    limit = ("--launcher-set", "time=3", "--launcher-set", "signal_delay=25")
    process = start(oltr, "run", "plain", "--recipe", tiny_recipe, *LONG, "--seeds", 1, "--device", "cpu", *SET, *limit)
    job = wait_for(lambda: checkpoint(oltr) and jobs(oltr)["plain"]["job"], process)
    # As SLURM sends it before the end of the time, which a fast machine does not reach.
    slurm_command(oltr, "scancel", "--signal=USR2", job)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    log = Path(jobs(oltr)["plain"]["log"]).read_text()
    assert log.count("oltr run plain") >= 2, log
    assert "the job's time is up" in log
    assert_equal(outcome_of(run_dir(oltr, "plain")), undisturbed)


def test_a_job_that_is_killed_for_memory_is_named_as_such(oltr, tiny_recipe):
    small = ("--launcher", "slurm", "--launcher-set", "mem=200M")
    options = ("--recipe", tiny_recipe, "-m", "plain,crt", "--run", "--device", "cpu", "--json")
    process = start(oltr, "compare", "--table", "3a", *options, *small)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    said = " ".join(err.split())
    assert "failed: plain, seed 0: killed because it used more memory than it asked for; raise mem" in said
    assert "failed: crt, seed 0: starts from tiny/plain/" in said
    assert f"(log: {jobs(oltr)['plain']['log']})" in said
    assert jobs(oltr)["crt"]["state"] == "cancelled"


def test_a_full_disk_is_named(oltr, tiny_recipe):
    oltr.runs.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", oltr.runs], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small file system cannot be mounted here")
    try:
        process = start(oltr, "run", "plain", "--recipe", tiny_recipe, "--seeds", 1, "--device", "cpu", *SET)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert "No space left on device" in err
        assert "(log: " in err
    finally:
        subprocess.run(["umount", oltr.runs], check=False)


def test_jobs_are_cancelled_and_the_same_command_goes_on(oltr, tiny_recipe, undisturbed):
    command = ("run", "plain", "--recipe", tiny_recipe, *LONG, "--seeds", 1, "--device", "cpu", *SET)
    process = start(oltr, *command)
    wait_for(lambda: checkpoint(oltr), process)
    process.kill()  # the launching process alone: the job goes on
    process.communicate()
    job = jobs(oltr)["plain"]
    assert job["state"] == "running"
    adopted = start(oltr, *command)
    wait_for(lambda: jobs(oltr)["plain"]["job"] == job["job"], adopted)
    subprocess.run(oltr.command("jobs", "cancel", "tiny/plain"), env=oltr.env, check=True, capture_output=True)
    _, err = adopted.communicate(timeout=PATIENCE)
    assert adopted.returncode == 1
    assert "failed: plain, seed 0" in err
    done = start(oltr, *command)
    _, err = done.communicate(timeout=PATIENCE)
    assert done.returncode == 0, err
    assert_equal(outcome_of(run_dir(oltr, "plain")), undisturbed)
