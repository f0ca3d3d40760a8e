"""What a machine runs out of is named in one line; a finished run stands, whatever became of its lists."""

import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.files import read_json
from oltr_cli.data.lists.lists import digest_of_files
from oltr_cli.errors import DataProblem, OltrError
from oltr_cli.pipeline.problems import named_shortages
from tests.helpers.finished_runs import environment, make_finished_runs
from tests.helpers.tiny import make_tiny_dataset


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "lower train.batch_size"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "--workers 0"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"), "out of memory"),
    ],
)
def test_shortages_are_named(error, words):
    with pytest.raises(OltrError, match=words) as caught, named_shortages():
        raise error
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match="shapes differ"), named_shortages():
        raise RuntimeError("shapes differ")


def test_an_error_that_says_nothing_passes_through_too():
    with pytest.raises(NotImplementedError), named_shortages():
        raise NotImplementedError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run whose dataset is gone; its folder of datasets."""
    home = tmp_path_factory.mktemp("finished")
    patch = environment(home)
    make_finished_runs(home, {"plain": ["train.epochs=1"]})
    yield home / "data"
    patch.undo()


@pytest.fixture
def again(finished):
    """``oltr run`` for the finished run."""

    def call(*more):
        recipe = str(finished.parent / "tiny.toml")
        return CliRunner().invoke(app, ["run", "plain", "--recipe", recipe, "--set", "train.epochs=1", *more])

    yield call
    shutil.rmtree(finished / "tiny", ignore_errors=True)


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_finished_run_points_out_that_its_lists_were_changed(again, finished, more):
    """A warning alone: the run is what it is. Without its dataset, or with the one it had, nothing is said."""
    gone = again(*more)
    assert (gone.exit_code, gone.exception) == (0, None)
    root = make_tiny_dataset(finished / "tiny")
    same = again(*more)
    (root / "train.txt").write_text((root / "train.txt").read_text().partition("\n")[2])
    changed = again(*more)
    assert [done.exit_code for done in (gone, same, changed)] == [0, 0, 0]
    assert gone.stdout == same.stdout == changed.stdout
    assert "warning" not in gone.stderr + same.stderr
    (warning,) = [line for line in changed.stderr.splitlines() if "warning: " in line]
    assert warning.startswith(f"warning: the lists in {root} have changed since tiny/plain/")
    assert warning.endswith(f'set data.lists_digest to "{digest_of_files("tiny", root)}"')
    (root / "val.txt").unlink()
    assert "warning" not in again(*more).stderr


def test_a_dry_run_of_a_finished_run_has_the_numbers_of_its_result(again):
    assert "leave out --dry-run to see its result" in again("--dry-run").stderr
    said = json.loads(again("--dry-run", "--json").stdout)
    assert (said["images"], said["classes"]) == (45, 5)
    assert [(run["status"], run["steps"]) for run in said["runs"]] == [("done", 5)]


def test_a_damaged_result_is_named_and_written_again_once_it_is_removed(again, finished):
    make_tiny_dataset(finished / "tiny")
    (path,) = (finished.parent / "runs").glob("tiny/plain/*/result.json")
    before = read_json(path)
    path.write_text("[]")
    for more in ((), ("--dry-run",)):
        refused = again(*more)
        assert isinstance(refused.exception, DataProblem)
        assert str(refused.exception).startswith(f"{path}: is damaged")
    path.unlink()
    made = again("--device", "cpu", "--workers", "0", "--no-track", "--json")
    after = json.loads(made.stdout)
    assert after == read_json(path)
    timed = ("seconds", "seconds_total")
    assert {k: v for k, v in after.items() if k not in timed} == {k: v for k, v in before.items() if k not in timed}
