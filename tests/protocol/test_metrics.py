"""Every metric against a naive loop in float64, on random scores full of ties, and by hand at the edges."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.protocol.best_threshold import best_f_measure, quantile_threshold
from oltr_cli.protocol.catalogue import BY_GROUP, METRICS
from oltr_cli.protocol.metrics import (
    all_metrics,
    group_confusion,
    per_class_accuracy,
    rank_curve,
    threshold_curve,
)
from oltr_cli.protocol.shots import GROUPS, read_class_counts, shot_groups
from oltr_cli.runs.scores import SavedScores


def scores(prediction, confidence, labels) -> SavedScores:
    return SavedScores(
        np.asarray(prediction, np.int64), np.asarray(confidence, np.float32), np.asarray(labels, np.int64)
    )


def random_test_set(seed: int, num_classes: int = 9, known: int = 160, open_: int = 70, levels: int = 12):
    """Known and open scores with few distinct confidences (dyadic: no rounding) and class counts."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=known)
    prediction = np.where(rng.random(known) < 0.6, labels, rng.integers(num_classes, size=known))
    confidence = rng.integers(1, levels + 1, size=known) / 16
    open_confidence = rng.integers(0, levels - 1, size=open_) / 16
    counts = rng.choice([3, 5, 19, 20, 21, 60, 99, 100, 101, 400], size=num_classes)
    return (
        scores(prediction, confidence, labels),
        scores(rng.integers(num_classes, size=open_), open_confidence, np.full(open_, -1)),
        counts.tolist(),
    )


def group_of(count: int, definition: str) -> str:
    if definition == "paper":
        return "many" if count > 100 else "few" if count < 20 else "medium"
    return "many" if count >= 100 else "few" if count <= 20 else "medium"


def samples_of(known: SavedScores, open_: SavedScores, threshold: float):
    """(label, decision, prediction, confidence, is open) a sample; the decision is −1 for a rejected one."""
    for part in (known, open_):
        for y, p, c in zip(part.labels.tolist(), part.prediction.tolist(), part.confidence.tolist(), strict=True):
            yield y, (-1 if c < threshold else p), p, c


NAMES = set(METRICS) - set(BY_GROUP)


