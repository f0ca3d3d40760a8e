"""Several workers on one study: no trial is lost, and none is made twice, whoever dies when."""

import os
import re
import signal
import sqlite3
import sys
import time

import pytest

from oltr_cli.errors import DataProblem, OltrError, Stopped, UsageProblem
from oltr_cli.tuning.search import search
from oltr_cli.tuning.storage import JournalLock, open_database, open_journal, with_driver
from oltr_cli.tuning.study import load_study
from oltr_cli.tuning.trial import Outcome, Workbench
from tests.helpers.searches import QUIET, Told, numbers, quick
from tests.helpers.tiny import Oltr

TRIALS = 8
ONE_EPOCH = ("--set", "plain.train.epochs=1")


def test_four_processes_share_a_study_and_one_of_them_is_killed(tmp_path, tiny_data, tiny_recipe):
    """They begin with nothing: one makes plain while the others wait for it."""
    oltr = Oltr(tmp_path / "runs", tiny_data)
    command = (
        "tune",
        "crt",
        "--recipe",
        tiny_recipe,
        "--trials",
        TRIALS,
        "--workers",
        0,
        "--set",
        "train.epochs=12",
        *ONE_EPOCH,
    )
    workers = [oltr.start(*command) for _ in range(4)]
    studies = oltr.runs / "tiny" / "studies"
    end = time.monotonic() + 200
    while len(list(studies.glob("*/trials/*/metrics.jsonl"))) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(workers[0].pid, signal.SIGKILL)
    said = [worker.communicate(timeout=200) for worker in workers]
    assert [worker.returncode for worker in workers] == [-signal.SIGKILL, 0, 0, 0], said
    (folder,) = studies.glob("*/")
    study = load_study(folder)
    # A trial that the killed one had in hand was gone on with by another, unless all others had ended before.
    if numbers(study) != list(range(TRIALS)):
        oltr(*command)
        study = load_study(folder)
    assert numbers(study) == list(range(TRIALS)) == [t.number for t in study.trials()]
    assert len({t.params["train.lr.classifier"] for t in study.trials()}) == TRIALS
    for trial in study.trials():
        assert list(trial.intermediate_values) == list(range(1, 13))
    ended = [int(line.split()[0]) for _, err in said for line in err.splitlines() if re.match(r" +\d+ +[\d.]", line)]
    assert len(ended) == len(set(ended)), "a trial ended in two processes"
    assert len(ended) >= TRIALS - 1
    assert len(list((oltr.runs / "tiny" / "plain").iterdir())) == 1
    assert (folder / "best.toml").exists()


def test_a_line_that_a_kill_cut_off_is_dropped_before_the_next_is_written(tmp_path):
    journal = tmp_path / "x.journal"
    storage = open_journal(journal)
    import optuna

    optuna.create_study(storage=storage, study_name="x")
    whole = journal.read_bytes()
    with journal.open("ab") as file:  # another worker dies while this one has the journal open
        file.write(b'{"op_code": 4, "stud')
    optuna.load_study(study_name="x", storage=storage).ask()
    assert journal.read_bytes().startswith(whole)
    assert len(optuna.load_study(study_name="x", storage=open_journal(journal)).trials) == 1
    for content in (b"", b"torn", b"a\n", b"a\nb"):
        journal.write_bytes(content)
        lock = JournalLock(journal)
        lock.acquire()
        lock.release()
        assert journal.read_bytes() == content[: content.rfind(b"\n") + 1]


def test_a_journal_that_is_none_is_named(ask, root, monkeypatch):
    quick(monkeypatch, lambda values, epoch: 0.5)
    study = search(ask(total=1), QUIET)
    study.path.with_name(f"{study.path.name}.journal").write_text("no\njournal\n")
    with pytest.raises(DataProblem, match=r"\.journal: is not a journal of studies .* remove it"):
        search(ask(total=2), QUIET)


def test_a_trial_that_kills_its_process_is_given_up_in_the_end(ask, root, monkeypatch):
    class Killed(BaseException):
        """What no handler sees, as of a process that is gone."""

    begun = []

    def run(self, p, log_epoch):
        begun.append(p.run.path.name)
        if p.run.path.name == "001":
            raise Killed
        return Outcome({"open/f_measure": 0.5}, 0.1, 1, 1, 1.0)

    monkeypatch.setattr(Workbench, "run", run)
    for _ in range(5):
        with pytest.raises(Killed):
            search(ask(total=3), QUIET)
    study = search(ask(total=3), QUIET)
    assert begun == ["000", *["001"] * 5, "002"]
    assert numbers(study) == [0, 2]
    assert study.trials()[1].user_attrs["reason"] == "its process died 5 times in epoch 1"


