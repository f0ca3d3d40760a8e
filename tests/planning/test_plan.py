"""Chains of runs from a recipe: budgets, and where a chain begins."""

import pytest

from oltr_cli.planning.plan import equal_budget

RECIPE = """
[data]
name = "mine"
[stage1]
epochs = 200
[stage2]
epochs = 100
"""


@pytest.fixture
def recipe(tmp_path):
    def write(text=""):
        path = tmp_path / "mine.toml"
        path.write_text(RECIPE.replace("[stage1]", f"[stage1]\n{text}"))
        return str(path)

    return write


@pytest.mark.parametrize(
    ("schedule", "stretched"),
    [
        ('schedule = "step"\nstep_size = 20', ["train.step_size=30"]),
        ('schedule = "multistep"\nmilestones = [160, 181]', ["train.milestones=[240, 272]"]),
        ('schedule = "cosine"\nwarmup_epochs = 5', []),
    ],
)
def test_an_equal_budget_stretches_the_schedule(recipe, schedule, stretched):
    assert equal_budget("plain", recipe(schedule)) == ["train.epochs=300", *stretched]
