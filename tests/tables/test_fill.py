"""Filling the paper's tables with runs: means, other thresholds, other groups, what is left out."""

import json

import numpy as np
import pytest

from oltr_cli.base.files import read_json
from oltr_cli.errors import UsageProblem
from oltr_cli.protocol.evaluate import evaluate_run
from oltr_cli.protocol.thresholds import ThresholdRule
from oltr_cli.tables.fill import fill
from oltr_cli.tables.formats import FORMATS, render
from tests.helpers.fake_runs import CLASS_COUNTS, a_failure, as_text, by_key, fake_methods, make_run

METRICS = [
    "closed/many",
    "closed/medium",
    "closed/few",
    "closed/overall",
    "open/many",
    "open/medium",
    "open/few",
    "open/f_measure",
]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three seeds of plain, two of dme, one of a method of one's own; an unfinished and a failed run."""
    fake_methods(monkeypatch)
    root = tmp_path / "runs"
    monkeypatch.setenv("OLTR_RUNS", str(root))
    for seed in (0, 1, 2):
        make_run(root, "somewhere", "plain", seed, skill=1.5)
    for seed in (0, 1):
        make_run(root, "somewhere", "dme", seed, skill=3.0)
    make_run(root, "somewhere", "mine_100%", 4)
    unfinished = make_run(root, "somewhere", "dme", 7)
    (unfinished.path / "result.json").unlink()
    failed = make_run(root, "somewhere", "dme", 8)
    a_failure(failed).write(failed.path)
    return root


def test_mean_std_and_n_are_those_of_the_runs_results(runs):
    filled = fill("3a", "somewhere")
    for method, seeds in (("plain", (0, 1, 2)), ("dme", (0, 1)), ("mine_100%", (4,))):
        row = by_key(filled)[method]
        results = [json.loads((runs / f"somewhere/{method}/0123456789-s{s}/result.json").read_text()) for s in seeds]
        assert (row.status, row.seeds, row.epochs, row.hash) == ("measured", seeds, 24, "0123456789")
        assert row.seconds == pytest.approx(90 + np.mean(seeds))
        for cell, metric, scale in zip(row.cells, METRICS, [100] * 7 + [1], strict=True):
            values = np.array([r["metrics"][metric] for r in results], np.float64) * scale
            assert cell.n == len(seeds)
            assert cell.mean == pytest.approx(values.mean(), rel=1e-12)
            if len(seeds) > 1:
                assert cell.std == pytest.approx(values.std(ddof=1), rel=1e-9)
            else:
                assert cell.std is None
            if cell.paper_value is not None:
                assert cell.delta == pytest.approx(values.mean() - cell.paper_value)


def test_dashes_of_the_paper_stay_dashes(runs):
    make_run(runs, "somewhere", "range+openmax")
    row = by_key(fill("3a", "somewhere"))["openmax"]
    assert [cell.paper for cell in row.cells] == ["-"] * 4 + ["35.8", "30.3", "17.6", "0.368"]
    assert [cell.delta is None for cell in row.cells] == [True] * 4 + [False] * 4
    assert all(cell.mean is not None for cell in row.cells)


def test_a_metric_that_cannot_be_computed_is_a_dash(runs):
    for seed in (0, 1):
        path = runs / f"somewhere/dme/0123456789-s{seed}/result.json"
        result = read_json(path)
        result["metrics"]["closed/few"] = None
        path.write_text(json.dumps(result))
    filled = fill("3a", "somewhere")
    cell = by_key(filled)["dme"].cells[2]
    assert (cell.n, cell.mean, cell.std, cell.delta) == (0, None, None, None)
    assert "– (18.5)" in render(filled, "md")
    assert "nan" not in "".join(str(render(filled, fmt)) for fmt in FORMATS[1:]).lower().replace("unavailable", "")


@pytest.mark.parametrize(
    ("rule", "shots"),
    [("val_open", "paper"), ("class_quantile:0.9", "paper"), ("oracle_test", "paper"), (None, "code")],
)
def test_other_rules_and_groups_are_evaluated_from_the_scores(runs, rule, shots):
    parsed = ThresholdRule.parse(rule) if rule else None
    filled = fill("3a", "somewhere", rule=parsed, shots=shots)
    row = by_key(filled)["plain"]
    each = [
        evaluate_run(runs / f"somewhere/plain/0123456789-s{s}", ThresholdRule.parse(rule or "fixed:0.1"), shots)
        for s in (0, 1, 2)
    ]
    for cell, metric, scale in zip(row.cells, METRICS, [100] * 7 + [1], strict=True):
        assert cell.mean == pytest.approx(np.mean([e.metrics[metric] for e in each]) * scale, rel=1e-12)
    assert row.thresholds == tuple(e.threshold.value for e in each)
    by_class = [tau for one in each for tau in one.threshold.by_class or ()]
    assert (rule == "class_quantile:0.9") == bool(by_class)
    if by_class:
        assert f"{min(by_class):.4g}–{max(by_class):.4g}" in render(filled, "md")
    if shots == "code":
        own = by_key(fill("3a", "somewhere"))["plain"]
        assert row.cells[0].mean != own.cells[0].mean, f"classes of {CLASS_COUNTS} at the borders change their group"
        assert any("≥ 100" in note for note in filled.notes)
    assert filled.marks_test_leak == (rule == "oracle_test")


