"""Labels that are perhaps wrong: planted ones are found, and what cleanlab itself says is said."""

import importlib.util

import numpy as np
import pytest
from cleanlab.filter import find_label_issues

from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.protocol import mislabelled
from oltr_cli.protocol.mislabelled import perhaps_mislabelled
from oltr_cli.runs.scores import SavedScores, max_softmax


def planted(seed: int, split: str, size: int = 400, classes: int = 8, share: float = 0.04):
    """Scores of a network that is mostly right, where some labels were changed: scores, changed rows."""
    rng = np.random.default_rng(seed)
    true = rng.permutation(np.arange(size) % classes)
    logits = rng.normal(size=(size, classes)).astype(np.float32)
    logits[np.arange(size), true] += 5
    changed = np.flatnonzero(rng.random(size) < share)
    labels = true.copy()
    labels[changed] = (labels[changed] + 1) % classes
    paths = np.array([f"{split}/{i}.png" for i in range(size)])
    return SavedScores(*max_softmax(logits), labels, logits, paths=paths), set(changed.tolist()), true


def test_planted_labels_are_found_in_each_split():
    made = {split: planted(seed, split) for seed, split in enumerate(("test", "val", "train"))}
    found = perhaps_mislabelled({split: scores for split, (scores, _, _) in made.items()}, 8)
    for split, (scores, changed, true) in made.items():
        named = [one for one in found if one.split == split]
        assert len(changed) > 10, split
        found_there = changed & {one.row for one in named}
        assert len(found_there) >= 0.6 * len(changed), split  # only the confident ones are counted
        assert len(found_there) >= 0.9 * len(named), split
        for one in named:
            assert one.path == f"{split}/{one.row}.png"
            assert one.label == scores.labels[one.row] != one.suggested == scores.prediction[one.row]
            if one.row in changed:
                assert one.suggested == true[one.row]
    qualities = [one.quality for one in found]
    assert qualities == sorted(qualities)
    assert perhaps_mislabelled({split: scores for split, (scores, _, _) in made.items()}, 8, 5) == found[:5]


def test_it_is_what_cleanlab_finds_in_val_and_test_together():
    parts = {"val": planted(3, "val", 150, share=0.1)[0], "test": planted(4, "test", 333, share=0.1)[0]}
    logits = np.concatenate([one.logits for one in parts.values()]).astype(np.float64)
    labels = np.concatenate([one.labels for one in parts.values()])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = find_label_issues(
        labels, probabilities, filter_by="low_self_confidence", return_indices_ranked_by="self_confidence", n_jobs=1
    )
    own = [row for row in own if probabilities[row].argmax() != labels[row]]
    made = [one.row + (150 if one.split == "test" else 0) for one in perhaps_mislabelled(parts, 8)]
    assert abs(len(made) - len(own)) <= 1  # cleanlab says so of its two ways to round
    shorter = min(len(made), len(own))
    assert shorter > 10
    assert made[:shorter] == own[:shorter]
    assert perhaps_mislabelled(parts, 8)[0].quality == pytest.approx(probabilities[made[0], labels[made[0]]])


def test_blocks_change_nothing(monkeypatch):
    parts = {"test": planted(5, "test")[0]}
    whole = perhaps_mislabelled(parts, 8)
    monkeypatch.setattr(mislabelled, "_BLOCK", 8 * 64)
    in_blocks = perhaps_mislabelled(parts, 8)
    assert [(one.row, one.suggested) for one in in_blocks] == [(one.row, one.suggested) for one in whole]
    assert len(whole) > 10


def test_classes_without_samples_and_a_single_class_are_no_problem():
    scores = planted(6, "test")[0]
    kept = scores.take(np.flatnonzero(scores.labels < 5))
    assert {one.label for one in perhaps_mislabelled({"test": kept}, 8)} <= set(range(5))
    alone = SavedScores(np.zeros(3, np.int64), np.ones(3, np.float32), np.zeros(3, np.int64), np.ones((3, 1)))
    assert perhaps_mislabelled({"test": alone}, 1) == []
    assert perhaps_mislabelled({"test": scores.take(slice(0, 0))}, 8) == []


def test_a_label_with_the_largest_probability_is_never_named():
    logits = np.zeros((40, 4), np.float32)  # all classes equally likely
    even = SavedScores(*max_softmax(logits), np.arange(40) % 4, logits)
    assert perhaps_mislabelled({"test": even}, 4) == []


def test_scores_without_logits_or_with_nan_say_so():
    scores = planted(7, "test")[0]
    bare = SavedScores(scores.prediction, scores.confidence, scores.labels)
    with pytest.raises(DataProblem, match="found by logits, and the scores have none"):
        perhaps_mislabelled({"test": bare}, 8)
    scores.logits[3, 2] = np.nan
    with pytest.raises(DataProblem, match="scores of test: logits contain NaN or infinity"):
        perhaps_mislabelled({"test": scores}, 8)


def test_scores_of_other_classes_are_refused():
    scores = planted(9, "test")[0]
    with pytest.raises(DataProblem, match="scores of val: logits of 8 classes, not of 9"):
        perhaps_mislabelled({"val": scores}, 9)
    scores.labels[5] = -1
    with pytest.raises(DataProblem, match="scores of val: a label is out of range, 0 … 7"):
        perhaps_mislabelled({"val": scores}, 8)


def test_without_the_library_one_line_says_what_to_type(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cleanlab" else found(name))
    with pytest.raises(UsageProblem, match=r"found with cleanlab: pip install 'oltr\[cleanlab\]'"):
        perhaps_mislabelled({"test": planted(8, "test")[0]}, 8)
