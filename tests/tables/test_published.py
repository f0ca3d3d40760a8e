"""``--table cifar100-lt``: figures quoted from several sources, some of them ranges, and the runs beside them."""

import csv
import io
import json
import math

import pytest
import typer
from typer.testing import CliRunner

from oltr_cli.commands.compare import compare
from oltr_cli.commands.show import show
from oltr_cli.planning.plan import plan
from oltr_cli.planning.source import Source, find_source
from oltr_cli.tables.fill import fill
from oltr_cli.tables.filled import Cell
from oltr_cli.tables.formats import render
from oltr_cli.tables.paper import Table, limits, load_table
from oltr_cli.tables.rows import UNPUBLISHED
from tests.helpers.fake_runs import as_text, by_key, fake_hash, fake_methods, fake_plan, make_run

NAME, RECIPE = "cifar100-lt", "cifar100-lt-resnet32"
OVERALL = 3  # its column
FIGURES = {
    "plain": ("39.1–40.3", 39.1, 40.3),
    "ldam-drw": ("42.0–42.9", 42.0, 42.9),
    "logit-adjustment": ("43.9–45.3", 43.9, 45.3),
    "balanced-softmax": ("45.1–46.5", 45.1, 46.5),
    "crt": ("43.3", 43.3, 43.3),
    "label-aware-smoothing": ("47.0", 47.0, 47.0),
    "maxnorm": ("> 52", 52.0, math.inf),
}
FROM_SCRATCH = ("ldam-drw", "logit-adjustment", "balanced-softmax")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """No runs yet; methods and recipes that do not depend on the project's."""
    fake_methods(monkeypatch)
    fake_plan(monkeypatch)
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def command(function, *arguments):
    app = typer.Typer()
    app.command()(function)
    return CliRunner().invoke(app, list(arguments))


def test_every_figure_is_quoted_and_says_from_where():
    rows = load_table(NAME).rows
    assert {row.method: (row.figures[OVERALL], *limits(row.figures[OVERALL])) for row in rows} == FIGURES
    assert all(row.quoted and row.source for row in rows)
    assert {row.method: row.epochs for row in rows if row.epochs != "200"} == {
        "crt": "100, as its heading says",
        "label-aware-smoothing": "200+10",
        "maxnorm": "",
    }


@pytest.mark.parametrize("figure", ["40.3–39.1", "39.1–39.1", "39.1–", "–40.3", ">52", "< 52", "39.1-40.3"])
def test_what_is_no_figure(figure):
    columns = [{"name": "x", "metric": "closed/many"}]
    head = {"label": "", "caption": "", "source": "", "dataset": "d", "dataset_title": "D", "columns": columns}
    row = {"label": "a", "method": "a", "figures": [figure]}
    with pytest.raises(ValueError, match=r"is no range|could not convert"):
        Table.model_validate({**head, "rows": [row]})


@pytest.mark.parametrize(
    ("figure", "measured", "delta"),
    [
        ("39.1–40.3", 38.1, -1.0),
        ("39.1–40.3", 39.1, 0.0),
        ("39.1–40.3", 40.0, 0.0),
        ("39.1–40.3", 42.3, 2.0),
        ("> 52", 50.0, -2.0),
        ("> 52", 60.0, 0.0),
        ("43.3", 44.3, 1.0),
    ],
)
def test_the_difference_to_a_range_is_to_its_nearer_end(figure, measured, delta):
    assert Cell(figure, (measured,)).delta == pytest.approx(delta)


def test_a_range_in_every_format(runs):
    make_run(runs, NAME, "plain", 0, fake_hash("plain"))
    filled = fill(NAME, NAME, source=RECIPE)
    cell = by_key(filled)["plain"].cells[OVERALL]
    assert cell.mean is not None
    difference = cell.mean - (39.1 if cell.mean < 39.1 else 40.3)
    assert abs(difference) > 1, "the made run is outside of the range"
    shown = f"{difference:+.1f}".replace("-", "−")

    text = as_text(filled, 120)
    assert "39.1–40.3§" in text
    assert "> 52§" in text
    assert f"Δ {shown}" in " ".join(text.split())
    assert "  published" in text
    assert f"(39.1–40.3§, Δ {shown})" in str(render(filled, "md"))
    assert "(the published figure)" in str(render(filled, "md"))
    latex = str(render(filled, "tex"))
    assert r"\textit{39.1--40.3\S{}}" in latex
    assert r"\textit{$>$ 52\S{}}" in latex
    assert "the published figure below" in latex

    rows = {row["key"]: row for row in json.loads(str(render(filled, "json")))["rows"]}
    lines = {line["key"]: line for line in csv.DictReader(io.StringIO(str(render(filled, "csv"))))}
    for key, (_, low, high) in FIGURES.items():
        printed = rows[key]["cells"][OVERALL]
        single, top = low if low == high else None, high if math.isfinite(high) else None
        assert (printed["paper"], printed["paper_low"], printed["paper_high"]) == (single, low, top)
        ends = [lines[key][f"{name}_closed/overall"] for name in ("paper", "paper_low", "paper_high")]
        assert ends == ["" if number is None else str(number) for number in (single, low, top)]
        assert rows[key]["quoted"] is True
    assert rows["plain"]["published_epochs"] == "200"
    assert rows["plain"]["cells"][OVERALL]["delta"] == pytest.approx(difference)
    assert rows["plain"]["cells"][0]["paper_low"] is None