def test_stopping_a_trial_often_is_no_fault_of_the_trial(ask, root, monkeypatch):
    stops = iter(range(8))

    def run(self, p, log_epoch):
        if p.run.path.name == "001" and next(stops, None) is not None:
            raise Stopped("stopped", 2)
        return Outcome({"open/f_measure": 0.5}, 0.1, 1, 1, 1.0)

    monkeypatch.setattr(Workbench, "run", run)
    for _ in range(8):
        with pytest.raises(Stopped):
            search(ask(total=3), QUIET)
    assert numbers(search(ask(total=3), QUIET)) == [0, 1, 2]


# --- a database


def stop_the_second(monkeypatch):
    """The second call for a trial is stopped; the names of the trials' folders, as they are begun."""
    begun = []

    def run(self, p, log_epoch):
        begun.append(p.run.path.name)
        if len(begun) == 2:
            raise Stopped("stopped", 2)
        return Outcome({"open/f_measure": 0.5}, 0.1, 1, 1, 1.0)

    monkeypatch.setattr(Workbench, "run", run)
    return begun


@pytest.fixture
def database(tmp_path):
    return tmp_path / "studies.db"


def age(database, number):
    """Make a database believe that it has not heard of a trial for an hour."""
    with sqlite3.connect(database) as connection:
        changed = connection.execute(
            "update trial_heartbeats set heartbeat = datetime('now', '-1 hour') where trial_id = "
            "(select trial_id from trials where number = ?)",
            (number,),
        )
        assert changed.rowcount == 1


def elsewhere(study):
    """A trial that a worker with another disk has begun."""
    trial = study.study.ask()
    trial.suggest_float("params.lambda", 0.001, 1.0, log=True)
    study.storage.record_heartbeat(study.trial_id(trial.number))
    return trial


def test_a_database_keeps_the_study_and_a_living_workers_trial_is_left_to_it(ask, root, monkeypatch, database):
    quick(monkeypatch, lambda values, epoch: 0.5 - abs(values["lambda"] - 0.1))
    request = {"database": f"sqlite:///{database}"}
    study = search(ask(total=2, **request), QUIET)
    assert not list(root.rglob("*.journal"))
    there = elsewhere(study)
    display = Told()
    study = search(ask(total=4, **request), display)
    assert numbers(study) == [0, 1, 3], "the other worker's counts, and is not taken"
    assert any("still running in other workers: trial 2" in line for line in display.lines)
    age(database, 2)
    study = search(ask(total=4, **request), QUIET)
    assert numbers(study) == [0, 1, 3, 4], "its worker is dead: it is made anew"
    assert {t.number: t.params for t in study.trials()}[4] == there.params, "under the same values"
    assert numbers(search(ask(total=4, **request), QUIET)) == [0, 1, 3, 4]


def test_an_interrupted_trial_of_this_disk_goes_on_at_once(ask, root, monkeypatch, database):
    begun = stop_the_second(monkeypatch)
    request = {"database": f"sqlite:///{database}"}
    with pytest.raises(Stopped):
        search(ask(total=3, **request), QUIET)
    assert numbers(search(ask(total=3, **request), QUIET)) == [0, 1, 2]
    assert begun == ["000", "001", "001", "002"]


def test_a_trial_that_was_taken_for_lost_is_dropped_and_the_worker_goes_on(ask, root, monkeypatch, database):
    lost = []

    def run(self, p, log_epoch):
        if p.run.path.name == "001" and not lost:
            lost.append(1)
            age(database, 1)
            there = load_study(p.run.path.parents[1], f"sqlite:///{database}")
            there._requeue_dead()
        return Outcome({"open/f_measure": 0.5}, 0.1, 1, 1, 1.0)

    monkeypatch.setattr(Workbench, "run", run)
    display = Told()
    study = search(ask(total=3, database=f"sqlite:///{database}"), display)
    assert "warning: trial 1 was considered lost and is run again by another worker" in display.lines
    assert numbers(study) == [0, 2, 3]
    assert len(study.trials()) == 3