def naive_metrics(known, open_, class_counts, threshold, shots) -> dict[str, float | None]:
    """The definitions, word by word, in plain Python."""
    rows = list(samples_of(known, open_, threshold))
    known_rows = [row for row in rows if row[0] != -1]
    open_rows = [row for row in rows if row[0] == -1]
    num_classes = len(class_counts)
    result: dict[str, float | None] = {}
    for half, column in (("closed", 2), ("open", 1)):
        result[f"{half}/overall"] = sum(row[column] == row[0] for row in known_rows) / len(known_rows)
        by_group: dict[str, list[float]] = {name: [] for name in GROUPS}
        for label in range(num_classes):
            mine = [row for row in known_rows if row[0] == label]
            if mine:
                accuracy = sum(row[column] == label for row in mine) / len(mine)
                by_group[group_of(class_counts[label], shots)].append(accuracy)
        for name, values in by_group.items():
            result[f"{half}/{name}"] = sum(values) / len(values) if values else None

    true_positive = sum(y != -1 and d == y for y, d, _, _ in rows)
    false_positive = sum(y != -1 and d != y for y, d, _, _ in rows)
    lenient = sum(y != -1 and d not in (y, -1) for y, d, _, _ in rows)
    false_negative = sum(y == -1 and d != -1 for y, d, _, _ in rows)
    for name, fp in (("open/f_measure", false_positive), ("open/f_measure_2019", lenient)):
        if true_positive:
            precision, recall = true_positive / (true_positive + fp), true_positive / (true_positive + false_negative)
            result[name] = 2 * precision * recall / (precision + recall)
        else:
            result[name] = 0.0

    wins = 0.0
    for _, _, _, k in known_rows:
        for _, _, _, o in open_rows:
            wins += 1.0 if k > o else 0.5 if k == o else 0.0
    result["open/auroc"] = wins / (len(known_rows) * len(open_rows))
    result["open/aupr_in"] = naive_average_precision([(c, y != -1) for y, _, _, c in rows])
    result["open/aupr_out"] = naive_average_precision([(-c, y == -1) for y, _, _, c in rows])

    taus = [math.inf, *sorted({row[3] for row in rows}, reverse=True)]
    points = []
    for tau in taus:
        tpr = sum(row[3] >= tau for row in known_rows) / len(known_rows)
        fpr = sum(row[3] >= tau for row in open_rows) / len(open_rows)
        ccr = sum(row[3] >= tau and row[2] == row[0] for row in known_rows) / len(known_rows)
        points.append((tpr, fpr, ccr))
    tpr, fpr, _ = next(point for point in points if point[0] >= 0.95)
    result["open/fpr95"] = fpr
    result["open/detection_error_tpr95"] = 0.5 * (1 - tpr) + 0.5 * fpr
    result["open/detection_error_min"] = min(0.5 * (1 - t) + 0.5 * f for t, f, _ in points)
    oscr = 0.0
    for (_, f0, c0), (_, f1, c1) in pairwise(points):
        oscr += (f1 - f0) * (c0 + c1) / 2
    result["open/oscr"] = oscr

    f1s, recalls = [], []
    for label in [-1, *range(num_classes)]:
        tp = sum(y == label and d == label for y, d, _, _ in rows)
        actual = sum(y == label for y, *_ in rows)
        predicted = sum(d == label for _, d, _, _ in rows)
        if actual or predicted:
            f1s.append(2 * tp / (actual + predicted))
        if actual:
            recalls.append(tp / actual)
    result["open/macro_f1"] = sum(f1s) / len(f1s)
    result["open/balanced_accuracy"] = sum(recalls) / len(recalls)
    return result


def naive_average_precision(rows: list[tuple[float, bool]]) -> float:
    total = sum(positive for _, positive in rows)
    area, recall_before = 0.0, 0.0
    for tau in sorted({score for score, _ in rows}, reverse=True):
        taken = [positive for score, positive in rows if score >= tau]
        recall, precision = sum(taken) / total, sum(taken) / len(taken)
        area += (recall - recall_before) * precision
        recall_before = recall
    return area


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("shots", ["paper", "code"])
def test_all_metrics_equal_the_naive_loops(seed, shots):
    known, open_, counts = random_test_set(seed)
    threshold = [0.0, 0.25, 4 / 16, 5.5 / 16, 0.9][seed % 5]
    ours = all_metrics(known, open_, counts, threshold, shots)
    naive = naive_metrics(known, open_, counts, threshold, shots)
    assert set(ours) == set(naive) == NAMES
    for name, value in naive.items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name


