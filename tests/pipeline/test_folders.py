"""The runs folder goes wrong: removed, moved, of another user, without locks. One line, and nothing gets lost."""

import errno
import fcntl
import json
import shutil

import pytest

from oltr_cli.base.display import Display
from oltr_cli.errors import OltrError
from oltr_cli.pipeline.make import run_method
from oltr_cli.pipeline.session import Session
from oltr_cli.runs.folder import Run, find_runs
from oltr_cli.training import engine
from tests.helpers.fake_runs import make_run
from tests.helpers.finished_runs import tiny_home
from tests.helpers.in_process import oltr_here, somebody_else


@pytest.fixture
def home(tmp_path):
    yield from tiny_home(tmp_path)


def train(home):
    recipe = str(home / "tiny.toml")
    return run_method("plain", recipe, device="cpu", workers=0, track=False, display=Display(quiet=True))


def remove(home):
    shutil.rmtree(home / "runs")


def move(home):
    (home / "runs").rename(home / "elsewhere")


@pytest.mark.parametrize("go_away", [remove, move])
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_folder_that_goes_away_in_training_fails_the_run(home, monkeypatch, go_away, epoch):
    finish = engine.Training._finish_epoch

    def finish_epoch(self):
        if self.progress.epoch + 1 == epoch:
            go_away(home)
        return finish(self)

    with monkeypatch.context() as patch:
        patch.setattr(engine.Training, "_finish_epoch", finish_epoch)
        with pytest.raises(OltrError, match="was removed or moved during training") as caught:
            train(home)
    assert "\n" not in str(caught.value)
    assert find_runs() == []
    if (home / "elsewhere").exists():
        shutil.rmtree(home / "runs", ignore_errors=True)
        (home / "elsewhere").rename(home / "runs")
    name = train(home).run
    assert [(run.name, run.status()) for run in find_runs()] == [(name, "done")]


def test_a_folder_that_goes_away_in_scoring_fails_the_run(home, monkeypatch):
    keep = Session._keep

    def keep_and_remove(self, p, split, scores):
        if split == "val":
            remove(home)
        keep(self, p, split, scores)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "_keep", keep_and_remove)
        with pytest.raises(OltrError, match=r"has lost recipe\.toml and best\.pt") as caught:
            train(home)
    assert "\n" not in str(caught.value)
    name = train(home).run
    assert [(run.name, run.status()) for run in find_runs()] == [(name, "done")]


def test_a_run_of_another_user_costs_its_own_line(home):
    root = home / "runs"
    done, locked, closed = (make_run(root, "mine", method) for method in ("plain", "dme", "range"))
    for run in (locked, closed):
        (run.path / "result.json").unlink()
    (locked.path / "last.pt").touch()
    locked.path.chmod(0o555)
    shut = make_run(root, "mine", "focal")
    shut.path.chmod(0o700)
    (closed.path / "scores").chmod(0o000)
    commands = (("evaluate", closed.name), ("evaluate", shut.name), ("compare", "--dataset", "mine"))
    for command in commands:  # imports what that user may not read
        oltr_here(*command)
    with somebody_else(root, root / "mine", *(run.path.parent for run in (done, shut)), done.path, locked.path):
        code, out, err = oltr_here("ls", "runs", "--json")
        assert (code, err) == (0, "")
        listed = {row["name"]: row["status"] for row in json.loads(out)["runs"]}
        assert listed[done.name] == "done"
        assert listed[locked.name] == "interrupted"
        assert listed[shut.name] in ("damaged", "done")  # done: for the owner of it
        assert len(listed) == 4
        for command in commands:
            code, _, err = oltr_here(*command)
            assert code in (0, 1, 2, 3)
            assert "Traceback" not in err


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSPC])
def test_a_lock_that_cannot_be_had_is_one_line(home, monkeypatch, number):
    def flock(descriptor, operation):
        raise OSError(number, "as the system says")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OltrError, match=r"\.lock: cannot be locked \(as the system says\)") as caught:
        train(home)
    assert "\n" not in str(caught.value)
    run = make_run(home / "runs", "mine", "plain")
    (run.path / "result.json").unlink()
    assert run.status() == "interrupted"


def test_a_folder_in_the_place_of_the_lock_is_one_line(home):
    code, out, _ = oltr_here("run", "plain", "--recipe", home / "tiny.toml", "--dry-run", "--json")
    assert code == 0
    name = json.loads(out)["runs"][0]["run"]
    (home / "runs" / name / ".lock").mkdir(parents=True)
    code, _, err = oltr_here("run", "plain", "--recipe", home / "tiny.toml", "--workers", 0, "-q")
    assert code == 1
    (line,) = [line for line in err.splitlines() if line.startswith("error")]
    assert ".lock: cannot be locked (Is a directory)" in line
    assert Run(home / "runs", *name.split("/")[:2], *name.split("/")[2].split("-s")[:1], 0).status() == "new"
