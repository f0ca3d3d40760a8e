"""``oltr compare``: what it shows, what it makes, in which order, and how it ends."""

import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from oltr_cli.base import added_files
from oltr_cli.commands.compare import compare
from oltr_cli.errors import DataProblem, NotFinite, OltrError, Stopped
from oltr_cli.tables.fill import DAMAGED
from oltr_cli.tables.formats import FORMATS
from tests.helpers.fake_runs import fake_hash, fake_methods, fake_plan, make_run


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A run of plain and two of dme on "somewhere"; methods and recipes that do not depend on the project's."""
    fake_methods(monkeypatch)
    fake_plan(monkeypatch)
    root = tmp_path / "runs"
    monkeypatch.setenv("OLTR_RUNS", str(root))
    make_run(root, "somewhere", "plain")
    make_run(root, "somewhere", "dme", 0)
    make_run(root, "somewhere", "dme", 1)
    return root


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[data]\nname = "somewhere"\n')
    return str(path)


@pytest.fixture
def asked(monkeypatch):
    """What would have been trained: (method, its hash, seed)."""
    calls = []

    def make_runs(chain, **_):
        run = chain[-1].run
        calls.append((run.method, run.hash, run.seed))

    monkeypatch.setattr("oltr_cli.pipeline.working.make_runs", make_runs)
    return calls


def command(*arguments: str):
    app = typer.Typer()
    app.command()(compare)
    return CliRunner().invoke(app, list(arguments))


def one_line(text: str) -> str:
    return " ".join(text.split())


# --- showing


def test_a_method_without_a_run_is_shown_as_missing_with_its_command(runs):
    shown = command("--dataset", "glyphs-lt", "--methods", "crt")
    assert shown.exit_code == 0
    assert re.search(r"^crt +(– +){7}–", shown.stdout, re.M)
    assert "crt oltr run crt --dataset glyphs-lt" in one_line(shown.stdout)
    assert one_line(shown.stderr).removeprefix("starting torch … ") == "next oltr run crt --dataset glyphs-lt"
    several = command("--dataset", "glyphs-lt", "--methods", "crt,a-old").stdout
    assert re.search(r"\(oltr run METHOD --dataset glyphs-lt\): (a-old, crt|crt, a-old)", one_line(several))


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_table_without_any_row_is_printed(runs, fmt):
    assert command("--dataset", "somewhere", "--methods", ",", "--format", fmt).exit_code == 0


@pytest.mark.parametrize("text", ["-27.3", "fixed:-27.3"])
def test_any_number_is_a_threshold(runs, text, tmp_path):
    shown = command("--dataset", "somewhere", "--threshold", text, "--json", "--save", str(tmp_path))
    rows = {row["key"]: row for row in json.loads(shown.stdout)["rows"]}
    assert (rows["dme"]["threshold_rule"], rows["dme"]["thresholds"]) == ("fixed:-27.3", [-27.3, -27.3])
    assert (tmp_path / "table-3a-somewhere-fixed--27.3.md").is_file()


def test_a_damaged_run_is_a_note_and_the_others_are_shown(runs):
    (runs / "somewhere/dme/0123456789-s1/result.json").write_text("[]")
    shown = command("--dataset", "somewhere", "--json")
    assert shown.exit_code == 0
    told = json.loads(shown.stdout)
    assert [row["seeds"] for row in told["rows"] if row["key"] == "dme"] == [[0]]
    (note,) = (note for note in told["notes"] if note.startswith(DAMAGED))
    assert "somewhere/dme/0123456789-s1/result.json: is damaged" in note
    others = json.loads(command("--dataset", "somewhere", "--methods", "plain", "--json").stdout)
    assert not any(note.startswith(DAMAGED) for note in others["notes"])


def test_it_shows_the_table_and_the_next_step(runs):
    shown = command("--dataset", "somewhere")
    assert shown.exit_code == 0
    assert "Table 3 (a)" in shown.stdout
    assert "oltr tune threshold --dataset somewhere" in shown.stderr
    assert "next" not in shown.stdout


def test_the_next_step_is_the_papers_method_where_that_is_missing(runs, recipe):
    assert "oltr run range --recipe" in one_line(command("--recipe", recipe).stderr)
    fresh = command("--table", "5", "--dataset", "glyphs-lt")
    assert one_line(fresh.stderr).endswith("next oltr run dme --dataset glyphs-lt")


