"""A search by jobs: workers of one study, after the run that all trials start from."""

import pytest

from oltr_cli.base.display import Display
from oltr_cli.errors import OltrError
from oltr_cli.launching.settings import Launcher
from oltr_cli.tuning import jobs
from oltr_cli.tuning.jobs import search_by_jobs
from oltr_cli.tuning.request import Request
from tests.test_docs import parse


@pytest.fixture
def started(monkeypatch, tmp_path, tiny_data):
    """The tasks of each call; their jobs end well, or fail as ``started.fails`` says."""
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OLTR_DATA", str(tiny_data))

    class Started(list):
        fails: dict = {}  # noqa: RUF012

    calls = Started()
    monkeypatch.setattr(jobs, "run_tasks", lambda tasks, *_: calls.append(tasks) or calls.fails)
    return calls


def test_workers_come_after_the_shared_run_and_work_on_one_study(started, tiny_recipe):
    request = Request(
        *("dme", str(tiny_recipe), ["train.epochs=1"]),
        params=("lambda",),
        ranges=("lambda=0.01:1:log",),
        total=7,
        timeout=90.0,
        prune=False,
        device="cpu",
        track=False,
    )
    with pytest.raises(OltrError, match="no worker began a study: the jobs have not started yet"):
        search_by_jobs(request, Launcher("local", 3), f"--recipe {tiny_recipe}", Display(quiet=True))
    ((plain, *workers),) = started
    assert plain.arguments[:2] == ("run", "dme")
    assert plain.arguments[-5:] == ("--until", "plain", "--no-wait", "--device", "cpu", "--no-track")[-5:]
    assert len(workers) == 3
    assert len({one.arguments for one in workers}) == 1
    assert {one.parent for one in workers} == {plain.name}
    assert [one.name.rpartition("/")[2] for one in workers] == ["worker-1", "worker-2", "worker-3"]
    words = list(workers[0].arguments)
    parse(words)
    for word in ("--trials=7", "--timeout=90.0s", "--no-prune", "--range=lambda=0.01:1:log", "--set=train.epochs=1"):
        assert word in words
    # More trials of the same study are the same jobs.
    with pytest.raises(OltrError):
        search_by_jobs(
            Request(**{**vars(request), "total": 9}),
            Launcher("local", 3),
            f"--recipe {tiny_recipe}",
            Display(quiet=True),
        )
    assert [one.name for one in started[1]] == [one.name for one in started[0]]


def test_a_shared_run_that_fails_ends_it(started, tiny_recipe):
    request = Request("dme", str(tiny_recipe), [], params=("lambda",))
    with pytest.raises(OltrError):
        search_by_jobs(request, Launcher("local", 1), f"--recipe {tiny_recipe}", Display(quiet=True))
    plain = started[0][0].name
    started.fails = {plain: "loss is nan (log: x)"}
    with pytest.raises(OltrError, match=r"from which all trials start, failed: loss is nan \(log: x\)"):
        search_by_jobs(request, Launcher("local", 1), f"--recipe {tiny_recipe}", Display(quiet=True))
