"""Recipes: the order of merging, where values come from, hashes, and errors that help."""

import tomllib
from pathlib import Path

import pytest
import tomli_w

from oltr_cli.errors import UsageProblem
from oltr_cli.planning.described import Described
from oltr_cli.planning.resolve import parse_set, resolve_chain
from oltr_cli.recipe.files import builtin_recipes, find_recipe, read_recipe
from oltr_cli.recipe.specs import MethodParams


class Params(MethodParams):
    lambda_: float = 0.01
    depth: int = 2


CHAIN = [Described("plain", False, MethodParams), Described("ours", False, Params, starts_from="plain")]


def resolve(tmp_path, text, *sets, chain=CHAIN) -> list:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return resolve_chain(path, chain, list(sets))


def test_each_layer_covers_the_one_before(tmp_path):
    text = """
    [train]
    epochs = 2
    batch_size = 64
    momentum = 0.5
    [stage2]
    epochs = 3
    batch_size = 32
    [method.ours.train]
    epochs = 4
    """
    plain, ours = resolve(tmp_path, text, "train.momentum=0.7")
    assert (plain.recipe.train.epochs, plain.recipe.train.batch_size, plain.recipe.train.momentum) == (2, 64, 0.5)
    assert (ours.recipe.train.epochs, ours.recipe.train.batch_size, ours.recipe.train.momentum) == (4, 32, 0.7)
    assert plain.recipe.train.weight_decay == ours.recipe.train.weight_decay == 5e-4
    assert ours.origin["train.epochs"] == "mine.toml [method.ours]"
    assert ours.origin["train.batch_size"] == "mine.toml [stage2]"
    assert ours.origin["train.momentum"] == "--set train.momentum"
    assert "train.weight_decay" not in ours.origin


def test_set_reaches_an_ancestor_by_name_and_shared_keys_reach_all(tmp_path):
    plain, ours = resolve(tmp_path, "", "plain.train.epochs=7", "data.image_size=48", "ours.params.depth=5")
    assert plain.recipe.train.epochs == 7
    assert ours.recipe.train.epochs == 30
    assert plain.recipe.data.image_size == ours.recipe.data.image_size == 48
    assert ours.recipe.params.depth == 5


def test_lambda_goes_by_its_name(tmp_path):
    _, ours = resolve(tmp_path, "", "params.lambda=0.1")
    assert ours.recipe.params.lambda_ == 0.1
    assert ours.recipe.as_toml()["params"] == {"lambda": 0.1, "depth": 2}


def test_learning_rates_are_merged_by_part(tmp_path):
    _, ours = resolve(tmp_path, "[stage2]\nlr = { features = 0.5 }", "train.lr.centroids=0.25")
    assert ours.recipe.train.lr == {"features": 0.5, "classifier": 0.1, "centroids": 0.25}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("train.epochs=3", 3),
        ("params.lambda=1e-3", 1e-3),
        ("train.freeze_backbone=true", True),
        ("data.crop_scale=[0.5, 1.0]", [0.5, 1.0]),
        ("data.root=/a=b", "/a=b"),
        ('data.root="x"', "x"),
        ("data.name=glyphs", "glyphs"),
    ],
)
def test_set_values_are_toml_or_else_text(text, value):
    assert parse_set(text) == (text.partition("=")[0], value)


HASHED = [
    ([], ["train.freeze=none"]),
    ([], ["train.lora=0"]),
    (["train.freeze_backbone=true"], ["train.freeze=all"]),
    (["train.freeze=1 block"], ["train.freeze=1 blocks"]),
    (["train.freeze=2 blocks"], ["train.freeze_backbone=true", "train.freeze=2 blocks"]),
    (["train.freeze_backbone=true"], ["train.freeze=2 blocks", "train.freeze_backbone=true"]),
    ([], ["train.freeze=all", "train.freeze=none"]),
]


@pytest.mark.parametrize(("sets", "others"), HASHED)
def test_both_keys_that_freeze_are_one_and_the_later_counts(tmp_path, sets, others):
    (_, one), (_, other) = resolve(tmp_path, "", *sets), resolve(tmp_path, "", *others)
    assert one.recipe == other.recipe
    assert one.hash == other.hash


def test_a_recipe_that_freezes_is_undone_by_set(tmp_path):
    _, link = resolve(tmp_path, "[stage2]\nfreeze_backbone = true", "train.freeze=3 blocks")
    assert (link.recipe.train.freeze_backbone, link.recipe.train.frozen_blocks) == (False, 3)
    assert "train.freeze_backbone" not in link.origin


def test_set_without_a_value():
    with pytest.raises(UsageProblem, match="KEY=VALUE"):
        parse_set("train.epochs")


