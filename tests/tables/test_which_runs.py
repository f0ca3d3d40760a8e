"""Which runs stand for a method where several recipes or builds lie side by side, and which table is theirs."""

import json
import os
from dataclasses import replace
from html import unescape

import pytest
from filelock import FileLock

from oltr_cli.base.display import Display
from oltr_cli.base.files import read_json
from oltr_cli.commands.next_steps import compare_command, tune_threshold_command
from oltr_cli.errors import UsageProblem
from oltr_cli.planning.registry import load_method
from oltr_cli.report.choose import choose, with_all
from oltr_cli.report.content import collect
from oltr_cli.report.page import render
from oltr_cli.report.pictures import Picture
from oltr_cli.runs.folder import run_from_path
from oltr_cli.tables.fill import fill
from oltr_cli.tables.paper import tables_of
from oltr_cli.tables.which_runs import choose_recipe
from tests.helpers.fake_runs import a_failure, by_key, make_run


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    return tmp_path / "runs"


def on_lists(run, digest):
    path = run.path / "result.json"
    path.write_text(json.dumps({**read_json(path), "data_digest": digest}))
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
    assert f"Left out because made on an earlier build of mine: {dme.name}." in filled.notes


def test_nor_is_it_in_a_report_unless_by_name(built):
    plain, dme = built
    assert [run for run, _ in choose("mine").done] == [plain]
    assert [run for run, _ in choose(None, [dme.name]).done] == [dme]


def page_of(monkeypatch, *names, methods=()):
    """The report on these runs, with a figure that stands for all."""
    monkeypatch.setattr("oltr_cli.report.content.paper_figures", lambda *_: [Picture("6", "Figure 6", "data:,")])
    return collect(choose(None, names, methods), ["3a"], Display(quiet=True))


def test_a_page_on_a_run_of_an_earlier_build_has_no_table_of_another(built, monkeypatch):
    plain, dme = built
    made = page_of(monkeypatch, plain.name, dme.name)
    assert [one.run for one in made.finished] == [dme, plain]
    assert (made.tables, made.figures) == ((), ())
    assert "the paper's table and the figures" in made.left_out
    assert f"{dme.name} is not among them" in made.left_out
    html = unescape(render(made))
    assert html.count(made.left_out) == 1
    assert 'id="table-0"' not in html


def test_a_page_on_runs_that_the_table_shows_keeps_it(built, root, monkeypatch):
    plain, _ = built
    made = page_of(monkeypatch, plain.name)
    assert ([table.name for table in made.tables], len(made.figures), made.left_out) == (["3a"], 1, "")
    other = on_lists(make_run(root, "mine", "plain", run_hash="b" * 10), "new")
    os.utime(other.path / "result.json", (1e9, 1e9))  # the older of two recipes: not the one that is shown
    assert page_of(monkeypatch, plain.name).left_out == ""
    assert f"{other.name} is not among them" in page_of(monkeypatch, plain.name, other.name).left_out


def test_only_the_tables_that_show_another_run_are_left_out(root):
    one, other = make_run(root, "mine", "plain"), make_run(root, "mine", "plain", run_hash="b" * 10)
    tables = [fill("3a", "mine", methods=["plain"]), fill("3b", "mine", methods=["plain"])]
    (row,) = tables[0].rows
    (hidden,) = {one.hash, other.hash} - {row.hash}
    tables[1] = replace(tables[1], rows=(replace(tables[1].rows[0], hash=hidden),))
    kept, why = with_all(choose(None, [f"mine/plain/{row.hash}-s0"]), tables)
    assert [table.name for table in kept] == ["3a"]
    assert why.startswith("Left out from the paper's tables: 3b,")


def test_a_run_with_nothing_but_an_earlier_build_is_told_the_reason(built):
    _, dme = built
    with pytest.raises(UsageProblem, match=f"{dme.name} was made on an earlier build of it.*--runs") as caught:
        choose("mine", methods=["dme"])
    assert str(caught.value).endswith("train one: oltr run dme --dataset mine")


# --- nothing finished


