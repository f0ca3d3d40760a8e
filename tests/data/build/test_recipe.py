"""The recipe of a dataset that was built."""

import pytest

from oltr_cli.base.added_files import add_file
from oltr_cli.data.build.recipe import Sizing, recipe_text
from oltr_cli.errors import UsageProblem
from oltr_cli.planning.plan import plan
from tests.helpers.photographs import photos


def resolved(tmp_path, counts, side, sizing=None, name="mine"):
    """The recipe of dme for so many training images of each class, with the steps of both stages."""
    path = tmp_path / "r.toml"
    text = recipe_text(name, tmp_path, tmp_path, "0" * 64, counts, [side], sizing or Sizing(), True)
    path.write_text(text, encoding="utf-8")
    return [p.link.recipe for p in plan("dme", str(path), [], 0)]


@pytest.mark.parametrize("side", [8, 16, 20, 28, 32, 47, 50, 64, 80, 500, 4000])
def test_images_are_not_enlarged(tmp_path, side):
    data = resolved(tmp_path, [50, 9], side)[0].data
    assert data.image_size <= max(side, 16)
    assert data.image_size >= min(64, side - 3)
    assert data.image_size <= data.eval_resize <= max(side, data.image_size)
    assert data.eval_resize == (73 if side >= 73 else data.image_size)


@pytest.mark.parametrize(
    "counts",
    [[1, 1], [6, 2], [4, 3, 2, 1], [24, 12, 6, 2, 1, 1], [5] * 300, [400, 300, 9], [1280, 40, 5] * 100, [60_000] * 2],
)
def test_the_schedule_fits_the_number_of_images(tmp_path, counts):
    images = sum(counts)
    for recipe in resolved(tmp_path, counts, 64):
        train = recipe.train
        steps = max(1, images // train.batch_size) * train.epochs
        assert train.batch_size <= max(16, images // 16)
        assert train.batch_size % train.images_per_class == 0
        if recipe.method == "plain":
            assert 10 <= train.epochs <= 60
            assert steps >= 1700 or train.epochs == 60
            assert steps <= 2700 or train.epochs == 10
            assert train.lr["features"] == pytest.approx(0.2 * train.batch_size / 128)
        else:
            assert 5 <= train.epochs <= 25
            assert steps >= 500 or train.epochs == 25


def test_a_backbone_without_stems_gets_the_default(tmp_path, no_files):
    (tmp_path / "net.py").write_text(
        "from oltr_cli.networks.backbones import Backbone\nclass Net(Backbone):\n"
        "    def compute_map(self, images): ...\n    def map_size(self, image_size): ...\n"
    )
    add_file(tmp_path / "net.py")
    assert resolved(tmp_path, [50, 9], 32)[0].backbone.stem == "small-stride2"
    assert resolved(tmp_path, [50, 9], 32, Sizing(backbone="net"))[0].backbone.stem == "imagenet"


def test_pre_trained_weights_change_size_network_and_rate(tmp_path):
    recipe = resolved(tmp_path, [50, 9], 500, Sizing(weights="torchvision"))[0]
    assert (recipe.data.image_size, recipe.data.eval_resize) == (224, 256)
    assert (recipe.backbone.name, recipe.backbone.stem) == ("resnet18", "imagenet")
    assert recipe.train.lr["features"] < recipe.train.lr["classifier"]
    small = resolved(tmp_path, [50, 9], 40, Sizing(weights="torchvision"))[0]
    assert (small.data.image_size, small.backbone.stem) == (40, "imagenet")
    weights = tmp_path / 'w "1".pth'
    weights.touch()
    chosen = resolved(tmp_path, [50, 9], 500, Sizing(96, "resnet50", str(weights)))[0]
    assert (chosen.data.image_size, chosen.backbone.name) == (96, "resnet50")
    assert chosen.backbone.weights == str(weights)


@pytest.mark.parametrize(
    ("sizing", "problem"),
    [
        ({"backbone": "resnet11"}, "--backbone resnet11: .*'resnet1[01]"),
        ({"weights": "nowhere.pth"}, "--weights nowhere.pth: no such file"),
        ({"weights": "torchvision", "backbone": "resnet10"}, "torchvision has none for resnet10"),
    ],
)
def test_networks_and_weights_that_there_are_not(sizing, problem):
    with pytest.raises(UsageProblem, match=problem):
        Sizing(**sizing)


def test_paths_of_all_kinds_stand_in_the_recipe(build, tmp_path):
    root = photos(tmp_path / 'q"uo\\te\x7f ü' / "in", {"a": 6, "b": 5})
    report = build(root)
    recipe = plan("dme", "mine", [], 0)[-1].link.recipe
    assert recipe.data.root == str(root)
    assert recipe.data.lists == str(report.folder)
