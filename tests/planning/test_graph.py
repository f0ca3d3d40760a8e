"""Graphs of runs: what several requests share is there once, in an order in which it can be made, with its command."""

import shlex

import pytest

from oltr_cli.errors import UsageProblem
from oltr_cli.planning import plan as planning
from oltr_cli.planning.graph import Wanted, build_graph, until
from oltr_cli.planning.plan import plan

OPTION = "--dataset glyphs-lt"


def wanted(method, seed=0, sets=(), start=None):
    return Wanted(f"{method}, seed {seed}", method, "glyphs-lt", OPTION, tuple(sets), seed, start)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))


def test_shared_runs_are_there_once_and_come_first():
    graph = build_graph([wanted(m, s) for s in (0, 1) for m in ("range+openmax", "dme", "crt", "dme+energy")])
    names = [(run.method, run.seed) for run in graph.nodes]
    assert names[:2] == [("plain", 0), ("plain", 1)]
    assert set(names[2:8]) == {(m, s) for m in ("range", "dme", "crt") for s in (0, 1)}
    assert set(names[8:]) == {(m, s) for m in ("range+openmax", "dme+energy") for s in (0, 1)}
    for node in graph.nodes.values():
        assert node.parent is None or names.index((node.parent.method, node.parent.seed)) < names.index(
            (node.run.method, node.run.seed)
        )
        assert all(p.run.seed == node.run.seed for p in node.chain)


def test_it_has_the_runs_that_each_request_has_by_itself():
    requests = [wanted("dme", 3), wanted("plain", 1, ["train.epochs=2"]), wanted("dme", 0, ["plain.train.epochs=1"])]
    graph = build_graph(requests)
    for one, run in graph.wanted:
        chain = plan(one.method, one.recipe, list(one.sets), one.seed)
        assert graph.nodes[run].run == chain[-1].run
        assert [p.run for p in graph.nodes[run].chain] == [p.run for p in chain]
        assert [p.parent for p in graph.nodes[run].chain] == [p.parent for p in chain]


def test_a_recipe_is_resolved_once_for_all_seeds(monkeypatch):
    calls = []
    monkeypatch.setattr(planning, "plan", lambda *a: calls.append(a) or plan(*a))
    graph = build_graph([wanted(m, s) for s in range(5) for m in ("dme", "crt")])
    assert len(graph.nodes) == 15
    assert len(calls) == 2


def test_the_command_of_each_run_makes_that_run():
    graph = build_graph([wanted("range+openmax", 2, ["plain.train.epochs=3", "detector.tail=7"]), wanted("dme")])
    for node in graph.nodes.values():
        words = shlex.split(node.command())
        assert words[:2] == ["oltr", "run"]
        options = dict(zip(words[3::2], words[4::2], strict=True))
        sets = [value for key, value in zip(words[3::2], words[4::2], strict=True) if key == "--set"]
        method = f"{words[2]}+{options['--detector']}" if "--detector" in options else words[2]
        chain = plan(method, options["--dataset"], sets, int(options.get("--seed", 0)))
        if "--until" in options:
            chain = until(chain, options["--until"])
        assert chain[-1].run == node.run
    commands = {node.run.method: node.command() for node in graph.nodes.values() if node.run.seed == 0}
    assert commands["dme"] == "oltr run dme --dataset glyphs-lt"
    assert commands["plain"] == "oltr run dme --dataset glyphs-lt --until plain"


def test_a_run_that_is_asked_for_has_its_own_command():
    graph = build_graph([wanted("dme"), wanted("plain")])
    assert next(node.command() for node in graph.nodes.values()) == "oltr run plain --dataset glyphs-lt"


def test_what_cannot_be_planned_is_refused_by_itself():
    graph = build_graph([wanted("dme"), wanted("crt", sets=["train.epoch=3"]), wanted("nothing")])
    assert [one.label for one, _ in graph.refused] == ["crt, seed 0", "nothing, seed 0"]
    assert all(isinstance(problem, UsageProblem) for _, problem in graph.refused)
    assert [run.method for run in graph.nodes] == ["plain", "dme"]


def test_until_names_a_run_of_the_chain():
    chain = plan("dme+energy", "glyphs-lt", [], 0)
    assert [p.run.method for p in until(chain, "dme")] == ["plain", "dme"]
    with pytest.raises(
        UsageProblem, match=r"--until plian: dme\+energy has no such run before it; did you mean 'plain'"
    ):
        until(chain, "plian")
