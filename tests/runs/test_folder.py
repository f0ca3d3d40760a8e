"""The status of a run, read from what its folder holds."""

import pytest

from oltr_cli.runs.folder import Run, find_runs
from tests.helpers.fake_runs import make_run


@pytest.mark.parametrize(
    ("files", "status"), [((), "new"), (("recipe.toml",), "interrupted"), (("recipe.toml", "last.pt"), "interrupted")]
)
def test_a_run_that_was_begun_and_that_nobody_works_on_is_interrupted(tmp_path, files, status):
    run = Run(tmp_path, "mine", "dme", "0123456789", 0)
    run.path.mkdir(parents=True)
    for name in files:
        (run.path / name).touch()
    assert run.status() == status
    with run.lock():
        assert run.status() == "running"


def test_names_are_no_patterns(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    odd, plain = make_run(tmp_path / "runs", "a [b]", "dme"), make_run(tmp_path / "runs", "a b", "dme")
    assert find_runs(dataset="a [b]") == [odd]
    assert set(find_runs(method="dme")) == {plain, odd}
    for name in ("/etc", "*", "..", "a*", ""):
        assert find_runs(dataset=name) == find_runs(method=name) == []
