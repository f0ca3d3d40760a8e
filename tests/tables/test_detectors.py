"""``oltr compare --table detectors``: every detector on finished runs, from their saved scores."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
import typer
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from oltr_cli.base.added_files import add_file
from oltr_cli.base.display import Display
from oltr_cli.commands.compare import compare
from oltr_cli.errors import UsageProblem
from oltr_cli.pipeline.rescoring import Rescoring, detector_names
from oltr_cli.planning.source import Source
from oltr_cli.protocol.thresholds import ThresholdRule
from oltr_cli.runs.folder import run_from_path
from oltr_cli.runs.result import read_result
from oltr_cli.runs.scores import SavedScores
from oltr_cli.tables.detectors import OWN, detector_table
from oltr_cli.tables.text import details
from tests.helpers.fake_runs import by_key, edit_result
from tests.helpers.finished_runs import environment, make_finished_runs
from tests.helpers.tiny import TINY_RECIPE

SAVED = Source("tiny", None, "--recipe FILE")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs of plain and of ldam-drw, whose classifier is a cosine; a run of knn and one of odin on plain."""
    home = tmp_path_factory.mktemp("detectors")
    patch = environment(home)
    detectors = {"plain+knn": ["detector.k=3"], "plain+odin": []}
    yield make_finished_runs(home, {"plain": [], **detectors, "ldam-drw": []})
    patch.undo()


@pytest.fixture
def runs(made, tmp_path, monkeypatch):
    """A copy in which a test may remove files, without the runs of detectors."""
    root = shutil.copytree(made.runs, tmp_path / "runs")
    for method in ("plain+knn", "plain+odin"):
        shutil.rmtree(root / "tiny" / method)
    monkeypatch.setenv("OLTR_RUNS", str(root))
    return root


def table(**options):
    return detector_table(SAVED, Display(quiet=True), **options)


def command(*arguments: str):
    app = typer.Typer()
    app.command()(compare)
    return CliRunner().invoke(app, list(arguments))


def test_there_is_a_row_for_every_detector_and_for_the_own_confidence(runs):
    filled = table(methods=["plain"])
    assert [row.spec.label for row in filled.rows] == [OWN, *detector_names()]
    assert {row.status for row in filled.rows if row.spec.label != "odin"} == {"measured"}
    empty = [i for i, cell in enumerate(by_key(filled)["plain+msp"].cells) if not cell.n]
    assert empty == [1, 5]  # no class has more than 100 images


def test_numbers_are_those_of_the_saved_logits(runs, made):
    """Energy by hand in float64; AUROC by scikit-learn; τ accepts 95 % of validation; F from counts."""
    known, open_, val = (made.scores("plain", split) for split in ("test", "open", "val"))
    energy = [np.log(np.exp(s.logits.astype(np.float64)).sum(axis=1)) for s in (known, open_, val)]
    row = by_key(table(methods=["plain"]))["plain+energy"]
    values = {column: cell.mean for column, cell in zip(range(9), row.cells, strict=True)}

    def auroc(confidence):
        return roc_auc_score(np.r_[np.ones(len(confidence)), np.zeros(len(open_))], np.r_[confidence, energy[1]])

    few = known.labels > 0  # 12 training images and fewer
    assert values[0] == pytest.approx(auroc(energy[0]))
    assert values[3] == pytest.approx(auroc(energy[0][few]))
    tau = np.sort(energy[2])[len(val) - int(np.ceil(0.95 * len(val)))]
    assert row.thresholds[0] == pytest.approx(tau, rel=1e-6)
    kept = [e.astype(np.float32) >= np.float32(row.thresholds[0]) for e in energy[:2]]
    right = int((kept[0] & (known.prediction == known.labels)).sum())
    f = 2 * right / (2 * right + (len(known) - right) + int(kept[1].sum()))
    assert values[8] == pytest.approx(f)


def test_a_stored_run_of_a_detector_is_shown_as_it_is(made, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(made.runs))
    rows = by_key(table(methods=["plain"]))
    stored = {name: read_result(made.path(name)) for name in ("plain+knn", "plain+odin")}
    for name, result in stored.items():
        assert rows[name].cells[0].mean == result.metrics["open/auroc"]
        assert rows[name].detector == result.detector
    assert rows["plain+knn"].detector.params == {"k": 3}