def test_json_is_one_object_and_nothing_else(runs, tmp_path):
    shown = command("--dataset", "somewhere", "--json", "--save", str(tmp_path / "results"))
    assert json.loads(shown.stdout)["dataset"] == "somewhere"
    assert "table-3a-somewhere.md" in shown.stderr.replace("\n", "")
    assert (tmp_path / "results" / "table-3a-somewhere.tex").is_file()


@pytest.mark.parametrize("option", ["--methods", "--method", "-m"])
def test_rows_are_chosen_by_names_with_commas_and_globs(runs, option):
    rows = json.loads(command("--dataset", "somewhere", "--json", option, "dme,plain*", option, "crt").stdout)["rows"]
    assert [row["key"] for row in rows] == ["plain", "dme", "plain-equal-budget", "crt"]


def test_a_dataset_without_a_recipe_is_shown_all_the_same(runs, asked):
    shown = command("--table", "4b", "--dataset", "somewhere")
    assert shown.exit_code == 0
    assert "paper" in shown.stdout
    assert "There is no recipe for somewhere; to train missing rows, give one with --recipe FILE." in one_line(
        shown.stdout
    )
    assert "oltr run" not in shown.stdout + shown.stderr
    made = command("--table", "4b", "--dataset", "somewhere", "--run")
    assert isinstance(made.exception, OltrError)
    assert made.exception.exit_code == 2
    assert "--run needs a recipe" in str(made.exception)
    assert asked == []


@pytest.mark.parametrize(
    ("table", "name"), [("2", "cifar100"), ("3b", "places-lt"), ("4a", "ms1m-lt"), ("4b", "sun-lt")]
)
def test_every_table_of_the_paper_has_a_recipe(runs, table, name):
    shown = command("--table", table)
    assert shown.exit_code == 0
    assert f"oltr run dme --dataset {name}" in one_line(shown.stdout)


def test_a_dataset_of_ones_own_can_be_run(runs, asked, monkeypatch, tmp_path):
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "mine").mkdir(parents=True)
    (tmp_path / "data" / "mine" / "recipe.toml").write_text("# mine: photographs\n[data]\nname = 'mine'\n")
    made = command("--table", "3a", "--dataset", "mine", "--methods", "plain", "--run")
    assert made.exit_code == 0, made.output
    assert len(asked) == 1


