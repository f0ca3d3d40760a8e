"""Threshold rules: how they are typed, and what they choose, against brute force."""

import math
import shlex

import numpy as np
import pytest

from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.protocol.metrics import all_metrics
from oltr_cli.protocol.thresholds import (
    FMeasureCurve,
    ThresholdRule,
    best_f_measure,
    choose_threshold,
    quantile_threshold,
    saved_threshold,
)
from oltr_cli.runs.scores import SavedScores
from tests.helpers.fake_runs import make_run


def scores(prediction, confidence, labels) -> SavedScores:
    return SavedScores(
        np.asarray(prediction, np.int64), np.asarray(confidence, np.float32), np.asarray(labels, np.int64)
    )


def random_scores(seed: int, known: int = 40, open_: int = 25, levels: int = 10) -> tuple[SavedScores, SavedScores]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=known)
    prediction = np.where(rng.random(known) < 0.6, labels, rng.integers(4, size=known))
    return (
        scores(prediction, rng.integers(1, levels + 3, size=known) / levels, labels),
        scores(rng.integers(4, size=open_), rng.integers(1, levels, size=open_) / levels, np.full(open_, -1)),
    )


def naive_f_measure(known: SavedScores, open_: SavedScores, tau: float) -> float:
    right = kept_open = 0
    for y, p, c in zip(known.labels.tolist(), known.prediction.tolist(), known.confidence.tolist(), strict=True):
        right += y == p and c >= tau
    for c in open_.confidence.tolist():
        kept_open += c >= tau
    if not right:
        return 0.0
    precision, recall = right / len(known), right / (right + kept_open)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("text", "name", "argument"),
    [
        ("fixed:0.1", "fixed", 0.1),
        ("fixed:0", "fixed", 0.0),
        ("fixed:12.5", "fixed", 12.5),
        ("fixed:-27.3", "fixed", -27.3),
        ("0.5", "fixed", 0.5),
        (" 12 ", "fixed", 12.0),
        ("-27.3", "fixed", -27.3),
        ("-0", "fixed", 0.0),
        ("id_quantile:0.95", "id_quantile", 0.95),
        ("id_quantile:1", "id_quantile", 1.0),
        ("val_open", "val_open", None),
        ("oracle_test", "oracle_test", None),
        ("tuned", "tuned", None),
        ("own", "own", None),
    ],
)
def test_rules_are_read_and_written_back(text, name, argument):
    rule = ThresholdRule.parse(text)
    assert rule == ThresholdRule(name, argument)
    assert ThresholdRule.parse(rule.text) == rule
    assert rule.marks_test_leak == (text == "oracle_test")


def test_the_usual_rules_keep_the_text_they_were_typed_with():
    for text in ("fixed:0.1", "id_quantile:0.95", "val_open", "oracle_test", "tuned"):
        assert ThresholdRule.parse(text).text == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("val_opn", "did you mean 'val_open'"),
        ("oracle", "did you mean 'oracle_test'"),
        ("fixed", "fixed:0.1"),
        ("fixed:", "fixed:0.1"),
        ("fixed:nan", "finite number"),
        ("fixed:-inf", "finite number"),
        ("fixed:low", "finite number"),
        ("id_quantile:0", "share"),
        ("id_quantile:95", "share"),
        ("id_quantile", "id_quantile:0.95"),
        ("val_open:0.5", "takes no number"),
        ("", "neither a number nor a rule; known: fixed"),
        ("0,5", "threshold '0,5' is neither a number nor a rule"),
        ("nan", "finite number"),
        ("-inf", "finite number"),
    ],
)
def test_wrong_rules_are_refused_in_one_line(text, says):
    with pytest.raises(UsageProblem) as caught:
        ThresholdRule.parse(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(40))
def test_best_f_measure_equals_brute_force(seed):
    known, open_ = random_scores(seed, levels=[3, 10, 1000][seed % 3])
    tau, best = best_f_measure(known, open_)
    # Every interval between neighbouring confidences is represented by its upper end, and all above by infinity.
    candidates = [0.0, *sorted({*known.confidence.tolist(), *open_.confidence.tolist()}), math.inf]
    values = [naive_f_measure(known, open_, candidate) for candidate in candidates]
    assert best == pytest.approx(max(values), abs=1e-12)
    assert naive_f_measure(known, open_, tau) == pytest.approx(best, abs=1e-12)
    lowest = next(c for c, value in zip(candidates, values, strict=True) if value > max(values) - 1e-12)
    assert tau == lowest
    assert all_metrics(known, open_, [5] * 4, tau)["open/f_measure"] == best


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_answers_at_any_threshold(seed):
    known, open_ = random_scores(seed)
    curve = FMeasureCurve(known, open_)
    for tau in (-1.0, 0.0, 0.1, 0.25, 0.3, 0.999, 1.3, 5.0):
        assert curve.at(tau) == all_metrics(known, open_, [5] * 4, tau)["open/f_measure"]