@pytest.mark.parametrize(
    ("text", "sets", "message"),
    [
        ("[train]\nepoch = 3", [], r"mine\.toml: unknown key 'train\.epoch' \(mine\.toml\); did you mean 'epochs'\?"),
        ("[trian]\n", [], r"unknown table \[trian\]; did you mean 'train'"),
        ("", ["train.epoch=3"], r"^--set train\.epoch: unknown key 'train\.epoch'; did you mean 'epochs'"),
        ("", ["lambda=3"], r"--set lambda: unknown key; did you mean 'params\.lambda'"),
        ("", ["params.lamda=3"], r"did you mean 'lambda'"),
        ("", ["lifted.train.epochs=3"], r"--set lifted\.train\.epochs: unknown key"),
        ("", ["plain.data.image_size=32"], r"--set plain\.data\.image_size: unknown key"),
        ("", ["train.epochs=none"], r"train\.epochs: .*valid integer.*not 'none'"),
        ("", ["train.epochs=0"], r"train\.epochs: .*greater than or equal to 1"),
        ("", ["train.epochs=0"], r"^--set train\.epochs: input should be .*, not 0$"),
        ("", ["train.lr.features=-1"], r"^--set train\.lr\.features: lr must not be negative: features=-1"),
        ("", ["backbone.name=resnt"], r"^--set backbone\.name: no backbone 'resnt'; did you mean"),
        ("[train]\nsampler = 'class_aware'\nbatch_size = 30", ["train.gamma=0.2"], r"mine\.toml: train: batch_size 30"),
        ("", ["backbone.name=tim/test_vit"], r"^--set backbone\.name: no backbone .*; did you mean 'timm/test_vit'\?$"),
        ("", ["backbone.name=convnext_atto"], r"no backbone 'convnext_atto'; did you mean 'timm/convnext_atto'\?$"),
        ("", ["data.crop_scale=[0.9, 0.1]"], r"crop_scale must be"),
        ("[train]\nsampler = 'class_aware'\nbatch_size = 30", [], r"batch_size 30 is not a multiple"),
        ("", ["train.schedule=multistep"], r"^--set train\.schedule: schedule multistep needs milestones"),
        ("", ["train.schedule=multistep", "train.milestones=[9, 3]"], r"milestones must rise .*, not \[9, 3\]"),
        ("", ["train.schedule=multistep", "train.milestones=[0, 3]"], r"must rise and be at least 1, not \[0, 3\]"),
        ("", ["train.schedule=multistep", "train.milestones=[20, 30]"], r"\[20, 30\] must be below epochs 30"),
        ("", ["train.warmup_epochs=31"], r"^--set train\.warmup_epochs: warmup_epochs 31 is above epochs 30"),
        ("", ["train.warmup_epochs=0"], r"^--set train\.warmup_epochs: .*greater than or equal to 1, not 0"),
        ("", ["data.crop_padding=-1"], r"^--set data\.crop_padding: .*greater than or equal to 0, not -1"),
        ("", ["train.mixup=-1"], r"^--set train\.mixup: .*greater than or equal to 0, not -1"),
        (
            "",
            ["train.mixup=0.2"],
            r"^--set train\.mixup: .* cannot train on mixed images \(its class does not set mixes",
        ),
        (
            "[train]\ncutmix = 1",
            [],
            r"train\.cutmix: .* cannot train on mixed .* as plain\.train\.cutmix or in \[stage1\]",
        ),
        ("", ["plain.train.mixup=0.2", "plain.train.freeze_backbone=true"], r"mixup and cutmix need images"),
        ("", ["train.betas=[0.9, 0.99]"], r"^--set train\.betas: betas are those of optimizer adamw"),
        ("", ["train.optimizer=adamw", "train.betas=[0.9, 1]"], r"betas must be at least 0 and below 1, not \[0\.9, 1"),
        ("", ["train.optimizer=adam"], r"^--set train\.optimizer: .*'sgd' or 'adamw', not 'adam'"),
        ("", ["train.layer_decay=0"], r"^--set train\.layer_decay: .*greater than 0, not 0"),
        ("", ["train.layer_decay=0.5", "train.freeze_backbone=true"], r"layer_decay is for .* freeze_backbone is set"),
        ("", ["train.freeze=some"], r"^--set train\.freeze: freeze is all, none or a number of blocks, .* not 'some'"),
        ("", ["train.freeze=2"], r"^--set train\.freeze: .* a number of blocks, such as '6 blocks', not 2$"),
        ("", ["train.freeze=true"], r"^--set train\.freeze: freeze is all, none or .*, not True$"),
        ("[train]\nfreeze = 'all'\nfreeze_backbone = false", [], r"freeze = all and .* false contradict each other"),
        ("[train]\nfreeze = '1 block'\nfreeze_backbone = true", [], r"freeze = 1 blocks trains the rest"),
        ("[train]\nfreeze = 'none'\nfreeze_backbone = true", [], r"freeze = none and .* contradict each other"),
        ("", ["train.lora=4", "train.freeze=all"], r"lora keeps the backbone's own weights .*; set no freeze"),
        ("", ["train.lora_alpha=4"], r"^--set train\.lora_alpha: lora_alpha is the scale of lora; set its rank"),
        ("", ["data.rand_augment=[2, 31]"], r"rand_augment must be .* from 0 to 30, not \[2, 31\]"),
        ("", ["data.rand_augment=[0, 9]"], r"rand_augment must be at least 1 operation"),
        ("", ["data.random_erasing=1.5"], r"^--set data\.random_erasing: .*less than or equal to 1, not 1\.5"),
        ("[data\n", [], r"mine\.toml: not valid TOML"),
        ("train = 3", [], r"\[train\] must be a table"),
    ],
)
def test_errors_are_one_line_with_a_hint(tmp_path, text, sets, message):
    with pytest.raises(UsageProblem, match=message) as caught:
        resolve(tmp_path, text, *sets)
    assert "\n" not in str(caught.value)