def test_sources_and_epochs_are_below_the_rows_shown(runs):
    notes = fill(NAME, NAME, source=RECIPE).notes
    assert (
        "§ Softmax (CE), LDAM-DRW, Logit adjustment (loss), Balanced softmax: OpenLT's README, as reported – as "
        "re-implemented there; epochs: 200."
    ) in notes
    assert any(note.startswith("§ Weight balancing: ") and note.endswith("epochs: not known.") for note in notes)
    latex = str(render(fill(NAME, NAME, source=RECIPE), "tex"))
    assert any(line.startswith(r"\par") and "OpenLT's README" in line for line in latex.splitlines())
    alone = fill(NAME, NAME, source=RECIPE, methods=["crt"]).notes
    assert [note.partition(":")[0] for note in alone if "epochs: " in note] == ["§ Decoupled (cRT)"]
    assert not any("epochs: " in note for note in fill(NAME, NAME, columns="detection").notes)
    assert any(note.startswith("The published figures are for") for note in fill(NAME, "glyphs-lt").notes)


def test_runs_with_fewer_epochs_are_shown_with_theirs(runs):
    make_run(runs, NAME, "plain", 0, "aaaaaaaaaa")  # not the hash of the current recipe
    filled = fill(NAME, NAME, source=RECIPE)
    row = by_key(filled)["plain"]
    assert (row.status, row.stages) == ("measured", "14+10")
    wanted = fake_hash("plain")
    assert f"plain: no finished run of the current recipe ({wanted}); aaaaaaaaaa is shown." in filled.notes


def test_other_methods_are_listed_without_a_figure(runs):
    make_run(runs, NAME, "a-old", 0, fake_hash("a-old"))
    rows = by_key(fill(NAME, NAME, source=RECIPE))
    assert rows["a-old"].spec.heading == rows["dme"].spec.heading == UNPUBLISHED
    assert all(cell.paper is None for cell in rows["a-old"].cells)


def test_the_recipe_trains_from_nothing_what_its_papers_do():
    for method in FROM_SCRATCH:
        (only,) = plan(method, RECIPE, [], seed=0)
        assert only.epochs == 200
        assert only.link.recipe.train.from_scratch is True
    params = plan("logit-adjustment", RECIPE, [], seed=0)[-1].link.recipe.params
    assert params.form == "loss"
    for method in ("crt", "label-aware-smoothing", "maxnorm", "dme"):
        assert [one.link.recipe.method for one in plan(method, RECIPE, [], seed=0)] == ["plain", method]


def test_what_the_recipe_says_of_these_methods_leaves_the_hashes_of_others():
    assert plan("plain", RECIPE, [], seed=0)[-1].link.hash == "e40b36c511"
    sets = ["plain.train.epochs=100", "plain.train.milestones=[80,90]"]
    assert plan("plain", RECIPE, sets, seed=0)[-1].link.hash == "51b7738ab5"
    assert plan("crt", RECIPE, [], seed=0)[-1].link.hash == "a94726d78b"


def test_the_table_has_a_recipe_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    assert Source.of_dataset(RECIPE) == Source(NAME, RECIPE, f"--dataset {RECIPE}")
    assert find_source(None, None, load_table(NAME).default_recipe).dataset == NAME
    calls = []
    monkeypatch.setattr("oltr_cli.pipeline.working.make_runs", lambda chain, **_: calls.append(chain[-1].run))
    done = command(compare, "--table", NAME, "--methods", "plain,ldam-drw", "--run", "--json")
    assert done.exit_code == 0, done.output
    assert calls == [plan(method, RECIPE, [], seed=0)[-1].run for method in ("plain", "ldam-drw")]
    filled = json.loads(done.stdout)
    assert (filled["dataset"], filled["comparable"]) == (NAME, True)
    assert filled["rows"][1]["command"] == f"oltr run ldam-drw --dataset {RECIPE}"
    # The recipe's own table is shown without being named.
    assert json.loads(command(compare, "--dataset", RECIPE, "--json").stdout)["table"] == NAME
    assert json.loads(command(compare, "--dataset", NAME, "--json").stdout)["table"] == "3a"


def test_show_names_the_source_of_a_quoted_figure():
    shown = " ".join(command(show, "crt").stdout.split())
    assert '(quoted from the model zoo of RIDE, "Decouple (cRT/tau-norm/LWS)") Decoupled (cRT):' in shown
    (figures,) = json.loads(command(show, "crt", "--json").stdout)["paper"]
    assert figures["figures"] == {"closed-set setting Overall": "43.3"}
    assert {one["source"] for one in json.loads(command(show, "lifted", "--json").stdout)["paper"]} == {"the paper"}