def test_numbers_that_the_test_set_chose_carry_a_mark(runs):
    oracle = fill("3a", "somewhere", rule=ThresholdRule.parse("oracle_test"))
    mean = by_key(oracle)["plain"].cells[7].mean
    for text in (as_text(oracle), str(render(oracle, "md"))):
        line = next(line for line in text.splitlines() if "Plain Model" in line)
        assert f"{mean:.3f}†" in line
        assert line.count("†") == 4, "the open half alone"
        assert "† τ was chosen on the test set itself" in text
    assert rf"{mean:.3f}$\dagger$" in str(render(oracle, "tex"))
    assert "†" not in as_text(fill("3a", "somewhere"))


def test_runs_without_the_rules_data_are_left_out_with_the_reason(runs):
    for seed in (0, 1, 2):
        (runs / f"somewhere/plain/0123456789-s{seed}/scores/open_val.npz").unlink()
    (runs / "somewhere/dme/0123456789-s1/scores/open_val.npz").unlink()
    filled = fill("3a", "somewhere", rule=ThresholdRule.parse("val_open"))
    rows = by_key(filled)
    assert (rows["plain"].status, rows["plain"].command) == ("left_out", None)
    assert (rows["dme"].status, rows["dme"].seeds) == ("measured", (0,))
    assert any("plain: left out 0123456789-s0, 0123456789-s1, 0123456789-s2" in note for note in filled.notes)
    assert any("dme: left out 0123456789-s1: " in note and "open_val" in note for note in filled.notes)


def test_another_dataset_is_said_plainly(runs):
    assert "The paper's figures are for ImageNet-LT: only the trend can be compared with somewhere." in as_text(
        fill("3a", "somewhere"), 200
    )
    assert "only the trend can be compared" not in as_text(fill("3a", "imagenet-lt"), 200)
    assert json.loads(str(render(fill("3a", "somewhere"), "json")))["comparable"] is False


def test_unknown_shot_groups_are_refused(runs):
    with pytest.raises(UsageProblem, match="no definition of shot groups 'papers'; did you mean 'paper'"):
        fill("3a", "somewhere", shots="papers")


def test_threshold_free_numbers_carry_no_mark(runs):
    oracle = fill("2", "somewhere", rule=ThresholdRule.parse("oracle_test"))
    line = next(line for line in as_text(oracle).splitlines() if line.startswith("Softmax Pred."))
    assert "†" not in line, "no τ enters the detection error or the AUROC"


def test_metrics_that_results_do_not_have_are_dashes_and_said(runs):
    make_run(runs, "ms1m-lt", "plain")
    filled = fill("4a", "ms1m-lt")
    assert by_key(filled)["plain"].status == "measured"
    assert all(cell.mean is None for cell in by_key(filled)["plain"].cells)
    assert "Identification is measured only on datasets with identities." in filled.notes
    assert "Identification is measured only on datasets with identities." not in fill("4b", "ms1m-lt").notes


def test_without_a_recipe_it_is_said_that_nothing_can_be_run(runs):
    filled = fill("4b", "nowhere-lt")
    assert {row.status for row in filled.rows} == {"missing", "unavailable"}
    assert any("no recipe for nowhere-lt" in note for note in filled.notes)
    assert not any(row.command for row in filled.rows)
    assert not any("no recipe" in note for note in fill("4b", "nowhere-lt", source="mine.toml").notes)


def test_quoted_figures_are_marked_and_explained(runs):
    make_run(runs, "sun-lt", "metamodelnet")
    filled = fill("4b", "sun-lt")
    quoted = by_key(filled)["metamodelnet"]
    assert (quoted.cells[0].paper_value, quoted.cells[0].quoted) == (57.3, True)
    for fmt, mark in (("md", "57.3§"), ("tex", r"57.3\S{}"), ("rich", "")):
        text = as_text(filled) if fmt == "rich" else str(render(filled, fmt))
        assert mark in text
        assert "numbers reported in their paper" in " ".join(text.split())
    text = as_text(filled)
    assert [f"{f}§" in text for f in ("48.0", "52.4", "54.7", "57.3", "58.7")] == [False, False, True, True, False]
    mean = f"{quoted.cells[0].mean:.1f}"
    assert f"{mean}§" not in text, "what is measured here is not quoted"
    facts = {row["key"]: row["quoted"] for row in json.loads(str(render(filled, "json")))["rows"]}
    assert [key for key, mark in facts.items() if mark] == ["model-regression", "metamodelnet"]
    assert not any("§" in note for note in fill("4b", "sun-lt", methods=["plain", "dme"]).notes)


def test_a_damaged_run_without_a_row_of_its_own_is_named(runs):
    pair = make_run(runs, "somewhere", "plain+energy")
    (pair.path / "result.json").write_text("{")
    assert any("plain+energy" in note and "is damaged" in note for note in fill("3a", "somewhere").notes)
    assert not any("plain+energy" in note for note in fill("3a", "somewhere", methods=["dme"]).notes)
