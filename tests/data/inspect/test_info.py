"""``oltr data info``: the numbers against a count of the lists, the curve, and which images are shown."""

import json
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.display import Display
from oltr_cli.data.inspect.info import Look, facts, look_at
from oltr_cli.data.inspect.pictures import COLUMNS, frequency_curve, representative_tiles
from oltr_cli.errors import DataProblem, OltrError
from oltr_cli.recipe.data import DataSpec
from tests.helpers.open_lists import add_open_list
from tests.helpers.tiny import TINY_COUNTS

RECIPE = '[data]\nname = "tiny"\nimage_size = 16\neval_resize = 16\n'


@pytest.fixture
def tiny(own_tiny_data, tmp_path, monkeypatch):
    """A dataset to damage; its folder. The working folder is another."""
    monkeypatch.setenv("OLTR_DATA", str(own_tiny_data))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (own_tiny_data / "tiny" / "recipe.toml").write_text(RECIPE)
    return own_tiny_data / "tiny"


def run(*arguments):
    result = CliRunner().invoke(app, ["data", "info", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return result


def look(root) -> Look:
    return look_at(DataSpec(name="tiny"), root, root, Display(quiet=True))


def blocks(tiles):
    """First word of the title → captions of its tiles."""
    found = {}
    for tile in tiles:
        found.setdefault(tile.group.split()[0], []).append(tuple(tile.caption))
    return found


def test_numbers_and_pictures(tiny, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    found = json.loads(run("tiny", "--json", "--quiet").stdout)
    assert found["classes"] == 5
    assert found["per_class"] == {"min": 1, "max": 24, "median": 6.0}
    assert found["imbalance_factor"] == 24.0
    assert {group: (row["classes"], row["images"]) for group, row in found["shots"].items()} == {
        "many": (0, 0),
        "medium": (1, 24),
        "few": (4, 21),
    }
    assert found["splits"]["train"] == {"images": sum(TINY_COUNTS), "classes": 5, "fewest": 1, "most": 24}
    assert found["splits"]["open"] == {"images": 10, "classes": 2, "fewest": 5, "most": 5}
    assert found["splits"]["open_val"]["classes"] is None  # one folder: nothing tells kinds apart
    assert found["missing"] == 0
    assert found["written"] == ["tiny-info/frequency.png", "tiny-info/images.png"]
    for name in found["written"]:
        with Image.open(tmp_path / "here" / name) as picture:
            assert picture.format == "PNG"
            assert picture.width > 500
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 20
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*")} == before


def test_further_open_sets_and_outliers_are_counted_and_shown(tiny):
    add_open_list(tiny, "open_far", (20, 21))
    add_open_list(tiny, "open_train", (30, 31, 32))
    found = facts(look(tiny))["splits"]
    assert found["open_far"] == {"images": 8, "classes": 2, "fewest": 4, "most": 4}
    assert found["open_train"] == {"images": 12, "classes": 3, "fewest": 4, "most": 4}
    shown = blocks(representative_tiles(look(tiny)))
    assert {caption[0] for caption in shown["open_far"]} == {"c20", "c21"}
    assert {caption[0] for caption in shown["outliers"]} == {"c30", "c31", "c32"}


def test_the_text_and_the_next_command(tiny):
    result = run("tiny")
    rows = {row.split()[0]: row.split() for row in result.stdout.splitlines() if row.split()}
    assert rows["train"] == ["train", "45", "5", "1–24"]
    assert rows["val"] == ["val", "15", "5", "3"]
    assert rows["medium"] == ["medium", "20–100", "1", "24", "53.3", "%"]
    assert "1–24 training images per class, median 6; imbalance factor 24" in result.stdout
    assert "wrote tiny-info/frequency.png, tiny-info/images.png" in result.stderr
    assert "next  oltr run dme --dataset tiny" in result.stderr


def test_one_training_image_of_each_class(tiny):
    rows = {row.rpartition(" ")[2]: row for row in (tiny / "train.txt").read_text().splitlines()}
    (tiny / "train.txt").write_text("".join(f"{row}\n" for row in rows.values()))
    assert "\n1 training image per class, median 1;" in run("tiny").stdout


def test_one_picture_of_both(tiny, tmp_path):
    run("tiny", "--out", "both", "--quiet")
    run("tiny", "--out", tmp_path / "one.PNG", "--quiet")
    sizes = []
    for path in ("both/frequency.png", "both/images.png", tmp_path / "one.PNG"):
        with Image.open(path) as picture:
            sizes.append(picture.size)
    above, below, one = sizes
    assert one == (max(above[0], below[0]), above[1] + below[1])
    assert sorted(path.name for path in tmp_path.glob("one*")) == ["one.PNG"]


def test_a_place_that_cannot_be_written_is_one_line(tiny):
    with pytest.raises(OltrError, match=r"cannot write .*recipe\.toml/x/frequency\.png"):
        run("tiny", "--out", tiny / "recipe.toml" / "x", "--quiet")


def test_missing_images_are_no_obstacle(tiny, tmp_path):
    for name in ("train/c0/0.png", "open/c7/0.png"):
        (tiny / name).unlink()
    shutil.rmtree(tiny / "train/c4")
    (tiny / "train/c0/1.png").write_bytes(b"broken")
    tiles = representative_tiles(look(tiny))
    assert ("thing 4", "1 image", "cannot be read") in blocks(tiles)["few-shot"]
    assert [tile.image is None for tile in tiles].count(True) == 1  # others of the class stand in for the rest
    result = run("tiny")
    assert "warning: 3 images are missing" in result.stderr
    assert "next  oltr data check tiny" in result.stderr
    lists = tmp_path / "lists"
    lists.mkdir()
    for path in tiny.glob("*.txt"):
        shutil.copy(path, lists)
    found = json.loads(run("tiny", "--root", tmp_path / "no", "--lists", lists, "--json", "--out", "x").stdout)
    assert (found["missing"], found["written"]) == (94, ["x/frequency.png"])


def test_broken_lists_name_the_command_that_says_all(tiny):
    (tiny / "train.txt").write_text("train/c0/0.png zero\n")
    with pytest.raises(DataProblem, match=r"train\.txt:1: .* is not 'relative/path label'\n.*oltr data check tiny"):
        run("tiny")


def test_which_images_are_shown(tiny):
    """A row for each group: classes from most to fewest images, a class several times where there are few."""
    found = blocks(representative_tiles(look(tiny)))
    assert list(found) == ["medium-shot", "few-shot", "open"]
    assert found["medium-shot"] == [("thing 0", "24 images")] * 8
    few = [("thing 1", "12 images")] * 2 + [("thing 2", "6 images")] * 2 + [("thing 3", "2 images")] * 2
    assert found["few-shot"] == [*few, ("thing 4", "1 image")]
    assert found["open"] == [("c7", "5 images")] * 4 + [("c8", "5 images")] * 4
    shown = [tile.image.tobytes() for tile in representative_tiles(look(tiny))]
    assert len(set(shown)) == len(shown)  # no image twice


class Flat:
    """A split whose images are their own index."""

    def __init__(self, labels, names=None):
        self.labels = np.array(labels)
        self.names = names or [""] * len(labels)

    def __len__(self):
        return len(self.labels)

    def image(self, index):
        import torch

        return torch.full((3, 4, 4), index % 256, dtype=torch.uint8)


def test_many_classes_are_spread_from_first_to_last():
    counts = np.arange(100, 0, -1) + 100  # 200 … 101: all many-shot
    train = Flat(np.repeat(np.arange(100), counts))
    probes, others = Flat([0, 0, 1, 1]), Flat([-1] * 3)
    kinds = {"probe": ["a", "a", "b", "b"], "distractors": [""] * 3}
    names = [f"n{i}" for i in range(100)]
    found = blocks(
        representative_tiles(Look("x", names, {"train": train, "probe": probes, "distractors": others}, kinds))
    )
    assert len(found["many-shot"]) == COLUMNS
    assert found["many-shot"][0] == ("n0", "200 images")
    assert found["many-shot"][-1] == ("n99", "101 images")
    assert [caption[0] for caption in found["probes"]] == ["a", "a", "b", "b"]
    assert found["distractors"] == [()] * 3


def test_the_curve_says_what_is_counted():
    counts = np.array([5, 450, 60, 20, 100, 101, 19])
    figure = frequency_curve("x", counts)
    axes = figure.axes[0]
    stairs = [patch for patch in axes.patches if hasattr(patch, "get_data")]
    values, edges, _ = stairs[0].get_data()
    assert values.tolist() == [450, 101, 100, 60, 20, 19, 5]
    assert edges.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]
    assert axes.get_yscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "many (> 100): 2 classes",
        "medium (20–100): 3 classes",
        "few (< 20): 2 classes",
    ]
    bands = [patch for patch in axes.patches if not hasattr(patch, "get_data")]
    assert [(band.get_x(), band.get_width()) for band in bands] == [(0.5, 2.0), (2.5, 3.0), (5.5, 2.0)]
    assert axes.get_ylim()[0] < 5
    assert axes.get_ylim()[1] > 450
    assert {"450", "5", "many", "medium", "few"} <= {text.get_text() for text in axes.texts}


@pytest.mark.parametrize("counts", [[1], [500] * 100, [1, 1], [5000, 1], list(range(1, 9000))])
def test_any_curve_can_be_drawn(counts, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frequency_curve("猫 <名> $x$ name", np.array(counts)).savefig(tmp_path / "x.png")


def test_the_built_in_set(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        '[data]\nname = "small"\nkind = "glyphs"\nimage_size = 16\neval_resize = 16\n[data.glyphs]\nimage_size = 16\n'
        "known_classes = 6\nopen_classes = 3\nopen_val_classes = 2\ntail_floor = 2\ntail_max = 30\ntail_scale = 60\n"
        "val_per_class = 2\ntest_per_class = 2\nopen_per_class = 2\n"
    )
    monkeypatch.chdir(tmp_path)
    found = json.loads(run(recipe, "--json").stdout)
    assert found["splits"]["open"] == {"images": 6, "classes": 3, "fewest": 2, "most": 2}
    assert found["splits"]["open_val"]["classes"] == 2
    assert found["classes"] == 6
    assert found["written"] == ["small-info/frequency.png", "small-info/images.png"]


def test_names_of_any_script(tiny):
    (tiny / "classes.txt").write_text(
        "0 кошка\n1 猫\n2 Ein Käfer mit sehr langem Namen, der nicht passt\n3 $x_1$\n4 \n"
    )
    found = blocks(representative_tiles(look(tiny)))
    assert found["medium-shot"][0][0] == "кошка"
    assert [name for name, _ in found["few-shot"]][::2] == [
        "猫",
        "Ein Käfer mit sehr langem Namen, der nicht passt",
        "$x_1$",
        "4",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run("tiny", "--quiet")


def test_counts_are_those_of_the_lists(tiny):
    rows = [line.rsplit(" ", 1) for line in (tiny / "test.txt").read_text().splitlines()]
    kinds = sorted({label for _, label in rows})
    found = facts(look(tiny))["splits"]["test"]
    assert (found["images"], found["classes"]) == (len(rows), len(kinds))
