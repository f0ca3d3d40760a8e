"""``oltr data groups``: rejected images in groups, on disk and on the screen, ready for ``oltr add-class``."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.data.feed.transforms import evaluation_crop
from oltr_cli.data.images import decode_file
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.runs.scores import SavedScores
from tests.helpers.finished_runs import environment, make_finished_runs
from tests.helpers.tiny import write_image

ALL = "--threshold=2"  # rejects every image


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("finished")
    patch = environment(home)
    yield make_finished_runs(home, {"plain": []})
    patch.undo()


@pytest.fixture
def pile(tmp_path):
    """Images of two kinds, twelve and seven."""
    rng = np.random.default_rng(3)
    for label, count in ((9, 12), (14, 7)):
        for i in range(count):
            write_image(tmp_path / "pile" / f"{label}-{i}.png", label, rng)
    return tmp_path / "pile"


def oltr(*arguments, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    got = getattr(done.exception, "exit_code", done.exit_code)
    assert got == code, f"{done.output}\n{done.exception!r}"
    return done


def groups(finished, *arguments, code=0):
    return oltr("data", "groups", finished.names["plain"], *arguments, "--workers", 0, "--device", "cpu", code=code)


def test_folders_of_links_and_sheets(finished, pile, tmp_path):
    out = tmp_path / "out"
    done = groups(finished, pile, ALL, "--out", out, "--json")
    facts = json.loads(done.stdout)
    assert facts["images"] == 19
    assert facts["known"] == 0
    assert [group["group"] for group in facts["groups"]] == ["group-01", "group-02"]
    for group, kind in zip(facts["groups"], ("9-", "14-"), strict=True):
        links = sorted((out / group["group"]).iterdir())
        assert all(link.is_symlink() and link.resolve().is_file() for link in links)
        assert [str(link.resolve()) for link in links] == [str(Path(path).resolve()) for path in group["paths"]]
        assert {path.rpartition("/")[2].startswith(kind) for path in group["paths"]} == {True}
        with Image.open(out / f"{group['group']}.png") as sheet:
            assert sheet.width > 200
    assert sum(len(group["paths"]) for group in facts["groups"]) + len(facts["alone"]) == 19


def test_the_nearest_known_class_is_by_cosine_of_means(finished, pile, tmp_path):
    facts = json.loads(groups(finished, pile, ALL, "--out", tmp_path / "out", "--json").stdout)
    val = finished.scores("plain", "val")
    x = val.features / np.linalg.norm(val.features, axis=1, keepdims=True)
    means = np.stack([x[val.labels == k].mean(axis=0) for k in range(5)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    group = facts["groups"][0]
    rows = _features(finished, group["paths"])
    mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
    cosines = means @ (mean / np.linalg.norm(mean))
    assert group["nearest"] == f"thing {cosines.argmax()}"
    assert group["cosine"] == pytest.approx(cosines.max(), abs=1e-3)


def _features(finished, paths):
    recogniser = Recogniser.load(finished.names["plain"])
    crops = torch.stack([evaluation_crop(decode_file(Path(path)), recogniser.recipe.data) for path in paths])
    return recogniser.scores(crops).features


def test_the_next_command_makes_the_class(finished, pile, tmp_path):
    out = tmp_path / "out"
    done = groups(finished, pile, ALL, "--out", out)
    assert f"oltr add-class {finished.names['plain']} NAME {out}/group-01" in " ".join(done.stderr.split())
    added = oltr(
        "add-class", finished.names["plain"], "owl", out / "group-01", "--workers", 0, "--device", "cpu", "--json"
    )
    assert json.loads(added.stdout)["images"] >= 8


def test_a_csv_to_be_named(finished, pile, tmp_path):
    file = tmp_path / "groups.csv"
    done = groups(finished, pile, ALL, "--out", tmp_path / "out", "--csv", file)
    assert "once its labels are names" in done.stderr
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert {row["label"] for row in rows} <= {"group-01", "group-02", "alone"}
    assert len(rows) == 19
    assert not (tmp_path / "out" / "group-01").exists()
    assert (tmp_path / "out" / "group-01.png").exists()
    file.write_text(file.read_text().replace("group-02", "badger"))
    added = oltr("add-class", finished.names["plain"], "badger", file, "--workers", 0, "--device", "cpu", "--json")
    assert json.loads(added.stdout)["images"] == sum(row["label"] == "group-02" for row in rows)


def test_copies_count_once(finished, pile, tmp_path):
    (pile / "copy.png").write_bytes((pile / "9-0.png").read_bytes())
    facts = json.loads(groups(finished, pile, ALL, "--out", tmp_path / "out", "--json").stdout)
    assert facts["copies"] == 1
    assert sum(len(group["paths"]) for group in facts["groups"]) + len(facts["alone"]) == 19


def test_nothing_rejected(finished, pile, tmp_path):
    done = groups(finished, pile, "--threshold=0", "--out", tmp_path / "out")
    said = " ".join(done.stderr.split())
    assert "no image is rejected" in said
    assert f"oltr tune threshold --run {finished.names['plain']} chooses one" in said
    assert not (tmp_path / "out").exists()


def test_too_few_for_a_group(finished, pile, tmp_path):
    done = groups(finished, *sorted(pile.iterdir())[:3], ALL, "--out", tmp_path / "out")
    assert "no group: a group takes 5 images (--least)" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_image_is_named(finished, pile, tmp_path):
    (pile / "broken.png").write_bytes(b"nothing")
    done = groups(finished, pile, ALL, "--out", tmp_path / "out", code=1)
    assert "broken.png" in done.stderr
    assert (tmp_path / "out" / "group-01.png").exists()


def test_a_folder_that_is_in_use_is_refused(finished, pile, tmp_path):
    done = groups(finished, pile, ALL, "--out", pile, code=2)
    assert "exists and is not an empty folder" in str(done.exception)


def test_scores_are_not_touched(finished, pile, tmp_path):
    before = SavedScores.load(finished.path("plain") / "scores" / "val.npz").logits.tobytes()
    groups(finished, pile, ALL, "--out", tmp_path / "out")
    assert SavedScores.load(finished.path("plain") / "scores" / "val.npz").logits.tobytes() == before


def test_too_many_rejected_images_end_it_before_all_are_predicted(finished, pile, tmp_path, monkeypatch):
    monkeypatch.setattr("oltr_cli.inference.groups.cluster.MOST", 6)
    judged, scores = [], Recogniser.scores

    def counted(self, images):
        judged.append(len(images))
        return scores(self, images)

    monkeypatch.setattr(Recogniser, "scores", counted)
    done = groups(finished, pile, ALL, "--batch-size", 4, "--out", tmp_path / "out", code=2)
    assert "more than 6 images are rejected" in str(done.exception)
    assert sum(judged) == 8
    assert not (tmp_path / "out").exists()