def test_of_two_that_ask_for_the_last_trial_one_gets_it(ask, root, monkeypatch, database):
    quick(monkeypatch, lambda values, epoch: 0.5)
    study = search(ask(total=2, database=f"sqlite:///{database}"), QUIET)
    real = study.study.ask

    def both_at_once():
        monkeypatch.undo()
        assert elsewhere(study).number == 2
        return real()

    monkeypatch.setattr(study.study, "ask", both_at_once)
    assert study.claim(3) is None
    assert [t.number for t in study.trials()] == [0, 1, 2]


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////nowhere/at/all/x.db", "mysql://me:secret@127.0.0.1:1/x"])
def test_a_database_that_cannot_be_had_is_one_line(url):
    with pytest.raises(UsageProblem) as caught:
        open_database(url, lambda study, trial: None)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--storage ")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "postgresql+nodriver://me:secret@host/x", "postgresql://host:port/x"])
def test_what_is_no_address_says_how_to_write_one(url):
    with pytest.raises(UsageProblem, match=r"; write it as postgresql://user@host:port/name") as caught:
        open_database(url, lambda study, trial: None)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:secret@host/x", "'psycopg' is not installed: pip install 'oltr[postgresql]'"),
        ("postgres://me:secret@host/x", "'psycopg' is not installed: pip install 'oltr[postgresql]'"),
        ("postgresql+psycopg://host/x", "'psycopg' is not installed: pip install 'oltr[postgresql]'"),
        ("postgresql+psycopg2://host/x", "'psycopg2' is not installed: pip install psycopg2-binary"),
        ("mysql://me:secret@host/x", "'pymysql' is not installed: pip install pymysql"),
        ("oracle://me:secret@host/x", "'oracledb' is not installed"),
    ],
)
def test_a_driver_that_is_missing_is_named_with_what_to_install(url, said, monkeypatch):
    for module in ("psycopg", "psycopg2", "pymysql", "MySQLdb", "oracledb"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageProblem, match=re.escape(said)) as caught:
        open_database(url, lambda study, trial: None)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
@pytest.mark.parametrize("installed", [{"psycopg"}, {"psycopg2"}, {"psycopg", "psycopg2"}])
def test_an_address_without_a_driver_takes_the_one_that_is_installed(scheme, installed, monkeypatch):
    monkeypatch.setattr("oltr_cli.tuning.storage.find_spec", lambda module: module if module in installed else None)
    driver = "psycopg" if "psycopg" in installed else "psycopg2"
    assert with_driver(f"{scheme}://me:pw@host/x?y=1") == f"postgresql+{driver}://me:pw@host/x?y=1"
    for named in ("postgresql+pg8000://host/x", "sqlite:///x.db", "nonsense"):
        assert with_driver(named) == named


def test_a_database_that_cannot_be_had_is_told_before_a_run_is_made(ask, root, monkeypatch):
    monkeypatch.setattr("oltr_cli.tuning.search.make_runs", lambda *_, **__: pytest.fail("a run was begun"))
    with pytest.raises(UsageProblem, match="--storage nonsense: "):
        search(ask(database="nonsense"), QUIET)


def test_without_a_common_disk_a_trial_is_not_called_interrupted(ask, root, monkeypatch, database):
    stop_the_second(monkeypatch)
    study = search(ask(total=1, database=f"sqlite:///{database}"), QUIET)
    elsewhere(study)
    with pytest.raises(Stopped):
        search(ask(total=3, database=f"sqlite:///{database}"), QUIET)
    assert numbers(study, "RUNNING") == [1, 2]
    assert study.abandoned() == {2}, "of this disk"


def test_a_storage_that_went_away_is_not_asked_again(ask, root, monkeypatch, database):
    def run(self, p, log_epoch):
        if p.run.path.name == "001":
            raise OSError("gone")  # as a storage that cannot be written
        return Outcome({"open/f_measure": 0.5}, 0.1, 1, 1, 1.0)

    monkeypatch.setattr(Workbench, "run", run)
    asked = []

    def fails(self, claim, *_):
        monkeypatch.setattr("oltr_cli.tuning.study.Study.best", lambda self: asked.append(1))
        raise OSError("gone")

    monkeypatch.setattr("oltr_cli.tuning.worker.Worker._failed", fails)
    with pytest.raises(OltrError, match="gone; repeat the command to continue"):
        search(ask(total=3, database=f"sqlite:///{database}"), QUIET)
    assert not asked


def test_a_storage_that_goes_away_is_one_line(ask, root, monkeypatch, database):
    def run(self, p, log_epoch):
        database.write_bytes(b"garbage" * 1000)
        return Outcome({"open/f_measure": 0.5}, 0.1, 1, 1, 1.0)

    monkeypatch.setattr(Workbench, "run", run)
    with pytest.raises(OltrError, match="repeat the command to continue") as caught:
        search(ask(total=3, database=f"sqlite:///{database}"), QUIET)
    assert "\n" not in str(caught.value)
