"""Kept features of pre-trained backbones by command: oltr data store ls and rm."""

import json

import pytest

from oltr_cli.data.store.features import FeaturesFolder, find_features
from tests.helpers.in_process import oltr_here


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_CACHE", str(tmp_path / "cache"))
    made = []
    for dataset, key in (("mine", "0123456789"), ("other", "9876543210")):
        folder = FeaturesFolder(dataset, "timm/test_vit", "hub", key)
        (folder.create() / "abcd").mkdir()
        (folder.path / "abcd" / "features.npy").write_bytes(b"x" * 3_000_000)
        made.append(folder)
    return made


def test_they_are_listed_and_removed(folders):
    assert find_features() == folders
    code, out, _ = oltr_here("data", "store", "ls")
    assert code == 0
    assert "mine-test_vit-01234567 mine timm/test_vit 3.0 MB" in " ".join(out.split())
    rows = json.loads(oltr_here("data", "store", "ls", "--json")[1])
    assert [(row["kind"], row["dataset"], row["backbone"], row["weights"]) for row in rows] == [
        ("features", "mine", "timm/test_vit", "hub"),
        ("features", "other", "timm/test_vit", "hub"),
    ]
    assert rows[0]["bytes"] == folders[0].size() > 3_000_000
    code, out, _ = oltr_here("data", "store", "rm", "mine", "--yes")
    assert (code, out.startswith(f"removed {folders[0].path}: 3.0 MB freed")) == (0, True)
    assert find_features() == folders[1:]
    assert not folders[0].path.exists()
    code, _, err = oltr_here("data", "store", "rm", "mine", "--yes")
    assert (code, "no store of 'mine'" in err, "there are: other" in err) == (2, True, True)
    assert oltr_here("data", "store", "rm", folders[1].path.name, "--yes")[0] == 0
    assert find_features() == []


def test_a_damaged_note_is_written_again(folders):
    (folders[0].path / "features.json").write_text("{")
    assert find_features() == folders[1:]
    folders[0].create()
    assert find_features() == folders


def test_a_name_cannot_leave_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_CACHE", str(tmp_path / "cache"))
    folder = FeaturesFolder("a b/../c", "timm/x/../y", "hub", "0123456789")
    assert folder.path.parent == tmp_path / "cache" / "features"
