"""Searches that train nothing: a finished run to start from, quick trials, and what a study holds."""

import shutil

import pytest

from oltr_cli.base.display import Display
from oltr_cli.pipeline.make import run_method
from oltr_cli.tuning.request import Request
from oltr_cli.tuning.trial import Outcome, Workbench

QUIET = Display(True)
CLASS_COUNTS = (24, 12, 6, 2, 1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_data, tiny_recipe):
    """A runs folder with a finished plain on tiny."""
    folder = tmp_path_factory.mktemp("finished") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OLTR_RUNS", str(folder))
        patch.setenv("OLTR_DATA", str(tiny_data))
        run_method("plain", str(tiny_recipe), track=False, workers=0, display=QUIET)
    return folder


@pytest.fixture
def root(finished, tiny_data, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "runs")
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OLTR_DATA", str(tiny_data))
    monkeypatch.setattr("os.fsync", lambda handle: None)  # what is tested here survives kills, not power cuts
    monkeypatch.setattr("oltr_cli.tuning.pictures.save_pictures", lambda study: [])  # they have tests of their own
    return tmp_path / "runs"


@pytest.fixture
def ask(root, tiny_recipe):
    def request(method="dme", total=3, **options):
        given = {"ranges": ("lambda=0.001:1:log",) if method == "dme" else (), "sets": [], "track": False, **options}
        return Request(method=method, recipe=str(tiny_recipe), total=total, workers=0, device="cpu", **given)

    return request


class Told(Display):
    def __init__(self):
        super().__init__(True)
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    def warn(self, text):
        self.lines.append(f"warning: {text}")


def quick(monkeypatch, judge):
    """Trials that train nothing: ``judge(params, epoch)`` is validation accuracy after each of the epochs."""

    def run(self, p, log_epoch):
        values = p.link.recipe.params.model_dump(by_alias=True)
        for epoch in range(1, p.epochs + 1):
            log_epoch({"epoch": epoch, "val/closed/overall": judge(values, epoch), "seconds": 1.0, "loss": 0.0})
        metrics = {"open/f_measure": judge(values, p.epochs), "open/fpr95": 1 - judge(values, p.epochs)}
        return Outcome({**metrics, "closed/overall": judge(values, p.epochs)}, 0.25, 1, p.epochs, 1.0)

    monkeypatch.setattr(Workbench, "run", run)


def numbers(study, state="COMPLETE"):
    return [t.number for t in study.trials() if t.state.name == state]
