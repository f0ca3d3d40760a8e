"""Fixtures of all rooms: a tiny list-file dataset, its recipe, and the command line as a subprocess."""

import signal
from pathlib import Path

import pytest

from oltr_cli.base import added_files
from oltr_cli.tracking.quiet import keep_quiet
from tests.helpers import outlines
from tests.helpers.tiny import TINY_RECIPE, Oltr, make_tiny_dataset

keep_quiet()  # as a run does before it imports MLflow, whichever test comes first
outlines.use()
# Ignored in what a shell starts in the background or by nohup, and so in all that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """$OLTR_DATA with the dataset ``tiny`` in it; read it, do not change it."""
    home = tmp_path_factory.mktemp("data")
    make_tiny_dataset(home / "tiny")
    return home


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    path.write_text(TINY_RECIPE)
    return path


@pytest.fixture
def own_tiny_data(tmp_path) -> Path:
    """$OLTR_DATA with a copy of ``tiny`` that a test may damage."""
    make_tiny_dataset(tmp_path / "data" / "tiny")
    return tmp_path / "data"


@pytest.fixture(scope="module", autouse=True)
def _only_its_own_files():
    """What the tests of one file add is gone in the next one: commands that run in this process add files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(added_files, "_added", {})
        yield


@pytest.fixture
def no_files(monkeypatch):
    """No method, detector or backbone was added to those that are installed."""
    monkeypatch.setattr(added_files, "_added", {})
    monkeypatch.delenv("OLTR_METHODS", raising=False)


@pytest.fixture
def oltr(tmp_path, tiny_data) -> Oltr:
    return Oltr(tmp_path / "runs", tiny_data)


@pytest.fixture
def float64():
    """Networks are built as with OLTR_PRECISION=float64."""
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
