"""``oltr figure``: what it writes and says, what it makes first, and how it ends."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from oltr_cli.commands.figure import figure
from oltr_cli.errors import DataProblem, NotFinite, OltrError, Stopped, UsageProblem
from oltr_cli.figures import catalogue
from oltr_cli.runs.folder import find_runs
from oltr_cli.runs.scores import SavedScores
from tests.helpers.fake_runs import fake_methods, fake_plan, make_run


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Runs of plain (seeds 0, 1) and dme (0, 1, 2) on "somewhere", whose open samples lie in folders; none of range."""
    fake_methods(monkeypatch)
    fake_plan(monkeypatch)
    root = tmp_path / "runs"
    monkeypatch.setenv("OLTR_RUNS", str(root))
    monkeypatch.chdir(tmp_path)
    for method, seeds in (("plain", 2), ("dme", 3)):
        for seed in range(seeds):
            put_into_folders(make_run(root, "somewhere", method, seed))
    return root


def put_into_folders(run):
    s = SavedScores.load(run.scores("open"))
    paths = np.array([f"open/kind {i % 6}/{i}.png" for i in range(len(s))])
    SavedScores(s.prediction, s.confidence, s.labels, paths=paths).save(run.scores("open"))


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[data]\nname = "somewhere"\n')
    return str(path)


@pytest.fixture
def made(monkeypatch, runs):
    """What would have been trained: (method, seed); range is then there."""
    calls = []

    def make_runs(chain, **_):
        run = chain[-1].run
        calls.append((run.method, run.seed))
        if run.method == "range":
            put_into_folders(make_run(runs, "somewhere", "range", run.seed))

    monkeypatch.setattr("oltr_cli.pipeline.working.make_runs", make_runs)
    return calls


def command(*arguments: str):
    app = typer.Typer()
    app.command()(figure)
    return CliRunner().invoke(app, list(arguments))


def test_it_writes_picture_and_numbers_and_names_the_runs(runs, tmp_path):
    done = command("8b", "-d", "somewhere", "--methods", "plain,dme")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "figures" / "somewhere"
    assert sorted(path.name for path in folder.iterdir()) == ["figure-8b.csv", "figure-8b.png"]
    assert "somewhere/dme/0123456789-s2" in done.stdout
    assert "seeds differ: plain 0, 1; dme 0, 1, 2" in done.stdout
    assert "oltr figure 8c" in done.stderr
    assert "next" not in done.stdout


def test_json_is_one_object(runs, tmp_path):
    out = tmp_path / "o ut"
    done = command(
        "6", "8b", "8c", "-d", "somewhere", "-m", "plain,dme", "--json", "--out", str(out), "-f", "svg", "--seed", "1"
    )
    figures = json.loads(done.stdout)["figures"]
    assert [one["figure"] for one in figures] == ["6", "8b", "8c"]
    assert figures[2]["files"] == [str(out / "figure-8c.svg"), str(out / "figure-8c.csv")]
    assert " ".join(done.stderr.split()).endswith("next oltr report --dataset somewhere")
    assert all(run.endswith("-s1") for one in figures for run in one["runs"])


def test_methods_stand_in_the_order_of_asking(runs):
    done = command("6", "-d", "somewhere", "-m", "dme,plain")
    assert done.exit_code == 0
    text = Path("figures/somewhere/figure-6.csv").read_text(encoding="utf-8")
    assert "method,group,f1_dme,f1_method,gain,std,seeds\nplain,many," in text
    assert text.splitlines()[-1].endswith(",2")  # of the seeds that both have
    alone = command("6", "-d", "somewhere", "-m", "dme")
    assert isinstance(alone.exception, UsageProblem)


def test_the_threshold_is_a_rule(runs):
    for rule in ("fixed:0.5", "val_open"):
        done = command("8c", "-d", "somewhere", "-m", "plain,dme", "--threshold", rule, "--json")
        assert f"τ by {rule};" in " ".join(json.loads(done.stdout)["figures"][0]["notes"])


