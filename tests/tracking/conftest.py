"""What the tests of tracking share: a run that is tracked in a store of its own."""

import pytest

from oltr_cli.runs.folder import Run


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "OLTR_TRACKING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path / "my runs", "glyphs-lt", "dme", "0123456789", 2)