def test_ties_go_to_the_lowest_threshold():
    # Rejecting the wrong sample at 0.5 or not makes no difference to the F-measure, nor does what lies below it.
    known = scores([0, 1], [0.9, 0.5], [0, 0])
    assert best_f_measure(known, scores([0], [0.2], [-1]))[0] == pytest.approx(0.5)
    # All confidences equal: only everything or nothing can be rejected, and nothing is as good as it gets.
    tau, value = best_f_measure(scores([0, 0], [0.5, 0.5], [0, 0]), scores([0], [0.5], [-1]))
    assert (tau, value) == (0.0, pytest.approx(0.8))


def test_rejecting_nothing_rejects_no_later_sample_either():
    known, open_ = scores([0, 0], [0.4, 0.9], [0, 0]), scores([0], [0.6], [-1])
    assert best_f_measure(known, open_) == (0.0, pytest.approx(0.8))
    negative = scores([0, 0], [-2.0, 0.9], [0, 0])
    assert best_f_measure(negative, open_)[0] == -2.0


def test_best_f_measure_with_nothing_right_or_nothing_at_all():
    assert best_f_measure(scores([1], [0.5], [0]), scores([0], [0.7], [-1])) == (0.0, 0.0)
    assert best_f_measure(scores([], [], []), scores([], [], [])) == (0.0, 0.0)


def test_a_tuned_threshold_accepts_the_sample_it_came_from():
    known = scores([0, 0, 0], [0.7, 0.8, 0.9], [0, 0, 0])
    open_ = scores([0], [np.nextafter(np.float32(0.7), np.float32(0))], [-1])
    tau, value = best_f_measure(known, open_)
    assert value == 1.0
    assert all_metrics(known, open_, [5], tau)["open/overall"] == 1.0
    assert float(repr(tau)) == tau  # as it comes back from JSON


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.9, 0.95, 0.999, 1.0])
@pytest.mark.parametrize("number", [1, 3, 20, 100, 300])
def test_id_quantile_is_the_largest_threshold_that_accepts_the_share(share, number):
    known = scores(np.zeros(number), np.random.default_rng(number).integers(1, 60, size=number) / 64, np.zeros(number))
    tau = quantile_threshold(known, share)
    confidence = known.confidence.tolist()
    assert sum(c >= tau for c in confidence) / number >= share
    for higher in (c for c in set(confidence) if c > tau):
        assert sum(c >= higher for c in confidence) / number < share


def test_id_quantile_is_not_misled_by_rounding():
    # 0.07 · 100 = 7.000000000000001, though 7 of 100 are enough.
    assert 0.07 * 100 > 7
    known = scores(np.zeros(100), np.arange(1, 101) / 128, np.zeros(100))
    assert quantile_threshold(known, 0.07) == 94 / 128


def test_each_rule_reads_its_own_splits():
    val, open_val = random_scores(1)
    test, open_test = random_scores(2)
    splits = {"val": val, "open_val": open_val, "test": test, "open_test": open_test}
    nothing = dict.fromkeys(splits)

    def choose(text, **given):
        return choose_threshold(ThresholdRule.parse(text), **{**nothing, **given})

    assert choose("fixed:0.1") == 0.1
    assert choose("fixed:0") == 0.0
    assert choose("id_quantile:0.9", val=val) == quantile_threshold(val, 0.9)
    assert choose("val_open", val=val, open_val=open_val) == best_f_measure(val, open_val)[0]
    assert choose("oracle_test", test=test, open_test=open_test) == best_f_measure(test, open_test)[0]


@pytest.mark.parametrize(
    ("text", "missing", "says"),
    [
        ("id_quantile:0.95", "val", "no scores of val;"),
        ("val_open", "open_val", "no scores of open_val;"),
        ("val_open", "val", "no scores of val;"),
        ("oracle_test", "open_test", "no scores of open;"),
    ],
)
@pytest.mark.parametrize("empty", [None, scores([], [], [])])
def test_a_missing_or_empty_split_is_named(text, missing, says, empty):
    val, open_val = random_scores(1)
    splits = {"val": val, "open_val": open_val, "test": val, "open_test": open_val, missing: empty}
    with pytest.raises(DataProblem, match=says) as caught:
        choose_threshold(ThresholdRule.parse(text), **splits)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rule", ["tuned", "own"])
def test_a_rule_about_what_is_saved_with_a_run_needs_one(rule):
    with pytest.raises(UsageProblem, match="is saved with a run"):
        choose_threshold(ThresholdRule.parse(rule), val=None, open_val=None, test=None, open_test=None)


def test_a_run_without_a_tuned_threshold_names_the_command_that_tunes_it(tmp_path):
    run = make_run(tmp_path, "my data", "plain")
    with pytest.raises(UsageProblem) as caught:
        saved_threshold(run.path, run.result(), ThresholdRule("tuned"))
    command = f"oltr tune threshold --run {shlex.quote(run.name)}"
    assert str(caught.value).endswith(command)
    run.scores("open_val").unlink()
    with pytest.raises(UsageProblem) as caught:
        saved_threshold(run.path, run.result(), ThresholdRule("tuned"))
    assert str(caught.value).endswith(f"{command} --rule id_quantile:0.95")
