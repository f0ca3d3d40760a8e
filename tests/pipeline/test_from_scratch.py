"""A method that starts from plain, trained from nothing: its run, and how it is told from the usual one."""

import json

import pytest

from tests.helpers.outcomes import run_dir


@pytest.fixture
def both(oltr, tiny_recipe):
    """ldam-drw from plain and from scratch."""
    for words in ([], ["--from-scratch"]):
        oltr("run", "ldam-drw", "--recipe", tiny_recipe, *words)
    return oltr


def test_it_trains_from_nothing_and_is_told_apart(both, tiny_recipe):
    results = [json.loads(file.read_text()) for file in (both.runs / "tiny" / "ldam-drw").glob("*/result.json")]
    usual, scratch = sorted(results, key=lambda result: result["starts_from"] is None)
    assert usual["starts_from"].startswith("tiny/plain/")
    assert (usual["epochs"], usual["epochs_total"], scratch["epochs"], scratch["epochs_total"]) == (2, 5, 3, 3)
    listed = both("ls", "runs").stdout
    assert "train.from_scratch=True" in listed
    compare = ("compare", "--table", "3a", "--recipe", tiny_recipe, "--methods", "ldam-drw", "--json")
    (row,) = json.loads(both(*compare).stdout)["rows"]
    assert (row["stages"], row["from_scratch"]) == ([3, 2], False)
    both("rm", f"ldam-drw/{usual['hash']}-s0", "--yes")
    (row,) = json.loads(both(*compare).stdout)["rows"]
    assert (row["stages"], row["from_scratch"]) == ([3], True)


def test_from_scratch_and_from_contradict_each_other(oltr, tiny_recipe):
    oltr("run", "plain", "--recipe", tiny_recipe, "--set", "train.epochs=1")
    name = run_dir(oltr, "plain").name
    words = ("--from", f"plain/{name}", "--from-scratch")
    done = oltr("run", "focal", "--recipe", tiny_recipe, *words, check=2)
    assert "focal is to train from nothing; leave --from out, or --from-scratch" in done.stderr
    assert not (oltr.runs / "tiny" / "focal").exists()
