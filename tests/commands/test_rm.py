"""``oltr rm``: what it removes, and what it keeps."""

import os

import pytest
import typer
from typer.testing import CliRunner

from oltr_cli.commands.rm import rm
from oltr_cli.errors import OltrError
from tests.helpers.fake_runs import edit_result, make_run
from tests.helpers.in_process import oltr_here


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def command(*arguments: str, answer: str | None = None):
    app = typer.Typer()
    app.command()(rm)
    return CliRunner().invoke(app, list(arguments), input=answer)


def test_it_asks_and_removes_one_run_with_the_folders_that_are_empty_then(root):
    plain, dme = make_run(root, "mine", "plain"), make_run(root, "mine", "dme")
    assert "nothing was removed" in command("mine/dme", answer="n\n").stderr
    assert isinstance(command("mine/dme").exception, OltrError)
    assert dme.path.is_dir()
    done = command("mine/dme", answer="y\n")
    assert dme.name in done.stderr
    assert not dme.path.parent.exists()
    assert plain.path.is_dir()
    assert command("plain", "--yes").exit_code == 0
    assert not (root / "mine").exists()


def test_a_run_that_others_start_from_is_kept_unless_they_go_too(root):
    plain, dme = make_run(root, "mine", "plain"), make_run(root, "mine", "dme")
    edit_result(dme.path, starts_from=plain.name)
    for name in ("mine/plain", str(plain.path)):
        refused = command(name, "--yes")
        assert isinstance(refused.exception, OltrError)
        assert f"{dme.name} starts from {plain.name}" in str(refused.exception)
    assert plain.path.is_dir()
    assert command("mine/plain", "mine/dme", "--yes").exit_code == 0
    assert not root.joinpath("mine").exists()


def test_a_name_that_fits_several_removes_none(root):
    runs = [make_run(root, "mine", "dme", seed) for seed in (0, 1)]
    refused = command("mine/dme", "--yes")
    assert all(run.name in str(refused.exception) and run.path.is_dir() for run in runs)


def test_a_run_that_is_being_trained_is_kept(root):
    run = make_run(root, "mine", "dme")
    with run.lock():
        refused = command("mine/dme", "--yes")
    assert "a process is working in it" in str(refused.exception)
    assert (run.path / "result.json").exists()


def test_a_study_goes_with_its_journal(root):
    folder = root / "mine" / "studies" / "dme-lambda-3f2a"
    (folder / "trials" / "000").mkdir(parents=True)
    for file in (folder.with_name("dme-lambda-3f2a.journal"), folder.with_name("dme-other.journal")):
        file.write_text("")
    assert command("mine/dme-lambda-3f2a", "--yes").exit_code == 0
    assert [path.name for path in (root / "mine" / "studies").iterdir()] == ["dme-other.journal"]


def test_the_newest_of_several_runs_by_its_short_name(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path))
    older, newer = (make_run(tmp_path, "mine", "plain", run_hash=name) for name in ("aaaaaaaaaa", "bbbbbbbbbb"))
    os.utime(older.path / "result.json", (1, 1))
    assert oltr_here("rm", "mine/plain", "--yes")[0] == 2
    assert oltr_here("rm", "mine/plain@latest", "--yes")[0] == 0
    assert older.path.exists()
    assert not newer.path.exists()