def test_missing_runs_are_named_with_their_commands(runs, recipe):
    done = command("8b", "--recipe", recipe)
    assert done.exit_code != 0
    assert isinstance(done.exception, UsageProblem)
    assert str(done.exception) == (
        f"figure 8b: needs a run that is not finished; add --run, or: oltr run range --recipe {recipe}"
    )
    none = command("6", "-d", "glyphs-lt", "--seed", "3")
    assert str(none.exception) == (
        "figure 6: needs 2 runs that are not finished; add --run, or:\n"
        "  oltr run plain --dataset glyphs-lt --seed 3\n  oltr run dme --dataset glyphs-lt --seed 3"
    )


def test_without_a_recipe_there_is_nothing_to_run(runs):
    assert "give --recipe FILE" in str(command("8b", "-d", "somewhere").exception)
    assert "--run needs a recipe" in str(command("8b", "-d", "somewhere", "--run").exception)


def test_run_makes_what_is_missing(runs, recipe, made):
    done = command("8b", "--recipe", recipe, "--run", "--seeds", "2")
    assert done.exit_code == 0, done.output
    assert made == [(m, s) for s in (0, 1) for m in ("plain", "range", "dme")]
    assert "somewhere/range/0123456789-s1" in done.stdout


def test_run_with_a_seed_makes_that_one(runs, recipe, made):
    command("8b", "--recipe", recipe, "--run", "--seed", "1")
    assert {seed for _, seed in made} == {1}


def test_a_row_that_fails_is_reported_and_the_rest_goes_on(runs, recipe, monkeypatch):
    def make_runs(chain, **_):
        if chain[-1].run.method == "range":
            raise NotFinite("loss became NaN")

    monkeypatch.setattr("oltr_cli.pipeline.working.make_runs", make_runs)
    done = command("8b", "6", "--recipe", recipe, "--run")
    assert done.exit_code == 1
    assert "failed: range, seed 0: loss became NaN" in " ".join(done.stderr.split())
    assert "figure 6" in done.stdout
    assert "figure 8b" in done.stderr


def test_a_stop_stops(runs, recipe, monkeypatch):
    def make_runs(*_, **__):
        raise Stopped("stopped", 15)

    monkeypatch.setattr("oltr_cli.pipeline.working.make_runs", make_runs)
    done = command("6", "8b", "--recipe", recipe, "--run")
    assert isinstance(done.exception, Stopped)


def test_all_draws_what_there_is(runs, recipe, monkeypatch):
    monkeypatch.setattr(catalogue, "FIGURES", {k: v for k, v in catalogue.FIGURES.items() if k in ("6", "8b", "8c")})
    done = command("all", "--recipe", recipe)
    assert done.exit_code == 0
    assert "figure 6" in done.stdout
    assert "oltr run range" in done.stderr
    named = command("6", "8b", "--recipe", recipe)
    assert named.exit_code == 2


def test_open_samples_in_one_folder_have_no_classes(runs):
    s = SavedScores.load(runs / "somewhere" / "dme" / "0123456789-s0" / "scores" / "open.npz")
    paths = np.array([f"{i}.png" for i in range(len(s))])
    SavedScores(s.prediction, s.confidence, s.labels, paths=paths).save(
        runs / "somewhere" / "dme" / "0123456789-s0" / "scores" / "open.npz"
    )
    done = command("8c", "-d", "somewhere", "-m", "plain,dme")
    assert isinstance(done.exception, OltrError)
    assert done.exception.exit_code == 3
    assert "one folder" in str(done.exception)


def test_what_no_run_would_mend_is_said_before_runs_are_asked_for(runs, recipe):
    """8c without range: with one open class, a run of range would be made for nothing."""
    assert "oltr run range" in str(command("8c", "--recipe", recipe).exception)
    for run in (runs / "somewhere").glob("*/*"):
        s = SavedScores.load(run / "scores" / "open.npz")
        paths = np.array([f"strangers/b/{i}.png" for i in range(len(s))])
        SavedScores(s.prediction, s.confidence, s.labels, paths=paths).save(run / "scores" / "open.npz")
    done = command("8c", "--recipe", recipe)
    assert isinstance(done.exception, DataProblem)
    assert "the open test has only one class" in str(done.exception)
    assert "\n" not in str(done.exception)
    for run in (runs / "somewhere").glob("*/*"):
        (run / "scores" / "open.npz").unlink()
    assert "no scores of open samples" in str(command("8b", "--recipe", recipe).exception)