def test_metrics_with_a_split_without_ties_and_unseen_classes():
    """Distinct float32 confidences, and classes that have no test samples at all."""
    rng = np.random.default_rng(3)
    known, open_, _ = random_test_set(3, num_classes=6)
    known = scores(known.prediction, rng.permutation(160) / 160, known.labels)
    counts = [500, 50, 5, 500, 50, 5, 1000, 3]  # the last two classes are never seen
    naive = naive_metrics(known, open_, counts, 0.3, "paper")
    assert all_metrics(known, open_, counts, 0.3) == pytest.approx(naive, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_ranking_and_class_metrics_equal_scikit_learn(seed):
    known, open_, counts = random_test_set(seed, known=400, open_=300)
    ours = all_metrics(known, open_, counts, 0.4)
    is_known = np.r_[np.ones(len(known)), np.zeros(len(open_))]
    confidence = np.r_[known.confidence, open_.confidence]
    labels = np.r_[known.labels, open_.labels]
    decision = np.where(confidence < np.float32(0.4), -1, np.r_[known.prediction, open_.prediction])
    assert ours["open/auroc"] == pytest.approx(roc_auc_score(is_known, confidence), abs=1e-12)
    assert ours["open/aupr_in"] == pytest.approx(average_precision_score(is_known, confidence), abs=1e-12)
    assert ours["open/aupr_out"] == pytest.approx(average_precision_score(1 - is_known, -confidence), abs=1e-12)
    assert ours["open/macro_f1"] == pytest.approx(f1_score(labels, decision, average="macro"), abs=1e-12)
    assert ours["open/balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, decision), abs=1e-12)


def test_a_confidence_at_the_threshold_is_accepted():
    known = scores([0, 0], [0.7, 0.1], [0, 0])
    open_ = scores([0], [0.05], [-1])
    # float32(0.7) lies below 0.7: a comparison in float64 would reject the sample that has "the same" confidence.
    assert float(np.float32(0.7)) < 0.7
    assert all_metrics(known, open_, [5], 0.7)["open/overall"] == 0.5
    assert all_metrics(known, open_, [5], float(np.float32(0.7)))["open/overall"] == 0.5
    assert all_metrics(known, open_, [5], float(np.nextafter(np.float32(0.7), np.float32(1))))["open/overall"] == 0.0
    assert all_metrics(known, open_, [5], 0.1)["open/overall"] == 1.0


@pytest.mark.parametrize("offset", [0, -(10**8), 10**12])
def test_float64_confidences_are_ranked_and_compared_as_they_are(offset):
    """Against exact fractions: AUROC, FPR95, thresholds and the F-measure do not depend on an offset."""
    rng = np.random.default_rng(8)
    steps = np.r_[rng.integers(300, 1000, size=80), rng.integers(0, 400, size=60)]  # in units of 2⁻¹⁰
    exact = [Fraction(int(step), 1024) + offset for step in steps]
    confidence = np.array([float(value) for value in exact])
    assert [Fraction(value) for value in confidence] == exact  # float64 holds them
    prediction = rng.integers(2, size=140)
    known = SavedScores(prediction[:80], confidence[:80], np.zeros(80, np.int64))
    open_ = SavedScores(prediction[80:], confidence[80:], np.full(60, -1))
    inside, outside = exact[:80], exact[80:]

    tau = quantile_threshold(known, 0.95)
    assert Fraction(tau) == sorted(inside)[80 - 76]
    metrics = all_metrics(known, open_, [5, 5], tau)
    wins = sum(Fraction(int(i > o)) + Fraction(int(i == o), 2) for i in inside for o in outside)
    assert metrics["open/auroc"] == pytest.approx(float(wins / (80 * 60)), abs=1e-15)
    assert metrics["open/fpr95"] == sum(o >= Fraction(tau) for o in outside) / 60

    def f_measure_at(threshold: Fraction) -> Fraction:
        right = sum(i >= threshold and p == 0 for i, p in zip(inside, prediction[:80], strict=True))
        return Fraction(2 * right, 2 * right + 80 - right + sum(o >= threshold for o in outside))

    assert metrics["open/f_measure"] == pytest.approx(float(f_measure_at(Fraction(tau))), abs=1e-15)
    best, value = best_f_measure(known, open_)
    assert value == pytest.approx(float(max(f_measure_at(t) for t in exact)), abs=1e-15)
    assert value == all_metrics(known, open_, [5, 5], best)["open/f_measure"]


def test_the_curve_of_float64_confidences_equals_all_metrics_at_every_point():
    rng = np.random.default_rng(9)
    labels = rng.integers(2, size=50)
    known = SavedScores(rng.integers(2, size=50), rng.random(50) - 1e8, labels)
    open_ = SavedScores(rng.integers(2, size=40), rng.random(40) - 1e8 - 0.3, np.full(40, -1))
    groups = shot_groups([200, 5], "paper")
    curve = threshold_curve(known, open_, groups, points=9)
    for i, tau in enumerate(curve["tau"].tolist()):
        metrics = all_metrics(known, open_, [200, 5], tau)
        for name in ("f_measure", "overall", "many", "few"):
            assert curve[name][i] == pytest.approx(metrics[f"open/{name}"], abs=1e-12)


def test_f_measures_by_hand():
    # Right and kept: 2. Right but rejected: 1. Wrong and kept: 1. Open kept: 1, open rejected: 2.
    known = scores([0, 1, 0, 1], [0.9, 0.8, 0.1, 0.7], [0, 1, 0, 0])
    open_ = scores([0, 0, 1], [0.6, 0.2, 0.3], [-1, -1, -1])
    ours = all_metrics(known, open_, [200, 5], 0.5)
    precision, recall = 2 / 4, 2 / 3
    assert ours["open/f_measure"] == pytest.approx(2 * precision * recall / (precision + recall))
    precision = 2 / 3
    assert ours["open/f_measure_2019"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert ours["open/overall"] == 0.5
    assert (ours["closed/many"], ours["closed/few"], ours["closed/medium"]) == (pytest.approx(2 / 3), 1.0, None)


def test_no_open_samples_leave_the_open_half_empty():
    known, _, _ = random_test_set(0)
    counts = [500, 50, 5] * 3
    for open_ in (None, scores([], [], [])):
        ours = all_metrics(known, open_, counts, 0.1)
        assert set(ours) == NAMES
        assert all(value is None for name, value in ours.items() if name.startswith("open/"))
        assert all(ours[f"closed/{name}"] is not None for name in ("overall", "many", "medium", "few"))


def test_no_known_samples_give_none_everywhere():
    open_ = scores([0], [0.5], [-1])
    assert set(all_metrics(scores([], [], []), open_, [5], 0.1).values()) == {None}


def test_groups_without_test_samples_are_none_not_nan():
    # One class only, with one sample; the other class of its group is never tested and does not count as 0.
    ours = all_metrics(scores([0], [0.5], [0]), scores([1], [0.4], [-1]), [300, 300, 4], 0.1)
    assert ours["closed/many"] == 1.0
    assert ours["closed/few"] is None
    assert ours["closed/medium"] is None
    assert not any(value is not None and math.isnan(value) for value in ours.values())


@pytest.mark.parametrize("right", [True, False])
def test_all_right_and_none_right(right):
    known = scores([0, 1, 2] if right else [1, 2, 0], [0.9, 0.8, 0.7], [0, 1, 2])
    open_ = scores([0, 0], [0.2, 0.3], [-1, -1])
    ours = all_metrics(known, open_, [200, 50, 5], 0.5)
    expected = 1.0 if right else 0.0
    for name in ("closed/overall", "closed/many", "closed/few", "open/overall", "open/f_measure", "open/oscr"):
        assert ours[name] == expected, name
    assert ours["open/auroc"] == 1.0
    assert ours["open/fpr95"] == 0.0
    assert ours["open/detection_error_min"] == 0.0


def test_all_rejected_and_none_rejected():
    known, open_, counts = random_test_set(1)
    rejected = all_metrics(known, open_, counts, 2.0)
    for name in ("open/overall", "open/many", "open/f_measure", "open/f_measure_2019"):
        assert rejected[name] == 0.0
    assert rejected["open/balanced_accuracy"] == pytest.approx(1 / (len(set(known.labels.tolist())) + 1))
    kept = all_metrics(known, open_, counts, 0.0)
    for name in ("overall", "many", "medium", "few"):
        assert kept[f"open/{name}"] == kept[f"closed/{name}"]
    assert kept["open/f_measure"] == kept["open/f_measure_2019"]


def test_one_class_with_equal_confidences():
    ours = all_metrics(scores([0, 0], [0.5, 0.5], [0, 0]), scores([0], [0.5], [-1]), [5], 0.5)
    assert ours["open/auroc"] == 0.5
    assert ours["open/fpr95"] == 1.0
    assert ours["open/detection_error_min"] == 0.5
    assert ours["open/oscr"] == 0.5
    assert ours["open/f_measure"] == pytest.approx(4 / 5)


def test_fpr95_takes_exactly_95_percent_of_twenty():
    # 19 of 20 known samples lie above the open one: 95 % is met there, in whole numbers.
    known = scores(np.zeros(20), [*([0.9] * 19), 0.1], np.zeros(20))
    ours = all_metrics(known, scores([0], [0.5], [-1]), [5], 0.1)
    assert ours["open/fpr95"] == 0.0
    assert ours["open/detection_error_tpr95"] == pytest.approx(0.025)


def test_negative_confidences_are_ordered_like_any_others():
    known, open_, counts = random_test_set(4)
    shifted = [scores(part.prediction, part.confidence - 3, part.labels) for part in (known, open_)]
    plain, moved = all_metrics(known, open_, counts, 0.5), all_metrics(*shifted, counts, -2.5)
    assert moved == plain


def test_order_of_samples_does_not_matter():
    known, open_, counts = random_test_set(5)
    order = np.random.default_rng(0).permutation(len(known))
    shuffled = scores(known.prediction[order], known.confidence[order], known.labels[order])
    assert all_metrics(shuffled, open_, counts, 0.4) == all_metrics(known, open_, counts, 0.4)


@pytest.mark.parametrize("seed", range(3))
def test_threshold_curve_equals_all_metrics_at_every_point(seed):
    known, open_, _ = random_test_set(seed)
    counts = [500, 50, 5] * 3
    curve = threshold_curve(known, open_, shot_groups(counts), points=25)
    tau = curve["tau"]
    assert tau[0] == 0.0
    assert tau[-1] == max(known.confidence.max(), open_.confidence.max())
    for position, value in enumerate(tau.tolist()):
        at = all_metrics(known, open_, counts, value)
        for name in ("f_measure", "f_measure_2019", "overall", *GROUPS):
            assert curve[name][position] == pytest.approx(at[f"open/{name}"], abs=1e-12), (name, value)


def test_threshold_curve_without_open_samples_or_without_a_group():
    known, open_, _ = random_test_set(0)
    curve = threshold_curve(known, None, shot_groups([5] * 9), points=7)
    assert curve["f_measure"] is None
    assert curve["many"] is None
    assert curve["few"][0] == pytest.approx(all_metrics(known, open_, [5] * 9, 0.0)["closed/few"])
    assert len(curve["overall"]) == 7
    empty = threshold_curve(scores([], [], []), None, shot_groups([5]), points=7)
    assert len(empty["tau"]) == 7
    assert empty["overall"] is None


def test_rank_curve_accepts_ties_together_and_finds_thresholds():
    known, open_, _ = random_test_set(2)
    curve = rank_curve(known, open_)
    for tau in (-1.0, 0.0, 0.3, 5 / 16, 0.75, 3.0):
        position = int(curve.accepted_at(tau))
        assert curve.known[position] == (known.confidence >= tau).sum()
        assert curve.open[position] == (open_.confidence >= tau).sum()
        assert curve.right[position] == ((known.confidence >= tau) & (known.prediction == known.labels)).sum()


def test_per_class_accuracy_counts_rejections_as_wrong():
    known = scores([0, 0, 1, 1], [0.9, 0.2, 0.9, 0.9], [0, 0, 0, 1])
    np.testing.assert_allclose(per_class_accuracy(known, 3), [2 / 3, 1.0, np.nan])
    np.testing.assert_allclose(per_class_accuracy(known, 3, threshold=0.5), [1 / 3, 1.0, np.nan])


def test_group_confusion_equals_a_naive_loop():
    known, open_, counts = random_test_set(7)
    table = np.zeros((4, 4))
    order = [*GROUPS, "open"]
    for y, d, _, _ in samples_of(known, open_, 0.4):
        row = "open" if y == -1 else group_of(counts[y], "code")
        column = "open" if d == -1 else group_of(counts[d], "code")
        table[order.index(row), order.index(column)] += 1
    table /= table.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(group_confusion(known, open_, counts, 0.4, "code"), table, atol=1e-15)


def test_group_confusion_has_rows_of_zeros_for_what_has_no_samples():
    table = group_confusion(scores([0, 1], [0.9, 0.9], [0, 0]), None, [300, 4], 0.5)
    np.testing.assert_array_equal(table, [[0.5, 0, 0.5, 0], [0] * 4, [0] * 4, [0] * 4])


# Shot groups and class counts


def test_shot_groups_at_their_boundaries():
    counts = [1, 19, 20, 21, 99, 100, 101, 1280]
    paper, code = shot_groups(counts), shot_groups(counts, "code")
    assert [paper[g].tolist() for g in GROUPS] == [
        [c > 100 for c in counts],
        [20 <= c <= 100 for c in counts],
        [c < 20 for c in counts],
    ]
    assert [code[g].sum() for g in GROUPS] == [3, 2, 3]
    assert code["many"].tolist() == [False] * 5 + [True] * 3
    assert code["few"].tolist() == [True] * 3 + [False] * 5


def test_every_class_is_in_exactly_one_group():
    for definition in ("paper", "code"):
        groups = shot_groups(range(0, 300), definition)
        assert (sum(mask.astype(int) for mask in groups.values()) == 1).all()


def test_unknown_shot_definition_names_the_nearest():
    with pytest.raises(UsageProblem, match="did you mean 'paper'"):
        shot_groups([1], "papr")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("counts.txt", "50\n250\n0\n"),
        ("pairs.txt", "1 250\n0 50\n\n2 0\n"),
        ("tabs.txt", "0\t50\n1\t250\n2\t0"),
        ("counts.json", "[50, 250, 0]"),
    ],
)
def test_class_counts_are_read_from_text(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert read_class_counts(path).tolist() == [50, 250, 0]


def test_class_counts_are_counted_from_a_training_list(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("b/2.jpg 1\na b/1.jpg 0\nb/3.jpg 1\n2.jpg 2\n")
    assert read_class_counts(path).tolist() == [1, 2, 1]


def test_class_counts_are_read_from_npy(tmp_path):
    path = tmp_path / "counts.npy"
    np.save(path, np.array([50, 250], np.int32))
    counts = read_class_counts(path)
    assert counts.dtype == np.int64
    assert counts.tolist() == [50, 250]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("50\nmany\n", ":2: 'many'"),
        ("50\n-3\n", ":2: '-3'"),
        ("50.5\n", ":1: '50.5'"),
        ("0 5\n0 6\n", ":2: label 0 appears a second time"),
        ("0 5\n2 6\n", "no line for label 1"),
        ("0 5\n1 6 7\n", ":2: '1 6 7'"),
        ("a.jpg 0\nb.jpg x\n", ":2: 'x'"),
        ("a.jpg 0\nb.jpg\n", ":2: 'b.jpg'"),
        ("a.jpg 0\nb.jpg -1\n", ":2: '-1'"),
        ("a.jpg 0\nb.jpg 2\n", "no image of class 1"),
        ("[1, 2", "broken JSON"),
        ("[1, 2.5]", "whole numbers"),
        ("[]", "whole numbers"),
        ("[3, -1]", "class 1 has the count -1"),
        ('{"a": 1}', "one list"),
    ],
)
def test_broken_class_counts_name_file_and_line(tmp_path, text, says):
    path = tmp_path / "counts.txt"
    path.write_text(text)
    with pytest.raises(DataProblem) as caught:
        read_class_counts(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


def test_class_counts_that_cannot_be_read(tmp_path):
    with pytest.raises(DataProblem, match="No such file"):
        read_class_counts(tmp_path / "none.txt")
    with pytest.raises(DataProblem, match="no such file"):
        read_class_counts(tmp_path / "none.npy")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataProblem, match="not text"):
        read_class_counts(tmp_path / "binary.txt")
    np.save(tmp_path / "float.npy", np.array([1.5, 2.0]))
    with pytest.raises(DataProblem, match="float64"):
        read_class_counts(tmp_path / "float.npy")
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataProblem, match="without pickle"):
        read_class_counts(tmp_path / "pickled.npy")
