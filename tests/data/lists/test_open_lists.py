"""Further open sets and outliers: which lists are theirs, and what they must not share with others."""

import re
import shutil

import pytest

from oltr_cli.data.feed.opening import further_lists, open_dataset, other_lists
from oltr_cli.data.inspect.lists import scan_lists
from oltr_cli.data.lists.list_file import find_list
from oltr_cli.data.lists.lists import digest_of_files, open_lists
from oltr_cli.data.lists.open_lists import find_open_sets, misnamed_open_sets, shared_classes
from oltr_cli.errors import DataProblem
from oltr_cli.recipe.data import DataSpec
from tests.helpers.open_lists import add_open_list


@pytest.fixture
def tiny(own_tiny_data, monkeypatch):
    monkeypatch.setenv("OLTR_DATA", str(own_tiny_data))
    return own_tiny_data / "tiny"


def opened():
    return open_dataset(DataSpec(name="tiny"))


def test_names_of_open_sets_and_of_other_lists(tmp_path):
    ours = ("open_far.txt", "ImageNet_LT_open_near.txt", "open_by-year_2.txt", "open_2023.txt")
    others = (
        "open.txt", "open_val.txt", "open_train.txt", "X_open_val.txt", "X_open_train.txt", "open_images_val.txt",
        "open_images_train.txt", "open_images_test.txt", "open_classes.txt", "reopen_far.txt",
    )  # fmt: skip
    for name in (*ours, *others):
        (tmp_path / name).write_text("")
    assert find_open_sets(tmp_path) == ["open_2023", "open_by-year_2", "open_far", "open_near"]
    assert find_list(tmp_path, "open_near").name == "ImageNet_LT_open_near.txt"
    assert not list(misnamed_open_sets(tmp_path))


@pytest.mark.parametrize("name", ["open_test.txt", "open_far_val.txt", "open_far_train.txt", "open_images_open.txt"])
def test_a_set_whose_name_is_that_of_another_split_is_not_passed_over(tiny, name):
    (tiny / name).write_text((tiny / "open.txt").read_text())
    last = name.removesuffix(".txt").rpartition("_")[2]
    with pytest.raises(DataProblem, match=rf"{name}: is not read, because names that end in _{last} are"):
        opened()


@pytest.mark.parametrize(
    "name", ["open_far away.txt", "open_-x.txt", "open_50%.txt", "open_é.txt", "open__far.txt", "open_.txt"]
)
def test_a_set_whose_name_cannot_be_used_is_not_passed_over(tiny, name):
    """It would be missing from every table, and nothing would say why."""
    (tiny / "open.txt").rename(tiny / name)
    with pytest.raises(DataProblem, match=rf"{re.escape(name)}: the name of an open set has .*; rename the file$"):
        opened()
    _, findings = scan_lists(tiny)
    assert [finding.kind for finding in findings] == ["misnamed_list"]


def test_the_list_of_outliers_is_not_the_training_list(tmp_path):
    for name in ("ImageNet_LT_train.txt", "ImageNet_LT_open_train.txt"):
        (tmp_path / name).write_text("")
    assert find_list(tmp_path, "train").name == "ImageNet_LT_train.txt"
    assert find_list(tmp_path, "open_train").name == "ImageNet_LT_open_train.txt"


def test_they_are_splits_with_digests_of_their_own(tiny):
    before = opened()
    assert before.further == {}
    names = add_open_list(tiny, "open_far", (20, 21))
    add_open_list(tiny, "open_train", (30,))
    now = opened()
    assert [*now.splits] == ["train", "val", "test", "open", "open_val", "open_far", "open_train"]
    assert now.splits["open_far"].names == names
    assert set(now.splits["open_far"].labels.tolist()) == {-1}
    assert now.digest == before.digest == digest_of_files("tiny", tiny)
    assert other_lists(DataSpec(name="tiny"), before.digest) is None
    assert further_lists(DataSpec(name="tiny")) == now.further
    assert set(now.further) == {"open_far", "open_train"}
    add_open_list(tiny, "open_far", (20,))
    assert opened().further["open_far"] != now.further["open_far"]


def test_a_set_without_open_txt(tiny):
    (tiny / "open.txt").unlink()
    add_open_list(tiny, "open_far", (20,))
    assert "open" not in opened().splits
    assert "open_far" in opened().splits


