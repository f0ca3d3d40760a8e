"""Pairs of true class and decision, against counting one by one; numbers by class; mistakes."""

import io
from collections import Counter

import numpy as np
import pytest
from rich.console import Console

from oltr_cli.protocol.class_screen import confusion_table
from oltr_cli.protocol.confusions import Confusions, most_confused
from oltr_cli.protocol.metrics import accepted
from oltr_cli.protocol.mistakes import KINDS, at_threshold, find_mistakes, samples_of
from oltr_cli.protocol.per_class import PerClass
from oltr_cli.protocol.shots import shot_groups
from oltr_cli.runs.scores import SavedScores
from tests.helpers.fake_runs import CLASS_COUNTS, random_scores

TAUS = [0.3, np.linspace(0.2, 0.5, 10)]


def scores(prediction, confidence, labels, paths=None) -> SavedScores:
    names = None if paths is None else np.array(paths)
    return SavedScores(np.array(prediction), np.array(confidence, np.float32), np.array(labels), paths=names)


def pair(seed: int = 0) -> tuple[SavedScores, SavedScores]:
    rng = np.random.default_rng(seed)
    return random_scores(rng, 300, False, 1.0), random_scores(rng, 120, True, 1.0)


@pytest.mark.parametrize("tau", TAUS, ids=["one τ", "a τ by class"])
def test_pairs_are_those_that_counting_finds(tau):
    known, open_ = pair()
    found = Confusions.of(known, open_, 10, tau)
    counted: Counter = Counter()
    for part in (known, open_):
        for i in range(len(part)):
            limit = tau if isinstance(tau, float) else tau[part.prediction[i]]
            decided = int(part.prediction[i]) if part.confidence[i] >= np.float32(limit) else 10
            counted[int(part.labels[i]) if part is known else 10, decided] += 1
    pairs = zip(found.true.tolist(), found.decided.tolist(), strict=True)
    assert dict(zip(pairs, found.count.tolist(), strict=True)) == dict(counted)
    assert found.samples.tolist() == [*np.bincount(known.labels, minlength=10), 120]
    assert found.table().sum() == 420
    assert found.table()[10, 10] == (~accepted(open_, tau)).sum()
    assert found.share == pytest.approx([counted[p] / found.samples[p[0]] for p in sorted(counted)])


def test_the_largest_come_first_and_ties_by_share_then_label():
    #  1 → 0 twice of 4; 2 → 0 twice of 2; 0 → 1 twice of 4; 3 → 3 is right
    known = scores([0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 3], [0.9] * 11, [1, 1, 1, 1, 2, 2, 0, 0, 0, 0, 3])
    found = Confusions.of(known, None, 4, 0.1)
    places = found.largest()
    assert list(zip(found.true[places], found.decided[places], strict=True)) == [(2, 0), (0, 1), (1, 0)]
    assert found.largest(1).tolist() == [places[0]]
    assert found.samples[-1] == 0
    nothing = Confusions.of(scores([1], [0.9], [1]), None, 4, None)
    assert not len(nothing.largest())
    # Rejections count as the decision for K.
    rejected = Confusions.of(known, None, 4, 0.95)
    assert set(rejected.decided.tolist()) == {4}


def test_twenty_thousand_classes_need_no_matrix_of_all_pairs():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 20_000, 200_000)
    known = SavedScores(rng.integers(0, 20_000, 200_000), rng.random(200_000).astype(np.float32), labels)
    found = Confusions.of(known, known, 20_000, 0.2)
    taken_for, _ = most_confused(known, 20_000)
    PerClass.of(known, known, rng.integers(1, 300, 20_000), 0.2).worst_first()
    assert found.count.sum() == 400_000
    assert len(taken_for) == 20_000
    assert max(array.nbytes for array in vars(found).values() if isinstance(array, np.ndarray)) < 10_000_000


