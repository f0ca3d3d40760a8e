"""The confusion matrix as a picture: order, dashes, long names, one class and sixty."""

import numpy as np
import pytest

from oltr_cli.drawing.confusions import MOST, confusion_matrix
from oltr_cli.protocol.confusions import Confusions
from oltr_cli.runs.scores import SavedScores


def drawn(classes: int, open_samples: int, seed: int = 0):
    rng = np.random.default_rng(seed)

    def scores(size: int, is_open: bool) -> SavedScores:
        labels = np.full(size, -1) if is_open else rng.integers(0, max(1, classes - 1), size)
        return SavedScores(rng.integers(0, classes, size), rng.random(size).astype(np.float32), labels)

    counts = rng.permutation(np.arange(1, classes + 1) * 7)
    names = [f"$ class {i} with a name that is much too long" for i in range(classes)]
    found = Confusions.of(scores(200, False), scores(open_samples, True), classes, 0.3)
    figure = confusion_matrix(found, names, counts, "a run", "paper", 0.3)
    figure.canvas.draw()
    return figure, found, counts


@pytest.mark.parametrize(("classes", "open_samples"), [(2, 50), (7, 0), (20, 50), (MOST, 50)])
def test_rows_are_shares_in_the_order_of_training_images(classes, open_samples):
    figure, found, counts = drawn(classes, open_samples)
    axes = figure.axes[0]
    order = [*np.argsort(-counts, kind="stable").tolist(), classes]
    table = found.table()[np.ix_(order, order)].astype(float)
    shown = np.asarray(axes.images[0].get_array())
    expected = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    np.testing.assert_allclose(shown, expected)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[-1] == "open"
    assert [label.get_text() for label in axes.get_xticklabels()][-1] == "unknown"
    assert all(len(label) <= 26 for label in labels)
    dashes = [text for text in axes.texts if text.get_text() == "–"]
    assert {text.get_position()[1] for text in dashes} == set(np.flatnonzero(table.sum(axis=1) == 0).tolist())
    assert dashes  # the last class has no test sample
    numbers = [text for text in axes.texts if text.get_text() != "–"]
    assert bool(numbers) == (classes <= 20)
    if numbers:
        assert len(numbers) == np.count_nonzero(expected)