def test_methods_from_a_file_are_a_row_below_their_own_heading(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(added_files, "_added", {})
    file = tmp_path / "my_own.py"
    file.write_text('"""Mine."""\nfrom oltr_cli.method import Method\n\n\nclass Mine(Method):\n    pass\n')
    shown = command("--dataset", "glyphs-lt", "--methods-from", str(file), "-m", "my-own,dme", "--json")
    assert [(row["key"], row["heading"]) for row in json.loads(shown.stdout)["rows"]] == [
        ("dme", ""),
        ("my-own", "your own methods"),
    ]
    assert command("--methods-from", str(tmp_path / "gone.py")).exit_code == 2


# --- making


def test_every_row_is_made_seed_by_seed_and_said(runs, recipe, asked):
    made = command("--recipe", recipe, "--run", "--seeds", "2", "-m", "range,openmax,plain-equal-budget,dme+energy")
    assert made.exit_code == 0
    trained = [("range", fake_hash("range")), ("plain", fake_hash("plain", "train.epochs=28"))]
    detectors = [(name, fake_hash(name)) for name in ("range+openmax", "dme+energy")]
    assert asked == [(*row, seed) for rows in (trained, detectors) for seed in (0, 1) for row in rows]
    said = one_line(made.stderr)
    assert f"run 1 of 8: somewhere/range/{fake_hash('range')}-s0 (range, seed 0)" in said
    assert "-s1 (plain-equal-budget, seed 1)" in said


def test_without_names_all_rows_at_hand_are_made(runs, recipe, asked):
    command("--recipe", recipe, "--run")
    assert [method for method, *_ in asked] == [
        *("plain", "range", "dme"),
        *("plain", "crt", "a-old", "mine_100%"),
        "range+openmax",
    ]
    asked.clear()
    command("--recipe", recipe, "--run", "--table", "2", "-m", "odin")
    tuned = [(name, fake_hash(name, "detector.tune=true"), 0) for name in ("plain+odin", "dme+odin")]
    assert asked == [*tuned, ("plain+odin", fake_hash("plain+odin"), 0)]


def test_what_fails_is_named_and_the_rest_goes_on(runs, recipe, monkeypatch):
    asked = []

    def make_runs(chain, *, device, **_):
        method, seed = chain[-1].run.method, chain[-1].run.seed
        asked.append((method, seed, device))
        if method == "plain" and seed == 1:
            raise NotFinite("cross_entropy is not finite")
        if method == "dme" and seed == 1:
            raise DataProblem("train.txt: no such file")

    monkeypatch.setattr("oltr_cli.pipeline.working.make_runs", make_runs)
    shown = command("--recipe", recipe, "--run", "--seeds", "2", "--device", "cpu", "-m", "plain,dme")
    assert asked == [(m, s, "cpu") for s in (0, 1) for m in ("plain", "dme")]
    assert shown.exit_code == 1
    assert "Table 3 (a)" in shown.stdout
    tail = one_line(shown.stderr)
    assert "failed: plain, seed 1: cross_entropy is not finite" in tail
    assert "failed: dme, seed 1: train.txt: no such file" in tail


def test_commands_to_repeat_it_name_the_added_files(recipe, tmp_path, monkeypatch, no_files):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    Path("own files").mkdir()
    Path("own files/my_own.py").write_text(
        "from oltr_cli.methods.plain import Plain\nclass Mine(Plain):\n    starts_from = 'plain'\n"
    )

    def make_runs(chain, **_):
        if chain[-1].run.method == "my-own":
            raise TypeError

    monkeypatch.setattr("oltr_cli.pipeline.working.make_runs", make_runs)
    options = ("--dataset", "glyphs-lt", "--methods-from", "own files/my_own.py", "-m", "my-own")
    shown = command(*options, "--run", "--json")
    again = "oltr run my-own --dataset glyphs-lt --methods-from 'own files/my_own.py'"
    assert f"failed: my-own, seed 0: TypeError; for the traceback: {again}" in one_line(shown.stderr)
    assert f"next {again}" in one_line(shown.stderr)
    assert [row["command"] for row in json.loads(shown.stdout)["rows"]] == [again]
    monkeypatch.setattr(added_files, "_added", {})
    monkeypatch.setenv("OLTR_METHODS", "own files/my_own.py")
    shown = command("--dataset", "glyphs-lt", "-m", "my-own", "--json")
    assert [row["command"] for row in json.loads(shown.stdout)["rows"]] == [again.partition(" --methods-from")[0]]


def test_a_row_whose_assignments_do_not_resolve_fails_alone(runs, recipe, asked, monkeypatch):
    def equal_budget(method, source):
        raise DataProblem("no stages")

    monkeypatch.setattr("oltr_cli.planning.plan.equal_budget", equal_budget)
    shown = command("--recipe", recipe, "--run", "-m", "plain*,dme")
    assert shown.exit_code == 1
    assert [method for method, *_ in asked] == ["plain", "dme"]
    assert "failed: plain-equal-budget, seed 0: no stages" in one_line(shown.stderr)


def test_a_signal_stops_it_at_once(runs, recipe, monkeypatch):
    asked = []

    def make_runs(chain, **_):
        asked.append(chain[-1].run.method)
        raise Stopped("stopped, checkpoint written", 15)

    monkeypatch.setattr("oltr_cli.pipeline.working.make_runs", make_runs)
    shown = command("--recipe", recipe, "--run")
    assert asked == ["plain"]
    assert isinstance(shown.exception, Stopped)
    assert shown.exception.exit_code == 143


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table", "3aa"], "did you mean '3a'"),
        (["--dataset", "somewhre"], "no dataset 'somewhre'; did you mean 'somewhere'"),
        (["--dataset", "somewhere", "--recipe", "x.toml"], "give one of them"),
        (["--method", "dmee"], "no method 'dmee'; did you mean 'dme'"),
        (["--methods", "dme,zz*", "--run", "--dataset", "glyphs-lt"], "no method 'zz*'; known: "),
        (["--format", "mdd"], "no format 'mdd'; did you mean 'md'"),
        (["--format", "markdown"], "no format 'markdown'; did you mean 'md'?"),
        (["--format", "LaTeX"], "no format 'LaTeX'; did you mean 'tex'?"),
        (["--seeds", "3"], "add --run"),
        (["--launcher", "local:2"], "--launcher only applies to several runs; add --run"),
        (["--launcher-set", "time=3", "--run"], "--launcher-set is for jobs: add --launcher"),
        (["--launcher", "lokal:2", "--run"], "did you mean 'local'"),
        (["--threshold", "val_opne"], "did you mean 'val_open'"),
        (["--dataset", "somewhere", "--run"], "--run needs a recipe"),
    ],
)
def test_what_does_not_fit_is_refused(runs, asked, arguments, message):
    shown = command(*arguments)
    assert isinstance(shown.exception, OltrError)
    assert shown.exception.exit_code == 2
    assert message in str(shown.exception)
    assert shown.stdout == ""
    assert asked == []
