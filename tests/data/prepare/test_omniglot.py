"""`oltr data prepare omniglot-small`: who is trained on, looked up and in the way, and what is refused."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.data.lists.lists import open_lists, read_list
from oltr_cli.data.prepare.omniglot import DISTRACTORS, DRAWINGS, PROBE, TRAIN, prepare_omniglot_small
from oltr_cli.errors import DataProblem
from oltr_cli.planning.plan import plan

LISTS = ("train", "val", "test", "probe", "distractors")
CHARACTERS = 6  # of each alphabet


def make_drawings(root):
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(root / "one.png")
    drawing = (root / "one.png").read_bytes()
    (root / "one.png").unlink()
    for a, alphabet in enumerate((*TRAIN, *PROBE, *DISTRACTORS)):
        for c in range(CHARACTERS):
            folder = root / alphabet / f"character{c:02}"
            folder.mkdir(parents=True)
            for i in range(DRAWINGS):
                (folder / f"{a:02}{c:02}_{i + 1:02}.png").write_bytes(drawing)
    return root


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = make_drawings(tmp_path_factory.mktemp("omniglot"))
    return root, prepare_omniglot_small(root)


@pytest.fixture
def own(tmp_path):
    return make_drawings(tmp_path)


def test_the_splits_share_nothing(prepared):
    root, report = prepared
    names = {split: set(read_list(root / f"{split}.txt")[0]) for split in LISTS}
    assert len(set().union(*names.values())) == sum(map(len, names.values()))
    scripts = {split: {name.split("/")[0] for name in found} for split, found in names.items()}
    assert scripts == {
        **{split: set(TRAIN) for split in ("train", "val", "test")},
        "probe": set(PROBE),
        "distractors": set(DISTRACTORS),
    }
    assert report.counts == {split: len(found) for split, found in names.items()}
    assert report.classes == len(TRAIN) * CHARACTERS
    assert len(names["probe"]) == len(PROBE) * CHARACTERS * DRAWINGS


def test_a_label_is_one_character(prepared):
    root, _ = prepared
    known = {}
    for split in ("train", "val", "test"):
        for name, label in zip(*read_list(root / f"{split}.txt"), strict=True):
            assert known.setdefault(label, name.rpartition("/")[0]) == name.rpartition("/")[0]
    assert (root / "classes.txt").read_text().splitlines() == [known[label] for label in sorted(known)]
    names, identities = read_list(root / "probe.txt")
    assert len({(name.rpartition("/")[0], i) for name, i in zip(names, identities, strict=True)}) == len(
        set(identities)
    )
    assert set(Counter(identities.tolist()).values()) == {DRAWINGS}


def test_training_has_a_tail_and_the_rest_none(prepared):
    root, _ = prepared
    train = np.bincount(read_list(root / "train.txt")[1])
    assert train.max() == 16
    assert train.min() in (1, 2)
    assert np.median(train) < train.mean() < 10
    for split in ("val", "test"):
        assert set(np.bincount(read_list(root / f"{split}.txt")[1])) == {2}


def test_what_it_writes_can_be_opened(prepared):
    root, _ = prepared
    splits, names, _ = open_lists("omniglot-small", root, root)
    groups = splits["probe"].groups
    assert {name: int(members.sum()) for name, members in groups.items()} == {
        script.lower(): CHARACTERS * DRAWINGS for script in PROBE
    }
    assert names[0] == f"{TRAIN[0]}/character00"


def test_a_second_call_changes_nothing(prepared):
    root, _ = prepared
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert prepare_omniglot_small(root).lists_written == []
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_by_command(own):
    done = CliRunner().invoke(app, ["data", "prepare", "omniglot-small", "--root", str(own), "--json", "-q"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["dataset"] == "omniglot-small"
    assert report["counts"]["distractors"] == len(DISTRACTORS) * CHARACTERS * DRAWINGS


def test_the_recipe_is_built_in():
    data = plan("dme", "omniglot-small", [], 0)[-1].link.recipe.data
    assert (data.kind, data.name, data.flip) == ("lists", "omniglot-small", False)


def test_missing_alphabets_are_named(tmp_path):
    with pytest.raises(DataProblem, match=r"no characters of Balinese, .*Tagalog; unpack"):
        prepare_omniglot_small(tmp_path)


def test_a_missing_folder_is_called_missing(tmp_path):
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(DataProblem, match=f"{name}: no such folder; give --root"):
            prepare_omniglot_small(tmp_path / name)


def test_missing_drawings_are_named(own):
    next((own / "Latin" / "character03").iterdir()).unlink()
    with pytest.raises(DataProblem, match=rf"20 drawings .*Latin/character03 {DRAWINGS - 1}") as caught:
        prepare_omniglot_small(own)
    assert "\n" not in str(caught.value)
    assert not list(own.glob("*.txt"))


def test_all_that_is_missing_is_named_at_once(own):
    shutil.rmtree(own / "Tagalog")
    next((own / "Latin" / "character03").iterdir()).unlink()
    with pytest.raises(DataProblem) as caught:
        prepare_omniglot_small(own)
    where, alphabets, drawings = str(caught.value).splitlines()
    assert where == f"{own}: 2 problems"
    assert "no characters of Tagalog; unpack" in alphabets
    assert drawings.endswith(f"but: Latin/character03 {DRAWINGS - 1}")


def test_a_list_of_another_origin_stays(own):
    (own / "probe.txt").write_text("x.png 1\n")
    with pytest.raises(DataProblem, match=r"probe\.txt already there with other content"):
        prepare_omniglot_small(own)
    assert not (own / "train.txt").exists()
