"""How runs are named: in full, in part, and which of several are meant."""

import os
from types import SimpleNamespace

import pytest

from oltr_cli.errors import UsageProblem
from oltr_cli.planning.which_run import differences, in_words, parent_of, resolve_run
from tests.helpers.fake_runs import edit_result, make_run

NOW, OTHER = "aaaaaaaaaa", "bbbbbbbbbb"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    recipe = SimpleNamespace(as_toml=lambda: {"train": {"epochs": 99}})  # of none of the runs
    planned = SimpleNamespace(run=SimpleNamespace(hash=NOW), link=SimpleNamespace(recipe=recipe))
    monkeypatch.setattr("oltr_cli.planning.which_run.plan", lambda *_, seed: [planned])
    return tmp_path / "runs"


def with_recipe(run, text, finished_at=1_000_000):
    (run.path / "recipe.toml").write_text(f'method = "{run.method}"\n{text}')
    os.utime(run.path / "result.json", (finished_at, finished_at))
    return run


def test_a_detector_on_a_method_does_not_make_the_methods_name_ambiguous(root):
    dme, pair = make_run(root, "mine", "dme"), make_run(root, "mine", "dme+energy")
    for text in ("mine/dme", "mine/dme/", "dme", dme.name):
        assert resolve_run(text) == dme.path
    assert resolve_run("dme+energy") == resolve_run("energy") == pair.path


def test_parts_will_do(root):
    first, second = make_run(root, "mine", "dme", 0), make_run(root, "mine", "dme", 1)
    assert resolve_run("dme/0123456789-s1") == resolve_run("89-s1") == second.path
    assert resolve_run(str(first.path)) == first.path
    with pytest.raises(UsageProblem, match=r"no run 'mine/dm/'; did you mean"):
        resolve_run("mine/dm/")


def test_of_several_seeds_it_is_the_lowest_that_is_finished_and_that_is_said(root):
    runs = [make_run(root, "mine", "dme", seed) for seed in (0, 1, 2)]
    (runs[0].path / "result.json").unlink()
    said = []
    assert resolve_run("mine/dme", said.append) == runs[1].path
    assert said == [f"'mine/dme' fits 3 runs; this is {runs[1].name}, the lowest seed"]
    (runs[1].path / "result.json").write_text("{")
    assert resolve_run("mine/dme", said.append) == runs[2].path
    assert said[1].endswith("the only finished one")


def test_of_several_recipes_it_is_the_one_as_it_is_now_or_the_newest_where_asked(root):
    runs = {(h, seed): make_run(root, "mine", "dme", seed, h) for h in (NOW, OTHER) for seed in (1, 0)}
    for age, run in enumerate((runs[OTHER, 1], runs[NOW, 1], runs[OTHER, 0], runs[NOW, 0])):
        with_recipe(run, "", finished_at=2_000_000 - age)
    said = []
    assert resolve_run("mine/dme", said.append) == runs[NOW, 0].path
    assert said == [
        f"'mine/dme' fits 4 runs; this is {runs[NOW, 0].name}, of the recipe as it is now and the lowest seed"
    ]
    assert resolve_run("mine/dme@latest") == runs[OTHER, 1].path
    assert resolve_run("mine/dme/bbb@latest") == runs[OTHER, 1].path


def test_where_none_is_meant_the_error_tells_them_apart(root):
    old = make_run(root, "mine", "dme", 0, OTHER)
    new = make_run(root, "mine", "dme", 0, "cccccccccc")
    with_recipe(old, "[train]\nepochs = 3\nsteps = 4\n", finished_at=1_000_000)
    with_recipe(new, "[train]\nepochs = 6\nsteps = 4\n", finished_at=2_000_000)
    with pytest.raises(UsageProblem) as caught:
        resolve_run("mine/dme")
    first, newer, older = str(caught.value).splitlines()
    assert first == "'mine/dme' fits 2 runs; name one of them, or 'mine/dme@latest'"
    assert (new.name in newer, "train.epochs=6" in newer, "done 1970-01-24" in newer) == (True, True, True)
    assert (old.name in older, "train.epochs=3" in older, "steps" in older) == (True, True, False)


def test_an_added_class_does_not_make_the_name_of_the_run_of_before_ambiguous(root):
    before = with_recipe(make_run(root, "mine", "dme", 0, OTHER), "[train]\nepochs = 3\n", finished_at=1_000_000)
    for at, name in ((2_000_000, "cccccccccc"), (3_000_000, "dddddddddd")):
        added = make_run(root, "mine", "dme", 0, name)
        with_recipe(added, '[train]\nepochs = 3\n[added]\nname = "owl"\n', finished_at=at)
    said = []
    assert resolve_run("mine/dme", said.append) == before.path
    assert said == [f"'mine/dme' fits 3 runs; this is {before.name}, the only finished one without an added class"]
    assert resolve_run("mine/dme@latest") == added.path


def test_of_runs_without_an_added_class_it_is_still_the_recipe_as_it_is_now(root):
    now = with_recipe(make_run(root, "mine", "dme", 0, NOW), "", finished_at=1_000_000)
    with_recipe(make_run(root, "mine", "dme", 0, OTHER), "", finished_at=2_000_000)
    with_recipe(make_run(root, "mine", "dme", 0, "cccccccccc"), '[added]\nname = "owl"\n', finished_at=3_000_000)
    assert resolve_run("mine/dme") == now.path


def test_runs_of_several_methods_or_datasets_are_not_chosen_between(root):
    make_run(root, "mine", "dme"), make_run(root, "mine", "plain"), make_run(root, "yours", "dme")
    for text in ("mine", "dme"):
        with pytest.raises(UsageProblem, match=f"'{text}' fits 2 runs"):
            resolve_run(text)


def test_a_run_that_does_not_exist_is_made_by_a_command(root, tmp_path):
    (tmp_path / "data" / "mine").mkdir(parents=True)
    (tmp_path / "data" / "mine" / "recipe.toml").write_text("")
    make_run(root, "mine", "plain")
    with pytest.raises(UsageProblem, match=r"^no run 'mine/dme' yet; make it: oltr run dme --dataset mine$"):
        resolve_run("mine/dme")
    with pytest.raises(UsageProblem, match=r"make it: oltr run dme --detector energy --dataset mine$"):
        resolve_run("mine/dme+energy")
    with pytest.raises(UsageProblem, match=r"^no run 'xyz'; see: oltr ls runs$"):
        resolve_run("xyz")
    with pytest.raises(UsageProblem, match="empty"):
        resolve_run("")


def test_settings_of_the_run_that_it_starts_from_count_too(root):
    dmes = []
    for h, epochs in ((NOW, 3), (OTHER, 9)):
        plain = with_recipe(make_run(root, "mine", "plain", 0, h), f"[train]\nepochs = {epochs}\n[data]\nsize = 1\n")
        dme = with_recipe(make_run(root, "mine", "dme", 0, h), "[train]\nepochs = 5\n[data]\nsize = 1\n")
        edit_result(dme.path, starts_from=plain.name)
        assert parent_of(dme) == plain
        dmes.append(dme)
    differing = differences(dmes)
    assert [in_words(differing[dme]) for dme in dmes] == ["plain.train.epochs=3", "plain.train.epochs=9"]


def test_an_unfinished_run_tells_what_it_starts_from(root):
    plain, dme = make_run(root, "mine", "plain"), make_run(root, "mine", "dme")
    (dme.path / "result.json").unlink()
    assert parent_of(dme) is None
    (dme.path / "environment.json").write_text(f'{{"starts_from": "{plain.name}"}}')
    assert parent_of(dme) == plain