def test_why_a_method_cannot_be_shown_is_the_reason_given(runs, monkeypatch):
    """Notes on other recipes' runs, and on rows whose names begin alike, stand beside it."""
    make_run(runs, "somewhere", "plain", 0, "9999999999")
    for run in (runs / "somewhere" / "plain").iterdir():
        (run / "scores" / "test.npz").write_bytes(b"broken")
    done = command("8c", "-d", "somewhere", "-m", "plain", "--threshold", "fixed:0.5")
    assert isinstance(done.exception, DataProblem)
    assert "plain: left out 0123456789-s" in str(done.exception)
    assert "cannot be read" in str(done.exception)


def test_a_run_without_open_samples_is_said_so(runs):
    (runs / "somewhere" / "dme" / "0123456789-s0" / "scores" / "open.npz").unlink()
    done = command("8b", "-d", "somewhere", "-m", "dme")
    assert "no scores of open samples" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("9",), "no figure '9'"),
        (("8b", "--format", "gif"), "no format 'gif'"),
        (("8b", "--seeds", "2"), "add --run"),
        (("8a", "--alphas", "1;2"), "numbers separated by commas"),
        (("8b", "-d", "somewhere", "-m", "plaim"), "did you mean 'plain'"),
        (("8b", "-d", "somewhere", "--threshold", "best"), "neither a number nor a rule"),
        (("7", "-d", "somewhere", "-m", "plain"), "name 2"),
        (("4", "-d", "somewhere", "-m", "plain,dme"), "shows one method"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_a_line(runs, arguments, message):
    done = command(*arguments)
    assert isinstance(done.exception, UsageProblem)
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)


def test_names_of_figures():
    assert catalogue.names(["8", "8 (a)", "3", "8B"]) == ["8a", "8b", "8c", "3"]
    assert catalogue.names(["all"]) == list(catalogue.FIGURES)
    for name in catalogue.FIGURES:
        spec = catalogue.load(name)
        assert (spec.name, spec.title) == (name, catalogue.FIGURES[name][1])


def test_a_damaged_run_is_a_note_and_the_others_are_drawn(runs):
    (runs / "somewhere/dme/0123456789-s1/result.json").write_text("7")
    drawn = json.loads(command("6", "--dataset", "somewhere", "--threshold", "-0.5", "--json").stdout)["figures"][0]
    assert [name.rpartition("/")[2] for name in drawn["runs"]] == ["0123456789-s0"] * 2
    assert any("dme/0123456789-s1/result.json: is damaged" in note for note in drawn["notes"])
    assert any("fixed:-0.5" in note for note in drawn["notes"])


def test_the_next_figure_is_none_of_those_that_could_not_be_drawn(runs):
    for run in find_runs():  # without the folders of open samples there is no 8c
        s = SavedScores.load(run.scores("open"))
        SavedScores(s.prediction, s.confidence, s.labels).save(run.scores("open"))
    done = command("8b", "8c", "--dataset", "somewhere", "--methods", "plain,dme")
    assert "figure 8b" in done.stdout
    assert "warning: figure 8c:" in done.stderr
    assert "next oltr report --dataset somewhere" in " ".join(done.stderr.split())


def test_a_dry_run_says_why_a_figure_cannot_be_drawn(oltr, tiny_recipe):
    refused = oltr("figure", "8a", "--recipe", tiny_recipe, "--run", "--dry-run", "--rate", "10", check=2)
    assert "error: figure 8a: needs one dataset at several α" in refused.stderr
    both = oltr("figure", "8a", "6", "--recipe", tiny_recipe, "--run", "--dry-run", "--rate", "10")
    assert "warning: figure 8a: needs one dataset at several α" in both.stderr
    assert "plain" in both.stdout
