"""Threshold rules: how they are typed, and what they choose, against brute force."""

import math
import shlex

import numpy as np
import pytest

from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.protocol.best_threshold import FMeasureCurve, best_f_measure, quantile_threshold, quantile_thresholds
from oltr_cli.protocol.metrics import accepted, all_metrics
from oltr_cli.protocol.saved_thresholds import saved_threshold
from oltr_cli.protocol.thresholds import ThresholdRule, choose, choose_threshold, open_accepted
from oltr_cli.runs.choices import Pooled, TunedThreshold
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
        ("", "neither a number nor a rule; known: class_quantile, fixed"),
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


# --- a τ for each shot group or class

COUNTS = np.array([300, 200, 50, 10, 5])  # many, many, medium, few, few


def by_class_by_hand(val, share, each_class):
    """A loop over classes, sorting each anew; at least 1 / (1 - share) samples, or the next larger set."""

    def tau(members):
        ordered = np.sort(val.confidence[members])
        kept = next(k for k in range(1, len(ordered) + 1) if k / len(ordered) >= share)
        return float(ordered[len(ordered) - kept])

    least = 1 / (1 - share) - 1e-9 if share < 1 else 1
    groups = [[0, 1], [0, 1], [2], [3, 4], [3, 4]]
    found = []
    for label in range(len(COUNTS)):
        sets = [np.isin(val.prediction, groups[label]), np.ones(len(val), bool)]
        sets = [val.prediction == label, *sets] if each_class else sets
        found.append(next(tau(s) for s in sets if s.sum() >= least or s.all()))
    return found


@pytest.mark.parametrize("each_class", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95, 1.0, 0.07])
def test_quantiles_by_class_are_those_of_a_loop(share, each_class):
    rng = np.random.default_rng(3)
    prediction = rng.choice(5, 400, p=[0.6, 0.2, 0.13, 0.05, 0.02])
    val = scores(prediction, rng.random(400).round(2), rng.integers(5, size=400))
    found, _ = quantile_thresholds(val, share, COUNTS, "paper", each_class)
    assert found.tolist() == by_class_by_hand(val, share, each_class)


def test_each_group_accepts_its_share():
    rng = np.random.default_rng(0)
    prediction = np.repeat(np.arange(5), 40)
    val = scores(prediction, rng.random(200) / (1 + prediction) ** 3, prediction)
    chosen = choose(ThresholdRule.parse("group_quantile:0.95"), COUNTS, val=val, open_val=None)
    kept = accepted(val, chosen.tau)
    assert [kept[np.isin(prediction, group)].mean() for group in ([0, 1], [2], [3, 4])] == [0.95, 0.95, 0.95]
    one = choose(ThresholdRule.parse("id_quantile:0.95"), COUNTS, val=val, open_val=None)
    assert chosen.value == one.value  # what the share gives as one τ
    assert one.by_class is None
    assert accepted(val, one.value)[prediction > 2].mean() < 0.95
    assert chosen.pooled is one.pooled is None


def test_classes_of_too_few_validation_images_have_the_threshold_of_their_group():
    """19 images cannot reject 5 % of themselves, 20 can; the few-shot group has three and takes the one τ of all."""
    prediction = np.repeat([0, 1, 2, 3], [19, 41, 20, 3])
    val = scores(prediction, np.arange(83) / 100, prediction)
    tau, pooled = quantile_thresholds(val, 0.95, COUNTS, "paper", each_class=True)
    many = np.sort(val.confidence[prediction < 2])[3]  # 57 of 60
    assert tau[0] == many
    assert tau[1] == val.confidence[19 + 2]  # 39 of 41
    assert tau[2] == val.confidence[60 + 1]  # 19 of 20
    assert tau[3] == tau[4] == quantile_threshold(val, 0.95)
    assert pooled == Pooled(groups=["few"], classes=1)
    assert pooled.text == (
        "too few validation images for a τ of their own: few-shot classes, which have the one τ of all; 1 class, with "
        "that of the shot group"
    )


def test_only_groups_with_classes_are_said_to_have_too_few():
    val = scores([0] * 30 + [1], np.arange(31) / 31, [0] * 31)
    tau, pooled = quantile_thresholds(val, 0.9, np.array([300, 5, 5]), "paper", each_class=False)
    assert tau.tolist() == [val.confidence[3], *[quantile_threshold(val, 0.9)] * 2]
    assert pooled == Pooled(groups=["few"])


def test_ties_are_accepted_together_and_one_class_is_the_one_threshold():
    val = scores([0] * 30, [0.5] * 30, [0] * 30)
    for rule in ("group_quantile:0.95", "class_quantile:0.95"):
        chosen = choose(ThresholdRule.parse(rule), [7], val=val, open_val=None)
        assert chosen.by_class == [0.5]
        assert accepted(val, chosen.tau).all()


def test_what_a_threshold_by_class_costs():
    val = scores([0] * 20 + [4] * 20, [*np.linspace(0.5, 0.9, 20), *np.linspace(0.1, 0.2, 20)], [0] * 40)
    open_val = scores([0, 4, 4, 0], [0.3, 0.15, 0.9, 0.01], [-1] * 4)
    chosen = choose(ThresholdRule.parse("group_quantile:0.9"), COUNTS, val=val, open_val=open_val)
    assert chosen.by_class[0] > 0.5 > chosen.by_class[4]
    assert open_accepted(open_val, chosen) == {"by_class": 0.5, "one_tau": 0.75}
    assert open_accepted(None, chosen) is None
    assert open_accepted(open_val, choose(ThresholdRule.parse("fixed:0.1"), COUNTS, val=None, open_val=None)) is None


@pytest.mark.parametrize("text", ["group_quantile", "class_quantile:0", "class_quantile:1.1", "group_quantile:nan"])
def test_rules_by_class_need_a_share(text):
    with pytest.raises(UsageProblem, match="quantile takes a"):
        ThresholdRule.parse(text)


def test_a_rule_by_class_without_validation_says_so():
    with pytest.raises(DataProblem, match=r"threshold group_quantile:0\.95 reads val, but there are no scores of val"):
        choose(ThresholdRule.parse("group_quantile:0.95"), COUNTS, val=None, open_val=None)


def test_thresholds_of_other_classes_are_not_used(tmp_path):
    run = make_run(tmp_path, "somewhere", "plain")
    TunedThreshold(rule="group_quantile:0.95", value=0.2, by_class=[0.1, 0.2]).write(run.path)
    with pytest.raises(DataProblem, match=r"threshold\.json: has thresholds for 2 classes, and the run has 10"):
        saved_threshold(run.path, run.result(), None)


def test_a_threshold_of_before_reads_as_it_did(tmp_path):
    run = make_run(tmp_path, "somewhere", "plain")
    (run.path / "threshold.json").write_text('{"rule": "val_open", "value": 0.25, "f_measure_val": 0.5}')
    chosen = saved_threshold(run.path, run.result(), None)
    assert (chosen.tau, chosen.by_class, chosen.shown) == (0.25, None, "0.25")
    assert "by_class" not in chosen.as_json()


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
