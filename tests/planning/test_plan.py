"""Chains of runs from a recipe: budgets, and where a chain begins."""

import re
from pathlib import Path

import pytest

from oltr_cli.errors import UsageProblem
from oltr_cli.planning.plan import equal_budget, plan
from oltr_cli.planning.registry import list_methods

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


FROM_SCRATCH = "train.from_scratch=true"


def told(planned):
    return [(p.run.method, p.parent and p.parent.method, p.epochs) for p in planned]


def test_a_method_trains_from_scratch_with_the_settings_of_stage_1(recipe):
    usual = plan("ldam-drw+energy", recipe(), [], seed=0)
    scratch = plan("ldam-drw+energy", recipe(), [FROM_SCRATCH], seed=0)
    assert told(usual) == [("plain", None, 200), ("ldam-drw", "plain", 100), ("ldam-drw+energy", "ldam-drw", 0)]
    assert told(scratch) == [("ldam-drw", None, 200), ("ldam-drw+energy", "ldam-drw", 0)]
    assert len({p.run.hash for p in (*usual, *scratch)}) == 5
    assert scratch[0].link.recipe.as_toml()["train"]["from_scratch"] is True
    assert scratch[0].link.origin["train.epochs"] == "mine.toml [stage1]"


def test_a_recipe_may_say_so_and_a_command_otherwise(recipe):
    two_stages = plan("balanced-softmax", recipe(), [], seed=0)
    own = recipe()
    Path(own).write_text(f"{Path(own).read_text()}[method.balanced-softmax.train]\nfrom_scratch = true\n")
    assert told(plan("balanced-softmax", own, [], seed=0)) == [("balanced-softmax", None, 200)]
    assert len(plan("ldam-drw", own, [], seed=0)) == 2
    back = plan("balanced-softmax", own, ["train.from_scratch=false"], seed=0)
    assert told(back)[-1] == ("balanced-softmax", "plain", 100)
    assert back[-1].run.hash == two_stages[-1].run.hash


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("plain", "plain starts from nothing anyway; leave it out"),
        ("crt", "crt trains a head on the features of plain, and has none of its own; leave it out"),
        ("dme", r"dme is made to start from plain \(its class does not set trains_from_scratch\); leave it out"),
    ],
)
def test_methods_that_cannot_say_why(recipe, method, message):
    with pytest.raises(UsageProblem, match=f"^train\\.from_scratch: {message}$"):
        plan(method, recipe(), [FROM_SCRATCH], seed=0)


@pytest.mark.parametrize("table", ["train", "stage1", "stage2"])
def test_from_scratch_is_of_one_method(tmp_path, table):
    path = tmp_path / "mine.toml"
    path.write_text(f'[data]\nname = "mine"\n[{table}]\nfrom_scratch = true\n')
    with pytest.raises(UsageProblem, match=rf"mine\.toml: \[{table}\] applies to several .* \[method\.NAME\.train\]"):
        plan("focal", str(path), [], seed=0)


def test_a_text_is_no_answer(recipe):
    with pytest.raises(UsageProblem, match=r"^--set train\.from_scratch: .*valid boolean, not 'yes'"):
        plan("focal", recipe(), ["train.from_scratch=yes"], seed=0)


def test_the_methods_whose_papers_train_from_scratch(recipe):
    able = []
    for name, info in list_methods().items():
        if info.kind == "method" and info.origin == "built-in":
            try:
                plan(name, recipe(), [FROM_SCRATCH], seed=0)
                able.append(name)
            except UsageProblem:
                pass
    assert able == ["balanced-softmax", "class-balanced", "cost-sensitive", "focal", "ldam-drw", "logit-adjustment"]


@pytest.mark.parametrize("key", ["mixup", "cutmix"])
def test_images_are_mixed_where_the_loss_is_a_mean_over_images(recipe, key):
    chain = plan("dme", recipe(f"{key} = 0.5"), [], seed=0)  # in [stage1]
    assert [p.link.recipe.as_toml()["train"].get(key) for p in chain] == [0.5, None]
    (scratch,) = plan("focal", recipe(f"{key} = 0.5"), [FROM_SCRATCH], seed=0)
    assert scratch.link.recipe.as_toml()["train"][key] == 0.5
    off = plan("plain", recipe(f"{key} = 0.5"), [f"train.{key}=0"], seed=0)
    assert off[0].run.hash == plan("plain", recipe(), [], seed=0)[0].run.hash
    for method, why in (("range", "its class does not set mixes"), ("crt", "it sees features, not images")):
        with pytest.raises(
            UsageProblem, match=f"train.{key}: {method} cannot train on mixed images .{why}.; set it for"
        ):
            plan(method, recipe(), [f"train.{key}=0.5"], seed=0)


@pytest.mark.parametrize("assignment", ["train.freeze_backbone=true", "train.freeze=all"])
def test_freezing_is_a_setting_of_the_run_that_has_a_backbone(assignment):
    """cosine-la trains a head on what plain saved: its own setting would leave plain to be trained as a whole."""
    with pytest.raises(UsageProblem, match=rf"cosine-la trains a head .* write --set plain\.{re.escape(assignment)}$"):
        plan("cosine-la", "glyphs-lt", [assignment], 0)
    assert plan("cosine-la", "glyphs-lt", [f"plain.{assignment}"], 0)[0].link.recipe.train.freeze_backbone
    assert plan("plain", "glyphs-lt", [f"plain.{assignment}"], 0)[0].link.recipe.train.freeze_backbone
    assert plan("cosine-la", "glyphs-lt", ["train.freeze_backbone=false"], 0)