def test_a_detector_that_does_not_apply_is_a_row_that_says_so(runs):
    filled = table(methods=["ldam-drw"])
    rows = by_key(filled)
    assert rows["ldam-drw+react"].status == "left_out"
    (note,) = [note for note in filled.notes if "ldam-drw+fdbd" in note]
    assert note.startswith("ldam-drw+fdbd, ldam-drw+nci, ldam-drw+react, ldam-drw+scale: left out: needs a linear")
    name = rows["ldam-drw+odin"].hash
    assert rows["ldam-drw+odin"].command is None  # "tiny" is no recipe that oltr run finds
    assert any(
        f"repeat the oltr run command of tiny/ldam-drw/{name}-s0 with --detector odin" in note for note in filled.notes
    )


def test_a_command_makes_the_run_of_a_detector_only_on_a_run_of_the_recipe_as_it_is(runs, made, monkeypatch):
    """On a run with other settings it would train a run of the recipe, and the row would stay as it is."""
    (runs.parent / "data" / "tiny").mkdir(parents=True)
    monkeypatch.setenv("OLTR_DATA", str(runs.parent / "data"))
    recipe = runs.parent / "data" / "tiny" / "recipe.toml"
    recipe.write_text(TINY_RECIPE)
    row = by_key(table(methods=["plain"]))["plain+odin"]
    assert row.command == "oltr run plain --detector odin --dataset tiny"
    recipe.write_text(TINY_RECIPE.replace("epochs = 3", "epochs = 4"))
    row = by_key(table(methods=["plain"]))["plain+odin"]
    assert row.command is None


def test_without_scores_of_the_training_set_the_command_that_makes_them_is_shown(runs, made):
    (run_from_path(runs / made.names["plain"]).scores("train")).unlink()
    rows = by_key(table(methods=["plain"]))
    assert rows["plain+knn"].status == "missing"
    assert rows["plain+knn"].command == f"oltr tune detector {made.names['plain']}"
    assert rows["plain+energy"].status == "measured"


def test_without_open_images_the_table_says_so(runs, made):
    for split in ("open", "open_val"):
        run_from_path(runs / made.names["plain"]).scores(split).unlink()
    edit_result(runs / made.names["plain"], metrics={"closed/overall": 0.5, "closed/ece": 0.1})
    filled = table(methods=["plain"])
    assert by_key(filled)["plain+energy"].cells[0].mean is None
    assert "tiny has no open test images, so nothing can be measured." in filled.notes


def test_damaged_scores_are_named_in_the_rows_that_read_them(runs, made):
    run_from_path(runs / made.names["plain"]).scores("train").write_bytes(b"PK")
    filled = table(methods=["plain"])
    assert by_key(filled)["plain+knn"].status == "left_out"
    assert any("train.npz: cannot be read" in note and "plain+knn" in note for note in filled.notes)


def test_a_run_that_is_damaged_is_named_also_where_it_is_the_only_one(runs, made, capsys):
    (run_from_path(runs / made.names["plain"]).path / "result.json").write_text("{")
    with pytest.raises(UsageProblem, match="plain: no finished run on tiny"):
        table(methods=["plain"])
    told = capsys.readouterr().err
    assert told.count("result.json: is damaged") == 1
    assert "Left out:" in told


def test_below_a_table_of_two_methods_each_line_says_whose_detector_it_is(runs):
    _, lines, _ = details(table(methods=["plain,ldam-drw"]))
    names = [line[0] for line in lines]
    assert len(set(names)) == len(names)
    assert {"plain", "plain+energy", "ldam-drw", "ldam-drw+energy"} <= set(names)
    _, lines, _ = details(table(methods=["plain"]))
    assert {OWN, "energy"} <= {line[0] for line in lines}


def test_another_rule_for_tau_holds_for_every_row(runs):
    rows = table(methods=["plain"], rule=ThresholdRule.parse("val_open")).rows
    assert {row.threshold_rule for row in rows if row.status == "measured"} == {"val_open"}
    with pytest.raises(UsageProblem, match="tuned is saved for a run's own confidence"):
        table(rule=ThresholdRule.parse("tuned"))


@pytest.mark.parametrize(
    ("asked", "said"),
    [("plane", "no method 'plane'"), ("plain+knn", "give trained methods"), ("knn", "give trained methods")],
)
def test_names_that_are_no_trained_method_are_refused(runs, asked, said):
    with pytest.raises(UsageProblem, match=said.replace("+", r"\+")):
        table(methods=[asked])


