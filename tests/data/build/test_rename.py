"""A class gets another name: in the dataset, and in runs that were made before."""

import pytest

from oltr_cli.data.build.rename import rename_class
from oltr_cli.data.lists.lists import class_names
from oltr_cli.errors import DataProblem, UsageProblem
from tests.helpers.fake_runs import CLASS_COUNTS, edit_result, make_run

K = len(CLASS_COUNTS)
NAMES = ["owl", "polar bear", *(f"bird{i}" for i in range(K - 2))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "classes.txt").write_text("".join(f"{label:06d} {name}\n" for label, name in enumerate(NAMES)))
    return folder


def a_run(tmp_path, names, digest, seed=0):
    run = make_run(tmp_path / "runs", "mine", "dme", seed)
    edit_result(run.path, class_names=names, data_digest=digest)
    return run


def test_existing_runs_and_the_dataset_have_the_new_name(folder, tmp_path):
    run = a_run(tmp_path, NAMES, "now")
    before = (run.path / "result.json").read_bytes()
    done = rename_class("mine", folder, folder, "polar bear", "ice bear")
    assert (done.runs, done.file) == (1, folder / "classes.txt")
    assert run.result().class_names == class_names(folder, folder, K) == ["owl", "ice bear", *NAMES[2:]]
    assert (run.path / "result.json").read_bytes() == before
    rename_class("mine", folder, folder, "ice bear", "bear")
    assert run.result().class_names[1] == class_names(folder, folder, K)[1] == "bear"


def test_two_names_can_be_exchanged_and_runs_of_other_lists_keep_their_order(folder, tmp_path):
    run, earlier = a_run(tmp_path, NAMES, "now"), a_run(tmp_path, NAMES[::-1], "before", seed=1)
    for old, new in (("owl", "x"), ("polar bear", "owl"), ("x", "polar bear")):
        rename_class("mine", folder, folder, old, new)
    swapped = ["polar bear", "owl", *NAMES[2:]]
    assert run.result().class_names == class_names(folder, folder, K) == swapped
    assert earlier.result().class_names == swapped[::-1]
    later = a_run(tmp_path, swapped, "now", seed=2)
    assert later.result().class_names == swapped


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("owl", "polar bear", "put their images into one folder, .*train again"),
        ("owls", "tawny", "no class 'owls'; did you mean 'owl'"),
        ("owl", "unknown", "is not 'unknown'"),
        ("owl", " a", "single blanks"),
        ("owl", "a\nb", "single blanks"),
    ],
)
def test_what_is_no_renaming_changes_nothing(folder, tmp_path, old, new, says):
    run = a_run(tmp_path, NAMES, "now")
    with pytest.raises(UsageProblem, match=says):
        rename_class("mine", folder, folder, old, new)
    assert run.result().class_names == class_names(folder, folder, K) == NAMES


def test_a_damaged_file_of_names_is_named(folder, tmp_path):
    run = a_run(tmp_path, NAMES, "now")
    (tmp_path / "runs" / "mine" / "class_names.json").write_text("[")
    with pytest.raises(DataProblem, match=r"class_names\.json: is damaged"):
        run.result()
