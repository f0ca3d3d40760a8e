"""What ``--launcher`` and its settings mean, and what is refused."""

import importlib.util

import pytest

from oltr_cli.errors import UsageProblem
from oltr_cli.launching.settings import config_file, minutes, read_launcher


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").touch()
    return tmp_path / "config.toml"


def test_local_jobs_need_a_number():
    assert read_launcher("local:4", []).count == 4
    assert read_launcher("local:2", ["time=2:00:00"]).minutes == 120


def test_settings_of_the_file_are_below_those_of_the_command_line(config):
    config.write_text(
        '[launcher]\npartition = "gpu"\ntime = "8:00:00"\nsetup = ["module load cuda"]\nmem = "8G"\n'
        '[launcher.sbatch]\nreservation = "lab"\n'
    )
    launcher = read_launcher("slurm", ["partition=fast", "sbatch.nice=100", "wait=false", "gres=gpu:a100:1"])
    assert launcher.sbatch == {
        **{"partition": "fast", "mem": "8G", "reservation": "lab"},
        **{"nice": "100", "gres": "gpu:a100:1"},
    }
    assert (launcher.minutes, launcher.setup, launcher.wait) == (480, ("module load cuda",), False)
    assert read_launcher("slurm:3", [], workers=True).count == 3
    assert read_launcher("local:1", []).sbatch == {}  # the file is about a cluster


@pytest.mark.parametrize(
    ("text", "is_"),
    [("90", 90), (90, 90), ("30:00", 30), ("0:01", 1), ("8:00:00", 480), ("2-12", 3600), ("1-00:00:01", 1441)],
)
def test_times_are_those_of_sbatch(text, is_):
    assert minutes(text) == is_


@pytest.mark.parametrize(
    ("text", "sets", "says"),
    [
        ("locall:2", [], "did you mean 'local'"),
        ("local", [], "how many? write local:N"),
        ("local:0", [], "0 is no number of jobs"),
        ("slurm:4", [], "SLURM decides how many jobs run at once"),
        ("local:2", ["partition=gpu"], "local jobs have no setting 'partition'"),
        ("slurm", ["partitoin=gpu"], "did you mean 'partition'?; another option of sbatch is sbatch.partitoin"),
        ("slurm", ["partition"], "write it as KEY=VALUE"),
        ("slurm", ["time=soon"], "write a time as 90 (minutes)"),
        ("slurm", ["time=0"], "write a time as 90 (minutes)"),
        ("slurm", ["requeues=-1"], "must be a whole number"),
        ("slurm", ["time=2"], "2 min, is not longer than signal_delay, the 120 s before"),
        ("local:2", ["time=1", "signal_delay=60"], "raise time or lower signal_delay"),
        ("slurm", ["wait=maybe"], "must be true or false"),
        ("slurm", ["mem=[1]"], "must be a text or a number"),
        ("slurm", ["partition=true"], "must be a text or a number"),
        ("slurm", ["setup=['a]"], "--launcher-set setup=['a]: the value is not valid TOML"),
        ("slurm", ["sbatch.time=1"], "oltr sets this option; use the key time"),
        ("slurm", ["sbatch.signal=USR1@9"], "oltr sets this option; use the key signal_delay"),
        ("slurm", ["sbatch.job-name=a"], "oltr sets this option; leave it out"),
        ("slurm", ["sbatch.array=1-2"], "oltr sets this option; leave it out"),
        ("slurm", ["sbatch.ntasks=2"], "oltr sets this option; leave it out"),
        ("slurm", ["sbatch.a b=1"], "no setting 'sbatch.a b'"),
    ],
)
def test_what_does_not_fit_is_refused(text, sets, says):
    with pytest.raises(UsageProblem) as refused:
        read_launcher(text, sets)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_option_of_sbatch_may_have_no_value(config):
    config.write_text("[launcher.sbatch]\ncontiguous = true\nreboot = true\n")
    sets = ["sbatch.spread-job=true", "sbatch.reboot=false", "exclusive=true"]
    flags = {"contiguous": True, "spread-job": True, "reboot": False, "exclusive": True}
    assert read_launcher("slurm", sets).sbatch == flags


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[launcher", "not valid TOML"),
        ("[lancher]\n", "unknown table [lancher]; did you mean 'launcher'?"),
        ("launcher = 3\n", "[launcher] must be a table"),
        ("[launcher]\npartitions = 'a'\n", "[launcher] partitions: no setting 'partitions'; did you mean 'partition'?"),
    ],
)
def test_a_wrong_file_is_named(config, content, says):
    config.write_text(content)
    with pytest.raises(UsageProblem) as refused:
        read_launcher("slurm", [])
    assert str(refused.value).startswith(str(config))
    assert says in str(refused.value)


def test_a_file_that_is_named_has_to_be_there(config, monkeypatch):
    monkeypatch.setenv("OLTR_CONFIG", str(config.parent / "other.toml"))
    with pytest.raises(UsageProblem, match=r"OLTR_CONFIG=.*other.toml: there is no such file"):
        read_launcher("slurm", [])


def test_the_file_is_in_the_users_folder_of_configurations(monkeypatch, tmp_path):
    monkeypatch.delenv("OLTR_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_file() == tmp_path / "oltr" / "config.toml"


def test_without_submitit_one_line_says_what_to_type(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageProblem, match=r"--launcher needs submitit: pip install 'oltr\[cluster\]'"):
        read_launcher("local:2", [])