def test_all_errors_at_once(tmp_path):
    with pytest.raises(UsageProblem) as caught:
        resolve(tmp_path, "[train]\nepochs = 0\nmomentun = 1\n[data]\nimage_size = 2")
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("3 problems")
    assert len(lines) == 4


def test_a_recipe_is_not_blamed_for_what_was_set(tmp_path):
    with pytest.raises(UsageProblem) as caught:
        resolve(tmp_path, "", "train.epochs=0", "train.momentum=3")
    lines = str(caught.value).splitlines()
    assert lines[0] == "--set: 2 problems"
    assert lines[1].endswith("not 0 (--set train.epochs)")
    with pytest.raises(UsageProblem, match=r"^.*mine\.toml: 2 problems"):
        resolve(tmp_path, "[train]\nepochs = 0", "data.image_size=2")
    with pytest.raises(UsageProblem, match=r"^--set data\.mean: data\.mean\.0: .*not nan$"):
        resolve(tmp_path, "", "data.mean=[nan,0,0]")  # an entry of a list


def test_the_hash_says_what_a_run_is(tmp_path):
    def hashes(text="", *sets):
        return [link.hash for link in resolve(tmp_path, text, *sets)]

    plain, ours = hashes()
    assert hashes() == [plain, ours]
    assert hashes("", "params.lambda=0.5")[0] == plain
    assert hashes("", "params.lambda=0.5")[1] != ours
    assert hashes("", "params.lambda=0.01") == [plain, ours]  # the default said aloud
    assert hashes("", "plain.train.epochs=3")[1] != ours  # its ancestor is another
    assert hashes("", "data.image_size=48")[0] != plain
    assert hashes("", "data.root=/elsewhere", "data.lists=/there") == [plain, ours]  # where it lies does not count


def test_weight_files_count_by_what_they_hold(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"one")
    (tmp_path / "b.pt").write_bytes(b"one")
    (tmp_path / "c.pt").write_bytes(b"two")
    by_file = [resolve(tmp_path, "", f"backbone.weights={tmp_path / f}.pt")[0].hash for f in "abc"]
    assert by_file[0] == by_file[1] != by_file[2]


def test_a_folder_with_a_recipe_and_a_path_without_are_led_on(tmp_path):
    folder = tmp_path / "my set"
    with pytest.raises(UsageProblem, match=r"no recipe file .*; create it with: oltr cp \S+ '.*my set\.toml'$"):
        find_recipe(str(folder))
    folder.mkdir()
    (folder / "recipe.toml").touch()
    with pytest.raises(UsageProblem, match=r"is a folder; give the recipe in it: --recipe '.*my set/recipe\.toml'$"):
        find_recipe(str(folder))


@pytest.mark.parametrize("name", builtin_recipes())
def test_built_in_recipes_resolve_and_round_trip(name, tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_DATA", str(tmp_path))
    weights = read_recipe(find_recipe(name)).get("backbone", {}).get("weights", "torchvision")
    if weights != "torchvision":  # a file
        (tmp_path / weights).parent.mkdir(parents=True)
        (tmp_path / weights).touch()
    links = resolve_chain(find_recipe(name), CHAIN, ["ours.params.lambda=0.2"])
    for link in links:
        assert link.recipe.data.name == name.removesuffix("-resnet32").removesuffix("-pretrained")
        text = tomli_w.dumps(link.recipe.as_toml())
        assert tomllib.loads(text) == link.recipe.as_toml()


def test_missing_recipes(tmp_path):
    with pytest.raises(UsageProblem, match="did you mean 'imagenet-lt'"):
        find_recipe("imagnet-lt")
    with pytest.raises(UsageProblem, match="create it with: oltr cp"):
        find_recipe(str(tmp_path / "none.toml"))
    with pytest.raises(UsageProblem, match="cannot be read"):
        read_recipe(Path(tmp_path))


@pytest.mark.parametrize(
    ("facts", "why"), [({"trains": True, "on_features": True}, "it sees saved features"), ({}, "it takes no step")]
)
def test_lora_is_refused_where_no_backbone_is_trained(tmp_path, facts, why):
    plain = Described("plain", False, MethodParams, trains=True)
    chain = [plain, Described("head", False, MethodParams, starts_from="plain", **facts)]
    with pytest.raises(UsageProblem, match=rf"train\.lora: head does not .* \({why}\).* plain\.train\.lora or in \[st"):
        resolve(tmp_path, "[train]\nlora = 4", chain=chain)
    first, second = resolve(tmp_path, "", "plain.train.lora=4", chain=chain)
    assert (first.recipe.train.lora, second.recipe.train.lora) == (4, None)
