"""An empty $OLTR_DATA, and a build in it."""

import pytest

from oltr_cli.base.display import Display
from oltr_cli.data.build.dataset import Wish, build_dataset


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty $OLTR_DATA, and $OLTR_RUNS."""
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    return tmp_path / "data"


@pytest.fixture
def build(home, capsys):
    """Build ``images`` as they are, with the fields of ``Wish`` given by name."""

    def built(images, name="mine", force=False, **wish):
        return build_dataset(Wish(images, **wish), home / name, Display(quiet=True), force)

    return built
