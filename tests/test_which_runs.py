"""Which runs stand for a method where several recipes or builds lie side by side, and which table is theirs."""

import json
import os

import pytest
from fake_runs import by_key, make_run

from oltr_cli.commands.following import compare_command, tune_threshold_command
from oltr_cli.report.choose import choose
from oltr_cli.tables.fill import fill
from oltr_cli.tables.paper import tables_of
from oltr_cli.tables.which_runs import choose_recipe


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    return tmp_path / "runs"


def on_lists(run, digest):
    path = run.path / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data_digest": digest}))
    return run


def with_params(run, age=0, **params):
    """Parameters in the run's recipe, and a result that is ``age`` seconds old."""
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in params.items())
    (run.path / "recipe.toml").write_text(f'method = "{run.method}"\n[params]\n{lines}')
    os.utime(run.path / "result.json", (1e9 - age, 1e9 - age))
    return run, run.result()


OWN = {"attention": "modulated", "calibrator": True, "memory": True, "selector": True}


# --- builds


@pytest.fixture
def built(root, tmp_path):
    """A built dataset whose recipe is of the lists "new", with plain run on them and dme on earlier ones."""
    folder = tmp_path / "data" / "mine"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text('[data]\nname = "mine"\nlists_digest = "new"\n')
    return on_lists(make_run(root, "mine", "plain"), "new"), on_lists(make_run(root, "mine", "dme"), "old")


def test_a_run_on_an_earlier_build_is_no_row(built):
    _, dme = built
    filled = fill("3a", "mine", source="mine")
    rows = by_key(filled)
    assert (rows["plain"].status, rows["dme"].status) == ("measured", "missing")
    assert rows["dme"].command == "oltr run dme --dataset mine"
    assert f"Left out, as made on an earlier build of mine: {dme.name}." in filled.notes


def test_nor_is_it_in_a_report_unless_by_name(built):
    plain, dme = built
    assert [run for run, _ in choose("mine").done] == [plain]
    assert [run for run, _ in choose(None, [dme.name]).done] == [dme]


def test_rows_on_different_lists_are_pointed_out(root):
    for method, lists in (("plain", "a"), ("dme", "b")):
        on_lists(make_run(root, "elsewhere", method), lists)
    changed = "The lists of the dataset changed between these runs"
    assert any(note.startswith(changed) for note in fill("3a", "elsewhere").notes)
    assert not any(note.startswith(changed) for note in fill("3a", "elsewhere", methods=["plain"]).notes)


# --- recipes


def test_an_ablation_does_not_stand_for_the_method(root):
    ablation = with_params(make_run(root, "d", "dme", run_hash="a" * 10), **{**OWN, "attention": "none"})
    more = with_params(make_run(root, "d", "dme", 1, "a" * 10), **{**OWN, "attention": "none"})
    whole = with_params(make_run(root, "d", "dme", run_hash="b" * 10), age=60, **OWN)
    chosen, note = choose_recipe("dme", [ablation, more, whole], None)
    assert chosen == [whole]
    assert note == f"dme: shown is {'b' * 10}, the one nearest to the method's own parameters. Left out: {'a' * 10}."


def test_then_seeds_count_and_then_the_newest(root):
    first = [with_params(make_run(root, "d", "dme", seed, "a" * 10), age=60) for seed in (0, 1)]
    second = [with_params(make_run(root, "d", "dme", seed, "b" * 10)) for seed in (0, 1)]
    chosen, note = choose_recipe("dme", [*first, second[0]], None)
    assert (chosen, "the recipe with most finished seeds" in note) == (first, True)
    chosen, note = choose_recipe("dme", [*first, *second], None)
    assert (chosen, "the newest" in note) == (second, True)
    assert choose_recipe("dme", first, None) == (first, "")


def test_the_wanted_recipe_comes_first(root):
    wanted = with_params(make_run(root, "d", "dme", run_hash="a" * 10), age=60, **{**OWN, "attention": "none"})
    other = with_params(make_run(root, "d", "dme", run_hash="b" * 10), **OWN)
    chosen, note = choose_recipe("dme", [wanted, other], "a" * 10)
    assert (chosen, "the recipe as it stands" in note) == ([wanted], True)
    chosen, note = choose_recipe("dme", [wanted, other], "c" * 10)
    assert (chosen, "no finished run of the recipe as it stands" in note) == ([other], True)


# --- what to type next


def test_each_dataset_is_led_to_its_table():
    assert tables_of("imagenet-lt")[0] == "3a"
    assert [tables_of(name) for name in ("places-lt", "cifar100", "sun-lt", "mine")] == [["3b"], ["2"], ["4b"], ["3a"]]
    assert tables_of("mine", ["closed/overall", "identification/full"]) == ["4a"]
    assert compare_command("my set", "--dataset 'my set'") == "oltr compare --table 3a --dataset 'my set'"


def test_a_threshold_is_tuned_by_what_there_is():
    with_open = tune_threshold_command("my set", "dme", has_open_val=True)
    assert with_open == "oltr tune threshold --method dme --dataset 'my set'"
    without = tune_threshold_command("mine", has_open_val=False)
    assert without == "oltr tune threshold --dataset mine --rule id_quantile:0.95"