@pytest.mark.parametrize("tau", TAUS, ids=["one τ", "a τ by class"])
def test_numbers_of_a_class_by_counting(tau):
    known, open_ = pair(1)
    numbers = PerClass.of(known, open_, CLASS_COUNTS, tau)
    kept, open_kept = accepted(known, tau), accepted(open_, tau)
    for label in range(10):
        own = known.labels == label
        right = own & (known.prediction == label)
        assert numbers.test[label] == own.sum()
        assert numbers.train[label] == CLASS_COUNTS[label]
        assert numbers.closed[label] == pytest.approx(right.sum() / own.sum())
        assert numbers.open[label] == pytest.approx((right & kept).sum() / own.sum())
        assert numbers.rejected[label] == pytest.approx((own & ~kept).sum() / own.sum())
        assert numbers.open_as[label] == (open_kept & (open_.prediction == label)).sum()
    assert numbers.group.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    order = numbers.worst_first()
    assert sorted(order.tolist()) == list(range(10))
    assert (np.diff(numbers.closed[order]) >= 0).all()


def test_what_cannot_be_said_of_a_class_is_nan_and_comes_last():
    known = scores([0, 1, 1, 0], [0.9, 0.2, 0.9, 0.9], [0, 0, 1, 3])
    numbers = PerClass.of(known, None, [50, 200, 9, 7], 0.5)
    assert numbers.test.tolist() == [2, 1, 0, 1]
    assert np.isnan(numbers.closed[2])
    assert np.isnan(numbers.open).all()  # nothing is said of τ without open samples, as in the metrics
    assert np.isnan(numbers.rejected).all()
    assert numbers.open_as is None
    assert numbers.taken_for.tolist() == [1, -1, -1, 0]
    assert numbers.worst_first().tolist() == [3, 0, 1, 2]
    empty = scores([0], [0.5], [-1]).take(slice(0, 0))
    assert PerClass.of(known, empty, [50, 200, 9, 7], 0.5).open_as is None


def test_of_equally_poor_classes_the_one_with_fewer_training_images_is_first():
    known = scores([1, 0, 0], [0.9] * 3, [0, 1, 2])
    assert PerClass.of(known, None, [5, 300, 5], 0.1).worst_first().tolist() == [0, 2, 1]


def test_mistakes_of_each_kind_the_most_confident_first():
    known, open_ = pair(2)
    groups, tau = shot_groups(CLASS_COUNTS), 0.35
    found = at_threshold(find_mistakes(known, open_, CLASS_COUNTS, "paper", 40), tau)
    assert tuple(found) == KINDS
    wrong = (known.prediction != known.labels) & accepted(known, tau)
    expected = {
        "known_as_other": sorted(known.confidence[wrong], reverse=True)[:40],
        "known_as_unknown": sorted(known.confidence[~accepted(known, tau)])[:40],
        "unknown_as_known": sorted(open_.confidence[accepted(open_, tau)], reverse=True)[:40],
    }
    for kind, confidences in expected.items():
        _, of, rows = found[kind]
        assert of.confidence[rows].tolist() == confidences, kind
    _, _, rows = found["tail_as_head"]
    assert len(rows)
    assert groups["few"][known.labels[rows]].all()
    assert groups["many"][known.prediction[rows]].all()
    assert "unknown_as_known" not in find_mistakes(known, None, CLASS_COUNTS, "paper")


def test_a_mistake_has_the_name_that_the_lists_have():
    known = scores([1, 0], [0.4, 0.9], [0, 0], ["test/a b.jpg", "test/c.jpg"])
    (one,) = samples_of(at_threshold(find_mistakes(known, None, [300, 3], "paper"), 0.1))
    assert (one.kind, one.split, one.row, one.path, one.label, one.prediction) == (
        ("known_as_other", "test", 0, "test/a b.jpg", 0, 1)
    )


def test_one_pair_is_no_plural():
    known = scores([0, 1], [0.9, 0.9], [0, 0])
    console = Console(file=io.StringIO(), width=100)
    console.print(confusion_table(Confusions.of(known, None, 2, None), ["fox", "owl"]))
    assert "1 pair in all, 1 image\n" in console.file.getvalue()
