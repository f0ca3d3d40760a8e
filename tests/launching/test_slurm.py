"""What is submitted to SLURM, and what is waited for. Small programs play SLURM; a real one is in tests/cluster."""

import os
from pathlib import Path

import pytest

from oltr_cli.base.display import Display
from oltr_cli.errors import OltrError
from oltr_cli.launching import slurm
from oltr_cli.launching.progress import Ended, write_progress
from oltr_cli.launching.records import read_record
from oltr_cli.launching.settings import Launcher
from oltr_cli.launching.slurm import cancel_slurm, run_slurm
from oltr_cli.launching.tasks import Task

SBATCH = """#!/bin/sh
grep -q 'partition=none' "$1" && {
    echo 'sbatch: error: invalid partition specified: none' >&2
    echo 'sbatch: error: Batch job submission failed: Unspecified error' >&2
    exit 1
}
number=$(ls @/scripts | wc -l)
cp "$1" @/scripts/$number
echo "Submitted batch job $number"
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Path:
    """Its scripts are in scripts/0, scripts/1 …; squeue prints the file ``queue``."""
    programs = tmp_path / "programs"
    (tmp_path / "scripts").mkdir()
    programs.mkdir()
    (tmp_path / "queue").touch()
    texts = {"sbatch": SBATCH, "squeue": "#!/bin/sh\ncat @/queue\n", "srun": "#!/bin/sh\n", "sacct": "#!/bin/sh\n"}
    texts["scancel"] = "#!/bin/sh\necho $* >> @/cancelled\n"
    for name, text in texts.items():
        (programs / name).write_text(text.replace("@", str(tmp_path)))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    return tmp_path


def task(name, parent=None, finished=False):
    return Task(name, f"{name}, seed 0", ("run", name, "--no-wait"), parent, lambda: finished)


TASKS = [task("a/plain/1-s0"), task("a/dme/2-s0", "a/plain/1-s0"), task("a/dme+energy/3-s0", "a/dme/2-s0")]
GO = Launcher("slurm", minutes=90, sbatch={"partition": "gpu", "mail-user": "me"}, setup=("module load x",), wait=False)


def options(script: Path) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    return {key: value.strip("'") for key, _, value in (line.partition("=") for line in lines)}


def test_jobs_depend_on_the_runs_they_start_from(cluster):
    assert run_slurm(TASKS, GO, Display(quiet=True)) == {}
    first, second, third = (options(cluster / "scripts" / str(number)) for number in range(3))
    assert "dependency" not in first
    assert (second["dependency"], third["dependency"]) == ("afterok:0", "afterok:1")
    assert second["kill-on-invalid-dep"] == "yes"
    assert (first["partition"], first["mail-user"], first["time"], first["job-name"]) == (
        *("gpu", "me", "90"),
        "oltr plain/1-s0",
    )
    assert first["signal"] == "USR2@120"
    assert "requeue" in first
    assert "module load x" in (cluster / "scripts" / "0").read_text()
    record = read_record("a/dme/2-s0")
    assert record is not None
    assert (record.id, record.command, record.log.name) == ("1", "oltr run a/dme/2-s0 --no-wait", "1_0_log.out")


def test_what_is_there_is_not_submitted_again(cluster):
    run_slurm(TASKS[:1], GO, Display(quiet=True))
    (cluster / "queue").write_text("0|RUNNING|n1|None\n")
    run_slurm(TASKS, GO, Display(quiet=True))
    assert len(list((cluster / "scripts").iterdir())) == 3
    assert options(cluster / "scripts" / "1")["dependency"] == "afterok:0"
    done = [task("b/plain/1-s0", finished=True), task("b/dme/2-s0", "b/plain/1-s0")]
    run_slurm(done, GO, Display(quiet=True))
    assert "dependency" not in options(cluster / "scripts" / "3")


def test_it_waits_until_all_have_ended_and_names_what_failed(cluster, monkeypatch):
    def sleep(_):
        if read_record("a/dme+energy/3-s0") is None:  # submitit sleeps too, between two submissions
            return
        for name, number, code in (("a/plain/1-s0", "0", 0), ("a/dme/2-s0", "1", 4)):
            record = read_record(name)
            record.log.write_text("error: loss term 'x' is nan\n")
            write_progress(record.folder, number, host="n1", ended=Ended(code, "", 1.0))
        (cluster / "queue").write_text("1|FAILED|n1|NonZeroExitCode\n2|PENDING||DependencyNeverSatisfied\n")

    monkeypatch.setattr(slurm.time, "sleep", sleep)
    (cluster / "queue").write_text("0|RUNNING|n1|None\n1|PENDING||Dependency\n2|PENDING||Dependency\n")
    failed = run_slurm(TASKS, Launcher("slurm", minutes=90), Display(quiet=True))
    assert list(failed) == ["a/dme/2-s0"]
    assert failed["a/dme/2-s0"].startswith("loss term 'x' is nan (log: ")


def test_what_slurm_refuses_is_one_line(cluster, capfd):
    with pytest.raises(OltrError) as refused:
        run_slurm(TASKS, Launcher("slurm", minutes=90, sbatch={"partition": "none"}), Display(quiet=True))
    assert str(refused.value) == (
        "SLURM took no job for a/plain/1-s0: invalid partition specified: none; Batch job submission failed: "
        "Unspecified error"
    )
    assert capfd.readouterr().err == ""  # the command prints the error, once
    assert read_record("a/plain/1-s0") is None


def test_slurm_without_a_configuration_is_one_line(cluster):
    text = "#!/bin/sh\necho 'sbatch: error: fetch failed\nsbatch: fatal: No configuration source' >&2\nexit 1\n"
    (cluster / "programs" / "sbatch").write_text(text)
    with pytest.raises(OltrError) as refused:
        run_slurm(TASKS, GO, Display(quiet=True))
    assert str(refused.value) == "SLURM took no job for a/plain/1-s0: No configuration source"


def test_a_machine_without_slurm_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OltrError, match='SLURM took no job for a/plain/1-s0: Could not detect "srun"'):
        run_slurm(TASKS, GO, Display(quiet=True))


def test_jobs_are_cancelled_by_their_numbers(cluster):
    run_slurm(TASKS, GO, Display(quiet=True))
    cancel_slurm([read_record(one.name) for one in TASKS[:2]])
    assert (cluster / "cancelled").read_text() == "0 1\n"