def test_a_method_without_a_finished_run_is_said_to_be_missing(runs):
    notes = table(methods=["dme,plain"]).notes
    assert any("dme: no finished run on tiny; to train it: oltr run dme" in note for note in notes)
    with pytest.raises(UsageProblem, match="focal: no finished run on tiny; to train it: oltr run focal"):
        table(methods=["focal"])


def test_all_formats(runs, made, tmp_path):
    shown = command("--table", "detectors", "--dataset", "tiny", "--json", "--save", str(tmp_path / "out"))
    assert shown.exit_code == 0, shown.output
    content = json.loads(shown.stdout)
    cells = {row["key"]: row["cells"] for row in content["rows"]}
    best = max(row[0]["measured"] for row in cells.values() if row[0]["measured"] is not None)
    assert any(row[0]["best"] and row[0]["measured"] == best for row in cells.values())
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"table-detectors-tiny.{end}" for end in ("csv", "json", "md", "tex")]
    lines = list(csv.DictReader(io.StringIO((tmp_path / "out" / "table-detectors-tiny.csv").read_text())))
    assert {line["key"] for line in lines} == set(cells)
    assert f"next  oltr tune detector {made.names['ldam-drw']}" in shown.stderr


@pytest.mark.parametrize("option", [("--run",), ("--columns", "detection")])
def test_options_that_do_not_apply_are_refused(runs, option):
    shown = command("--table", "detectors", "--dataset", "tiny", *option)
    assert isinstance(shown.exception, UsageProblem)


def test_a_part_is_fitted_once(runs, made, monkeypatch):
    """``combined`` contains relative-mahalanobis, which is then not fitted a second time."""
    from oltr_cli.methods.relative_mahalanobis import RelativeMahalanobis

    run = run_from_path(runs / made.names["plain"])
    calls, fit = [], RelativeMahalanobis.fit
    monkeypatch.setattr(RelativeMahalanobis, "fit", lambda self, train: (calls.append(1), fit(self, train))[1])
    rescoring = Rescoring(run, read_result(run.path))
    parts = rescoring.fitted("combined").parts
    alone = rescoring.fitted("relative-mahalanobis")
    assert alone is parts[1]
    assert calls == [1]
    assert isinstance(rescoring.scores(alone, "val"), SavedScores)


def test_columns_of_each_open_set(runs, made):
    """A further open set that is the half of ``open``: its AUROC is that of this half, for each detector."""
    path = runs / made.names["plain"]
    open_ = made.scores("plain", "open")
    half = open_.take(slice(len(open_) // 2))
    half.save(path / "scores" / "open_far.npz")
    edit_result(path, metrics={"closed/overall": 0.5, "open_far/auroc": 0.5})
    filled = table(methods=["plain"], by_set=True)
    assert [c.group for c in filled.table.columns] == ["accuracy", *["open"] * 4, *["open_far"] * 4]
    confidence = [s.logits.max(axis=1) for s in (made.scores("plain", "test"), half)]
    expected = roc_auc_score(np.r_[np.ones(len(confidence[0])), np.zeros(len(half))], np.concatenate(confidence))
    row = by_key(filled)["plain+maxlogit"]
    assert row.cells[5].mean == pytest.approx(expected)
    shown = command("--table", "detectors", "--dataset", "tiny", "--columns", "open-sets", "--json")
    assert {"open", "open_far"} <= {column["group"] for column in json.loads(shown.stdout)["columns"]}


def test_an_added_detector_that_raises_costs_its_own_row(runs, tmp_path, no_files):
    file = tmp_path / "falls_over.py"
    file.write_text(
        "from oltr_cli.detector import Detector\n\n\n"
        "class FallsOver(Detector):\n"
        '    reads = ("logits",)\n\n'
        "    def confidence(self, block):\n"
        '        raise ValueError("not today")\n'
    )
    add_file(file)
    filled = table(methods=["plain"])
    assert by_key(filled)["plain+falls-over"].status == "left_out"
    assert by_key(filled)["plain+energy"].status == "measured"
    assert any("falls_over.py, line 8" in note and "not today" in note for note in filled.notes)


def test_a_run_without_scores_of_its_test_set_is_left_out_with_the_file_that_is_missing(runs):
    (file,) = (runs / "tiny" / "plain").glob("*/scores/test.npz")
    file.unlink()
    filled = table(methods=["plain"])
    rows = by_key(filled)
    assert rows["plain"].status == "measured"  # from its result
    assert rows["plain+energy"].status == "left_out"
    assert any(f"{file}: no such file" in note and "plain+energy" in note for note in filled.notes)
