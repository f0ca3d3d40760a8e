"""Further open sets: each is measured as if it were the only open samples, and no threshold sees any of them."""

import io

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score

from oltr_cli.errors import DataProblem
from oltr_cli.protocol.by_group import every_metric
from oltr_cli.protocol.catalogue import METRICS, OF_A_SET, metric
from oltr_cli.protocol.evaluate import evaluate_run, evaluate_scores
from oltr_cli.protocol.open_sets import is_further, is_open, is_open_set, scored_sets
from oltr_cli.protocol.screen import table
from oltr_cli.protocol.thresholds import ThresholdRule
from oltr_cli.tables.fill import fill
from tests.helpers.fake_runs import CLASS_COUNTS, as_text, edit_result, fake_methods, make_run, random_scores

FIXED = ThresholdRule.parse("fixed:0.3")


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    sizes = {"test": 300, "open": 90, "val": 120, "open_val": 50, "open_far": 40, "open_near": 70}
    return {name: random_scores(rng, size, name.startswith("open"), 2.0) for name, size in sizes.items()}


def test_names():
    splits = ("train", "val", "test", "open", "open_val", "open_far", "open_train", "probe", "distractors")
    assert [split for split in splits if is_open(split)] == ["open", "open_val", "open_far", "open_train"]
    assert [split for split in splits if is_open_set(split)] == ["open_far"]
    assert [split for split in splits if is_further(split)] == ["open_far", "open_train"]


def test_each_set_has_the_numbers_that_open_would_have_with_it(scores):
    sets = {name: scores[name] for name in ("open_far", "open_near")}
    found = every_metric(scores["test"], scores["open"], CLASS_COUNTS, 0.3, sets=sets)
    assert {name: found[name] for name in METRICS} == every_metric(scores["test"], scores["open"], CLASS_COUNTS, 0.3)
    assert len(found) == len(METRICS) + 2 * len(OF_A_SET)
    for name, one in sets.items():
        alone = every_metric(scores["test"], one, CLASS_COUNTS, 0.3)
        assert {rest: found[f"{name}/{rest}"] for rest in OF_A_SET} == {r: alone[f"open/{r}"] for r in OF_A_SET}
        truth = np.r_[np.ones(300), np.zeros(len(one))]
        ranked = roc_auc_score(truth, np.r_[scores["test"].confidence, one.confidence])
        assert found[f"{name}/auroc"] == pytest.approx(ranked, abs=1e-12)


def test_what_depends_on_known_samples_alone_is_not_repeated(scores):
    """Every other metric under open/ differs between two sets, or can."""
    one, other = (every_metric(scores["test"], scores[name], CLASS_COUNTS, 0.3) for name in ("open_far", "open_near"))
    same = {name.removeprefix("open/") for name in METRICS if name.startswith("open/") and one[name] == other[name]}
    assert same == {name.removeprefix("open/") for name in METRICS if name.startswith("open/")} - {*OF_A_SET}


def test_a_sets_metric_is_shown_as_that_of_open():
    about = metric("open_far/fpr95")
    assert (about.name, about.unit, about.better, about.needs_threshold) == (
        "open_far/fpr95",
        "percent",
        "lower",
        False,
    )
    assert about.label == f"{METRICS['open/fpr95'].label}, open_far"
    assert metric("open_far/f_measure").needs_threshold
    assert metric("open_far/overall").label == "open_far/overall"  # there is none


@pytest.mark.parametrize("rule", ["val_open", "id_quantile:0.95", "oracle_test"])
def test_no_threshold_is_chosen_on_them(scores, rule):
    rest = (CLASS_COUNTS, ThresholdRule.parse(rule), "paper", scores["val"], scores["open_val"])
    without = evaluate_scores(scores["test"], scores["open"], *rest)
    shown = evaluate_scores(scores["test"], scores["open"], *rest, sets={"open_far": scores["open_far"]})
    assert shown.threshold == without.threshold
    assert shown.counts == {**without.counts, "open_far": 40}


def test_without_open_txt_each_set_is_measured_all_the_same(scores):
    shown = evaluate_scores(scores["test"], None, CLASS_COUNTS, FIXED, sets={"open_far": scores["open_far"]})
    assert shown.metrics["open/auroc"] is None
    assert shown.metrics["open_far/auroc"] > 0.5
    console = Console(width=80, file=io.StringIO())
    console.print(table(shown))
    assert "no open samples of open.txt" in console.file.getvalue()
    with pytest.raises(DataProblem, match="there are no scores of open"):
        evaluate_scores(
            scores["test"],
            None,
            CLASS_COUNTS,
            ThresholdRule.parse("oracle_test"),
            sets={"open_far": scores["open_far"]},
        )


def test_numbers_of_samples_have_a_column_only_where_they_are_known(scores):
    shown = evaluate_scores(scores["test"], scores["open"], CLASS_COUNTS, FIXED, sets={"open_far": scores["open_far"]})
    for evaluated, headed in ((shown, True), (shown.model_copy(update={"counts": None}), False)):
        console = Console(file=io.StringIO(), width=100)
        console.print(table(evaluated))
        assert ("samples │" in console.file.getvalue()) == headed


def test_labels_of_a_set_are_checked(scores):
    with pytest.raises(DataProblem, match="scores of open_far: open samples are labelled −1, but this label is not"):
        evaluate_scores(scores["test"], None, CLASS_COUNTS, FIXED, sets={"open_far": scores["val"]})


@pytest.fixture
def runs(tmp_path, monkeypatch, scores):
    """Of plain, with scores of a further set, and of dme, without."""
    fake_methods(monkeypatch)
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    made = {method: make_run(tmp_path / "runs", "glyphs-lt", method) for method in ("plain", "dme")}
    run = made["plain"]
    scores["open_far"].save(run.scores("open_far"))
    scores["open_far"].save(run.scores("open_train"))  # no set
    edit_result(run.path, metrics=evaluate_run(run.path, ThresholdRule.parse("fixed:0.1")).metrics)
    return made


def test_a_run_is_evaluated_on_all_its_sets(runs):
    assert scored_sets(runs["plain"].path) == ["open_far"]
    shown = evaluate_run(runs["plain"].path, ThresholdRule.parse("val_open"))
    assert shown.counts["open_far"] == 40
    console = Console(width=80, file=io.StringIO())
    console.print(table(shown))
    (line,) = [line for line in console.file.getvalue().splitlines() if "open_far" in line]
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    wanted = ("auroc", "auroc_many", "auroc_medium", "auroc_few", "fpr95", "f_measure")
    said = [metric(f"open/{name}").shown(shown.metrics[f"open_far/{name}"]) for name in wanted]
    assert cells == ["open_far", *said, "40"]
    assert all(len(line) <= 80 for line in console.file.getvalue().splitlines())


def test_compare_has_a_column_for_each_set(runs):
    filled = fill("3a", "glyphs-lt", columns="open-sets")
    names = [column.metric for column in filled.table.columns]
    assert names[1:] == [f"{s}/{m}" for s in ("open", "open_far") for m in ("auroc", "auroc_few", "fpr95", "f_measure")]
    place = names.index("open_far/auroc")
    cells = {row.method: row.cells[place].mean for row in filled.rows if row.status == "measured"}
    assert cells["plain"] == runs["plain"].result().metrics["open_far/auroc"]
    assert cells["dme"] is None
    assert "An open set without a number was added after the run" in as_text(filled)
    alone = fill("3a", "glyphs-lt", columns="open-sets", methods=["plain"])
    assert "without a number" not in as_text(alone)
