"""The status of a run, read from what its folder holds."""

import pytest

from oltr_cli.runs.folder import Run


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