@pytest.mark.parametrize(
    ("split", "line", "message"),
    [
        (
            "open_far",
            "open/c7/0.png -1",
            r"open_far\.txt: 1 image also in open\.txt, so two open sets are not apart: open",
        ),
        ("open_far", "open_val/c11/0.png -1", r"open_far\.txt: 1 image also in open_val\.txt, so what is tested also"),
        ("open_far", "test/c1/0.png -1", r"open_far\.txt: 1 image also in test\.txt, both known and open"),
        (
            "open_far",
            "train/c1/0.png -1",
            r"open_far\.txt: 1 image also in train\.txt, so training sees what is tested",
        ),
        ("open_train", "train/c1/0.png -1", r"open_train\.txt: 1 image also in train\.txt, both known and open"),
        (
            "open_train",
            "open_val/c11/0.png -1",
            r"open_train\.txt: 1 image also in open_val\.txt, so training sees what",
        ),
        (
            "open_train",
            "near/c40/0.png -1",
            r"open_train\.txt: 1 image also in open_near\.txt, so training sees what is",
        ),
        ("open_far", "open_far/c20/0.png 3", r"open_far\.txt: label 3 in an open list"),
        ("open_train", "open_train/c30/0.png 3", r"open_train\.txt: label 3 in an open list"),
    ],
)
def test_an_image_in_two_lists_or_with_a_label_is_refused(tiny, split, line, message):
    add_open_list(tiny, "open_far", (20,))
    add_open_list(tiny, "open_near", (40,), folder="near")
    add_open_list(tiny, "open_train", (30,))
    path = tiny / f"{split}.txt"
    path.write_text(path.read_text().partition("\n")[2] + line + "\n")
    with pytest.raises(DataProblem, match=message):
        opened()


@pytest.mark.parametrize(
    ("classes", "other", "what"),
    [
        ((30, 7), "open.txt", "that are tested as unknown: c7;"),
        ((30, 11), "open_val.txt", "that choose τ: c11;"),
        ((30, 20), "open_far.txt", "that are tested as unknown: c20;"),
        ((30, 1, 0), "train.txt", "that are known: c0, c1;"),
    ],
)
def test_outliers_of_a_class_of_another_list_are_refused(tiny, classes, other, what):
    add_open_list(tiny, "open_far", (20, 21))
    add_open_list(tiny, "open_train", classes, folder="elsewhere")
    with pytest.raises(DataProblem, match=rf"open_train\.txt: .* class folders? also in {other}, so .*{what}"):
        opened()


@pytest.mark.parametrize(
    ("outliers", "open_", "shared"),
    [
        (["o/cat/1.png", "o/dog/1.png"], ["x/dog/2.png", "x/cow/2.png"], ["dog"]),
        (["train/n1/images/1.png", "train/n2/images/1.png"], ["val/n2/1.png", "val/n3/1.png"], ["n2"]),
        (["o/cat/1.png", "o/dog/1.png"], ["dog/2.png"], ["dog"]),
        (["flat/1.png"], ["flat/2.png"], []),  # nobody can tell
        (["1.png", "2.png"], ["3.png", "x/4.png"], []),
        (["o/1/1.png", "o/2/1.png"], ["x/1/2.png", "x/2/2.png"], []),  # numbers, not names
        (["o/cat/images/1.png", "o/dog/images/1.png"], ["x/cow/images/2.png", "x/bee/images/2.png"], []),
    ],
)
def test_classes_are_told_by_their_folders(outliers, open_, shared):
    found = dict(shared_classes({"train": ["t/a/1.png", "t/b/1.png"], "open": open_, "open_train": outliers}))
    assert found == ({"open": shared} if shared else {})
    assert dict(shared_classes({"open": open_, "open_far": outliers})) == {}


def test_only_what_is_asked_for_is_read(tiny):
    add_open_list(tiny, "open_far", (20,))
    shutil.rmtree(tiny / "open_far")
    splits, _, _ = open_lists("tiny", tiny, tiny, ("train", "val"))
    assert set(splits) == {"train", "val"}
    with pytest.raises(DataProblem, match=r"open_far\.txt: 4 of 4 images not found"):
        open_lists("tiny", tiny, tiny)
