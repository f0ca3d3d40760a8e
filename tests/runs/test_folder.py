"""How runs are named: in full, in part, and which of several are meant."""

import pytest

from oltr_cli.errors import UsageProblem
from oltr_cli.runs.folder import find_runs, resolve_run
from tests.helpers.fake_runs import make_run


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_a_detector_on_a_method_does_not_make_the_methods_name_ambiguous(root):
    dme, pair = make_run(root, "mine", "dme"), make_run(root, "mine", "dme+energy")
    for text in ("mine/dme", "mine/dme/", "dme", dme.name):
        assert resolve_run(text) == dme.path
    assert resolve_run("dme+energy") == resolve_run("energy") == pair.path


def test_parts_will_do_and_several_are_named(root):
    first, second = make_run(root, "mine", "dme", 0), make_run(root, "mine", "dme", 1)
    assert resolve_run("dme/0123456789-s1") == resolve_run("89-s1") == second.path
    assert resolve_run(str(first.path)) == first.path
    with pytest.raises(UsageProblem, match=r"'mine/dme' fits 2 runs: mine/dme/0123456789-s0, mine/dme/0123456789-s1"):
        resolve_run("mine/dme")
    with pytest.raises(UsageProblem, match=r"no run 'mine/dm/'"):
        resolve_run("mine/dm/")


def test_names_are_no_patterns(root):
    odd, plain = make_run(root, "a [b]", "dme"), make_run(root, "a b", "dme")
    assert find_runs(dataset="a [b]") == [odd]
    assert set(find_runs(method="dme")) == {plain, odd}
    for name in ("/etc", "*", "..", "a*", ""):
        assert find_runs(dataset=name) == find_runs(method=name) == []
