"""What ``oltr add-class`` says beside its figures; the runs it makes are tested in pipeline/adding."""

import pytest

from oltr_cli.commands.add_class import _said
from oltr_cli.runs.result import AddedClassFacts

GOOD = {"old_before": 0.7, "old_after": 0.695, "old_val_before": 0.7, "old_val_after": 0.695, "new_after": 0.8}


def said(**changes):
    return " ".join(_said(AddedClassFacts(**{"name": "owl", "images": 8, "shift": 0.5, "folds": 8, **GOOD, **changes})))


def test_nothing_is_warned_of_where_all_is_well():
    assert said() == "imprinted: mean of the images' features less 0.50 times that of all classes"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"old_after": 0.685}, "of test accuracy"),
        ({"old_val_after": 0.68}, "of validation accuracy"),
        ({"old_after": 0.685, "old_val_after": 0.68}, "of validation and test accuracy"),
    ],
)
def test_a_class_that_costs_the_old_ones_more_than_a_point_is_warned_of(changes, where):
    """t is chosen on validation images: what it costs the test images is seen only afterwards."""
    assert f"costs the old ones more than a point {where}" in said(**changes)
    assert "more than a point" not in said(old_before=0.7, old_after=0.69)


def test_a_class_that_is_hardly_recognised_is_warned_of():
    assert "less than half of the new images are recognised" in said(new_after=0.375)
    assert "recognised" not in said(new_after=None, folds=0, images=1)
