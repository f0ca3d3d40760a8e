"""Here the pictures of a run are the real ones."""

import pytest

from oltr_cli.drawing import run_plots, style


@pytest.fixture(autouse=True)
def _real_pictures(monkeypatch):
    monkeypatch.setattr(run_plots, "save_pngs", style.save_pngs)
