"""Scores of the training set are computed by one process, whatever number of runs that start from it are being made."""

import threading
from types import SimpleNamespace

from oltr_cli.base.display import Display
from oltr_cli.pipeline import networks as module
from oltr_cli.pipeline.networks import NetworkScores
from oltr_cli.runs.folder import Run


class Told(Display):
    """Says when it waits for another process."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.waits = threading.Event()

    def say(self, text: str) -> None:
        assert "another process is scoring the training set" in text
        self.waits.set()


def test_training_scores_are_computed_once(tmp_path, monkeypatch):
    run = Run(tmp_path, "tiny", "plain", "0123456789", 0)
    alone = SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None)
    told, computed = Told(), []
    networks = NetworkScores([], SimpleNamespace(), alone, told, 0)
    monkeypatch.setattr(NetworkScores, "_score_training", lambda self, p, path: computed.append(path))
    monkeypatch.setattr(module.SavedScores, "load", lambda path: path)
    found = []
    other = run.lock()
    other.acquire()
    thread = threading.Thread(target=lambda: found.append(networks.training(SimpleNamespace(run=run))))
    thread.start()
    assert told.waits.wait(60)
    run.scores("train").parent.mkdir(parents=True)
    run.scores("train").touch()  # by the other process
    other.release()
    thread.join(60)
    assert found == [run.scores("train")]
    assert computed == []
    run.scores("train").unlink()
    networks.training(SimpleNamespace(run=run))
    assert computed == [run.scores("train")]