@pytest.fixture
def drilling(tmp_path, monkeypatch, root):
    """A recipe file of one's own, for a dataset that no known recipe is called like; the folder is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drei e.toml").write_text('[data]\nname = "drilling"\n')
    make_run(root, "zwilling", "plain")
    return root / "drilling" / "dme" / "0123456789-s0"


@pytest.mark.parametrize("watched", [False, True])
def test_before_any_run_the_recipe_that_was_given_is_in_the_command(drilling, watched):
    with pytest.raises(UsageProblem) as caught:
        choose(None, recipe="drei e.toml", unfinished_will_do=watched)
    assert str(caught.value) == "no finished run on drilling; train one: oltr run dme --recipe 'drei e.toml'"
    with pytest.raises(UsageProblem, match="no dataset 'drilling'; did you mean 'zwilling'"):
        choose("drilling")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("last.pt",), "is interrupted; repeat the oltr run command to resume"),
        ((), "is interrupted; repeat the oltr run command to resume"),
        (("last.pt", "result.json"), "is marked as failed; repeat the oltr run command to try again"),
    ],
)
def test_a_run_without_a_result_is_named_with_what_goes_on(drilling, files, said):
    drilling.mkdir(parents=True)
    (drilling / "recipe.toml").write_text('method = "dme"\n')
    for file in files:
        (drilling / file).touch()
    if "result.json" in files:
        a_failure(run_from_path(drilling)).write(drilling)
    for arguments in ({"recipe": "drei e.toml"}, {"dataset": "drilling"}):
        with pytest.raises(UsageProblem) as caught:
            choose(**{"dataset": None, **arguments})
        assert str(caught.value) == f"no finished run on drilling; drilling/dme/0123456789-s0 {said}"


def test_a_run_that_goes_on_comes_before_those_that_do_not(drilling):
    for seed in (0, 1, 2):
        folder = drilling.with_name(f"0123456789-s{seed}")
        folder.mkdir(parents=True)
        (folder / "recipe.toml").write_text('method = "dme"\n')
        (folder / "last.pt").touch()
    with pytest.raises(UsageProblem, match=r"s0, \S+s1, \S+s2 are interrupted"):
        choose("drilling")
    with FileLock(folder / ".lock"), pytest.raises(UsageProblem, match=r"drilling; \S+-s2 is running; --watch"):
        choose("drilling")


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
    assert note == f"dme: {'b' * 10} is shown, the one closest to the method's own parameters. Left out: {'a' * 10}."


def test_without_a_recipe_a_row_with_the_methods_defaults_shows_the_methods_run(root):
    make_run(root, "d", "dme")
    rows = by_key(fill("5", "d"))
    assert rows["attention-modulated"].status == rows["calibrator"].status == "measured"
    assert rows["attention-modulated"].cells == rows["calibrator"].cells
    for key in ("attention-none", "attention-spatial", "direct-feature", "memory-feature", "concept-selector"):
        assert rows[key].status == "missing"
    (alone,) = fill("5", "d", methods=["attention-modulated"]).rows
    assert alone.status == "measured"


def test_without_a_recipe_an_ablation_is_found_by_its_recorded_parameters_and_in_its_row_alone(root):
    own = load_method("dme").Params().model_dump(mode="json", by_alias=True, exclude_none=True)
    with_params(make_run(root, "d", "dme", run_hash="a" * 10), **{**own, "attention": "none"})
    rows = by_key(fill("5", "d"))
    assert (rows["attention-none"].status, rows["attention-none"].hash) == ("measured", "a" * 10)
    assert rows["attention-modulated"].status == rows["calibrator"].status == "missing"
    with_params(make_run(root, "d", "dme", run_hash="b" * 10), **own)
    rows = by_key(fill("5", "d"))
    assert rows["attention-none"].hash == "a" * 10
    assert rows["attention-modulated"].hash == rows["calibrator"].hash == "b" * 10


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
    assert (chosen, "the current recipe" in note) == ([wanted], True)
    chosen, note = choose_recipe("dme", [wanted, other], "c" * 10)
    assert (chosen, "no finished run of the current recipe" in note) == ([other], True)


# --- what to type next


def test_each_dataset_is_led_to_its_table():
    assert tables_of("imagenet-lt")[0] == "3a"
    assert [tables_of(name) for name in ("places-lt", "cifar100", "sun-lt", "mine")] == [["3b"], ["2"], ["4b"], ["3a"]]
    assert tables_of("cifar100-lt") == tables_of("cifar100-lt", recipe="cifar100-lt") == ["3a"]
    assert tables_of("cifar100-lt", recipe="cifar100-lt-resnet32") == ["cifar100-lt"]
    assert tables_of("mine", ["closed/overall", "identification/full"]) == ["4a"]
    assert compare_command("my set", "--dataset 'my set'") == "oltr compare --table 3a --dataset 'my set'"


def test_a_threshold_is_tuned_by_what_there_is():
    with_open = tune_threshold_command("my set", "dme", has_open_val=True)
    assert with_open == "oltr tune threshold --method dme --dataset 'my set'"
    without = tune_threshold_command("mine", has_open_val=False)
    assert without == "oltr tune threshold --dataset mine --rule id_quantile:0.95"
