"""The processes of a group do what the first of them finds, although files change between their looks."""

import os
from datetime import timedelta

import pytest
import torch

from oltr_cli.base.display import Display
from oltr_cli.errors import DataProblem, OltrError
from oltr_cli.pipeline import together, working
from oltr_cli.pipeline.make import make_runs
from oltr_cli.pipeline.opened import Opened
from oltr_cli.pipeline.together import all_are_here, of_first
from oltr_cli.pipeline.working import How, work_through
from oltr_cli.planning.graph import Wanted, build_graph
from oltr_cli.planning.plan import plan
from oltr_cli.runs.folder import Run
from tests.helpers.fake_runs import make_run
from tests.helpers.group import in_group

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed support")


def join(rank, world):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world))


def looks(rank, world):
    join(rank, world)
    called = []

    def look():
        called.append(rank)
        return f"seen by {rank}"

    def problem():
        raise DataProblem(f"damaged for {rank}")

    found = of_first(look)
    try:
        of_first(problem)
    except DataProblem as error:
        return found, called, str(error), all_are_here()


def test_all_take_what_the_first_finds_and_raise_what_it_raises(tmp_path):
    assert in_group(looks, 2, tmp_path / "group") == [
        ("seen by 0", [0], "damaged for 0", True),
        ("seen by 0", [], "damaged for 0", True),
    ]


def only_one_fails(rank, world):
    join(rank, world)
    together.LATE = timedelta(seconds=1)
    of_first(bool)  # all are there
    return all_are_here() if rank == 0 else None


def test_an_error_of_one_process_is_not_taken_for_one_of_all(tmp_path):
    assert in_group(only_one_fails, 2, tmp_path / "group") == [False, None]


def looks_too_early(rank, world, root):
    join(rank, world)
    os.environ["OLTR_RUNS"] = root
    Opened.join_group = lambda self: None  # the test has joined it
    planned = plan("plain", "glyphs-lt", [], 0)
    if rank == 1:
        Run.result = lambda self: None
    result = make_runs(planned, device="cpu", workers=0, track=False, display=Display(quiet=True))
    return result.method


def test_a_run_that_another_command_finishes_between_two_looks_is_finished_for_all(tmp_path):
    run = plan("plain", "glyphs-lt", [], 0)[0].run
    make_run(tmp_path / "runs", run.dataset, run.method, run_hash=run.hash)
    assert in_group(looks_too_early, 2, tmp_path / "group", str(tmp_path / "runs")) == ["plain", "plain"]


def fails(rank, world, root, which):
    """What working through two rows ends with, if making dme fails in the processes ``which``."""
    join(rank, world)
    os.environ["OLTR_RUNS"] = root
    together.LATE = timedelta(seconds=60 if len(which) == world else 1)  # waited for in full if one of them fails alone
    Opened.join_group = lambda self: None
    made = []

    def make(chain, **_):
        made.append(chain[-1].run.method)
        if made[-1] == "dme" and rank in which:
            raise OltrError("No space left on device")
        torch.distributed.barrier()  # as training does at every step

    working.make_runs = make
    graph = build_graph([Wanted(method, method, "glyphs-lt", "") for method in ("dme", "crt")])
    try:
        failures = work_through(graph, How(), Display(quiet=True))
    except (OltrError, RuntimeError) as error:
        return made, type(error).__name__, str(error)
    return made, [(what, str(error)) for what, error in failures]


def test_a_row_fails_for_all_and_the_next_one_is_made(tmp_path):
    both = in_group(fails, 2, tmp_path / "group", str(tmp_path / "runs"), (0, 1))
    assert both == [(["plain", "dme", "crt"], [("dme", "No space left on device")])] * 2


def test_a_failure_of_one_process_ends_the_command(tmp_path):
    first, second = in_group(fails, 2, tmp_path / "group", str(tmp_path / "runs"), (0,))
    assert first == (["plain", "dme"], "OltrError", "No space left on device")
    assert second[0] == ["plain", "dme"]  # it waited in the exchange until the first had ended


def test_without_a_group_one_looks_for_itself(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert of_first(lambda: 7) == 7
    assert all_are_here()
