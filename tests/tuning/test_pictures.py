"""The pictures of a study: each trial is a point, and the best one is marked."""

from types import SimpleNamespace

import numpy as np
import pytest

from oltr_cli.tuning.pictures import slice_of
from oltr_cli.tuning.space import Dimension

TRIED = {0.1: 0.5, 0.01: 0.7, 1.0: 0.6, 0.05: 0.4}


def study_of(key: str, tried: dict) -> SimpleNamespace:
    """As much of a study as a picture reads, with one trial for each setting of ``key``."""
    trials = [SimpleNamespace(number=i, params={key: x}, values=[y]) for i, (x, y) in enumerate(tried.items())]
    about = SimpleNamespace(space=(Dimension(key),), objective="open/f_measure", maximize=True)
    best = max(trials, key=lambda t: t.values[0])
    return SimpleNamespace(name="s", about=about, finished=lambda: trials, best=lambda: best)


@pytest.mark.parametrize(
    ("dimension", "tried"),
    [
        (Dimension("params.lambda", 0.001, 1.0, log=True), TRIED),
        (Dimension("params.lambda", 0.001, 1.0), TRIED),
        (Dimension("params.kind", choices=("a", "b")), {"a": 0.4, "b": 0.6}),
    ],
)
def test_a_slice_shows_points_that_no_line_joins(dimension, tried):
    lines = slice_of(study_of(dimension.key, tried), dimension).axes[0].lines
    assert [line.get_linestyle() for line in lines] == ["None", "None"]
    points, best = lines
    np.testing.assert_array_equal(points.get_ydata(), list(tried.values()))
    np.testing.assert_array_equal(best.get_ydata(), [max(tried.values())])
    assert best.get_label().startswith("best: ")
