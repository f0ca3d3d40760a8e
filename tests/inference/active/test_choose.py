"""oltr data active: what is least known comes first, copies and look-alikes once, and nothing broken stops it."""

import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.commands.data.active import _next
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.inference.active import choose as active
from oltr_cli.inference.active.diversity import Spread
from oltr_cli.inference.active.training_images import TrainingFiles, training_files
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.recipe.data import DataSpec
from tests.helpers.finished_runs import environment, make_finished_runs
from tests.helpers.tiny import make_tiny_dataset


def test_memory_is_bounded_and_the_order_kept():
    """Rows come in parts; equal ones stay in the order in which they came."""
    pool = active._Pool(keep=5)
    values = np.array([3, 1, 3, 2, 9, 0, 3, 9, 1, 3, 3, 4, 8, 8, 8, 0], np.float32)
    for start in range(0, 16, 3):
        part = values[start : start + 3]
        zeros = np.zeros(len(part))
        paths = np.array([f"{i}" for i in range(start, start + len(part))], object)
        pool.add(active.Rows(paths, part, zeros, zeros, zeros, zeros, zeros, zeros[:, None]))
        assert sum(map(len, pool.parts)) <= 10
    assert pool.rows().paths.tolist() == ["4", "7", "12", "13", "14"]


def rows_of(values, features):
    zeros = np.zeros(len(values))
    names = np.array([str(value) for value in values], object)
    return active.Rows(names, np.float32(values), zeros, zeros, zeros, zeros, zeros, np.float32(features)[:, None])


def test_thousands_of_pictures_of_one_scene_leave_room_for_others():
    """They are less known than all others, and more of them than the pool keeps."""
    pool = active._Pool(keep=10, radius=1.0)
    for start in range(0, 100, 10):
        others = rows_of([-start - 1], [5.0 * start])
        pool.add(rows_of(range(100 - start, 90 - start, -1), np.full(10, -50.0) + 0.01 * np.arange(10)))
        pool.add(others)
        assert sum(map(len, pool.parts)) <= 20
    kept = pool.rows()
    assert kept.paths.tolist() == ["100", *(str(-start - 1) for start in range(0, 90, 10))]
    assert pool.similar == 99


# The command, on real runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("finished")
    patch = environment(home)
    yield make_finished_runs(home, {"plain": [], "dme": [], "dme+energy": []})
    patch.undo()


@pytest.fixture
def folder(finished, tmp_path):
    """All test and open images under names that say nothing."""
    files = [*finished.files("test"), *finished.files("open")]
    folder = tmp_path / "unsorted"
    folder.mkdir()
    for index, file in enumerate(files):
        shutil.copy(file, folder / f"{index:02}.png")
    return folder


@pytest.fixture
def all_differ(monkeypatch):
    """The tiny networks see hardly any difference within a class; here each image is taken as one of its own."""

    def first(features, budget, known):
        rows = np.arange(min(budget, len(features)))
        return Spread(rows, rows, 0, 0)

    monkeypatch.setattr(active, "spread", first)
    monkeypatch.setattr(active, "distinct", lambda features, radius, most: np.arange(min(most, len(features))))


def call(*arguments):
    return CliRunner().invoke(app, ["data", "active", *map(str, arguments), "--workers", "0", "--device", "cpu"])


def answer(*arguments, code=0):
    done = call(*arguments, "--json")
    if code:
        assert isinstance(done.exception, OltrError), (done.output, done.exception)
        assert done.exception.exit_code == code
    else:
        assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def saved(finished, method):
    """What the run saved of the images in ``folder``: confidences, and γ computed here, in float64."""
    parts = [finished.scores(method, split) for split in ("test", "open")]
    confidence = np.concatenate([part.confidence for part in parts])
    base = [finished.scores(method.partition("+")[0], split) for split in ("test", "open")]
    features = np.concatenate([part.features for part in base]).astype(np.float64)
    state = torch.load(finished.path(method.partition("+")[0]) / "best.pt", weights_only=True)["model"]
    if "centroid_loss.centroids" not in state:
        return confidence, None, None
    distances = np.linalg.norm(features[:, None] - state["centroid_loss.centroids"].double().numpy(), axis=2)
    return confidence, distances.min(1), distances.argmin(1)


@pytest.mark.parametrize("method", ["plain", "dme", "dme+energy"])
@pytest.mark.parametrize("by", ["reachability", "confidence"])
def test_the_least_known_images_come_first(finished, folder, method, by, all_differ):
    if (method, by) == ("plain", "reachability"):
        with pytest.raises(UsageProblem, match="plain has no centroids"):
            raise call(finished.names[method], folder, "--budget", 5, "--by", by).exception
        return
    told = answer(finished.names[method], folder, "--budget", 12, "--by", by)
    confidence, gamma, nearest = saved(finished, method)
    rows = [int(Path(one["image"]).stem) for one in told["images"]]
    assert (told["by"], told["budget"], len(rows), len(set(rows))) == (by, 12, 12, 12)
    value = gamma if by == "reachability" else -confidence
    np.testing.assert_allclose(value[rows], np.sort(value)[::-1][:12], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose([one["confidence"] for one in told["images"]], confidence[rows], rtol=1e-4, atol=1e-5)
    names = json.loads((finished.path(method) / "result.json").read_text())["class_names"]
    if gamma is None:
        assert all(one["reachability"] is None for one in told["images"])
    else:
        np.testing.assert_allclose([one["reachability"] for one in told["images"]], gamma[rows], rtol=1e-4)
        assert [one["nearest"] for one in told["images"]] == [names[n] for n in nearest[rows]]
    for one in told["images"]:
        assert one["unknown"] == (one["label"] == "unknown") == (one["confidence"] < told["threshold"]["value"])


def test_copies_and_look_alikes_count_once(finished, folder):
    """A copy, another file with the same pixels, and one that was compressed anew; names with spaces and umlauts."""
    first = folder / "00.png"
    shutil.copy(first, folder / "zz copy.png")
    Image.open(first).save(folder / "zz ünï ☃.BMP")
    Image.open(first).save(folder / "zzz.webp", quality=90)
    told = answer(finished.names["plain"], folder, "--budget", 100)
    names = [Path(one["image"]).name for one in told["images"]]
    assert told["counts"]["images"] == 33
    assert told["counts"]["copies"] == 2
    assert not {"zz copy.png", "zz ünï ☃.BMP"} & set(names)
    assert len({"00.png", "zzz.webp"} & set(names)) == 1
    assert len(names) < 31
    assert told["counts"]["similar"] >= 1


def test_two_hundred_pictures_of_one_unknown_thing_do_not_fill_the_choice(finished, folder):
    """As a camera takes them: they differ by noise only. All are unknown, and less known than anything else."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (20, 20, 3))
    for index in range(200):
        pixels = (scene + rng.normal(0, 2, scene.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"scene {index:03}.png")
    told = answer(finished.names["plain"], folder, "--budget", 12)
    of_scene = [one for one in told["images"] if "scene" in Path(one["image"]).name]
    assert told["counts"]["images"] == 230
    assert len(of_scene) <= 3
    assert len(told["images"]) >= 6
    assert told["counts"]["similar"] >= 190
    assert {one["group"] for one in told["images"]} == set(range(told["groups"]))
    said = call(finished.names["plain"], folder, "--budget", 12).stderr
    assert f"from {told['groups']} group" in " ".join(said.split())


def test_the_same_call_gives_the_same_answer_whatever_the_batch(finished, folder):
    told = [answer(finished.names["dme"], folder, "--budget", 8, "--batch-size", size) for size in (64, 64, 5)]
    assert told[0] == told[1]
    assert [one["image"] for one in told[0]["images"]] == [one["image"] for one in told[2]["images"]]


def test_broken_files_are_named_and_the_rest_is_done(finished, folder):
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    (folder / "empty ☃.png").write_bytes(b"")
    told = answer(finished.names["plain"], folder, folder / "absent.png", "--budget", 3, code=1)
    assert len(told["images"]) == 3
    assert [Path(one["image"]).name for one in told["failed"]] == ["broken.jpg", "empty ☃.png", "absent.png"]
    assert all(one["error"] for one in told["failed"])
    assert (told["counts"]["failed"], told["counts"]["images"]) == (3, 33)
    done = call(finished.names["plain"], folder, "--budget", 3)
    assert str(done.exception) == "2 of 32 images failed"
    assert "broken.jpg: cannot be decoded" in done.stderr.replace("\n", " ")
    assert len(done.stdout.splitlines()) == 4


def test_a_folder_without_images(finished, tmp_path):
    told = answer(finished.names["plain"], tmp_path, "--budget", 3, code=1)
    assert (told["images"], told["counts"]["failed"]) == ([], 1)
    assert "without images" in told["failed"][0]["error"]
    done = call(finished.names["plain"], tmp_path, "--budget", 3)
    assert done.stdout.split() == ["confidence", "nearest", "label", "image"]
    assert "no images are left to choose from" in done.stderr
    assert "no other image is different enough" not in done.stderr
    assert "next" not in done.stderr


def test_one_image_and_a_large_budget(finished, folder):
    done = call(finished.names["dme"], folder / "03.png", "--budget", 50)
    assert done.exit_code == 0, done.exception
    assert done.stdout.splitlines()[1].endswith("03.png")
    assert "fewer than the 50 requested" in done.stderr


def test_training_images_are_left_out_where_they_are_known(finished, folder, tmp_path, monkeypatch, all_differ):
    """By their bytes, under whatever name; a changed copy is a new image."""
    train = finished.images / "train/c0"
    shutil.copy(train / "3.png", folder / "seen.png")
    changed = Image.open(train / "4.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    changed.save(folder / "changed.png")
    without = answer(finished.names["plain"], folder, "--budget", 100)
    assert without["training_images_left_out"] is False
    assert "seen.png" in {Path(one["image"]).name for one in without["images"]}
    said = call(finished.names["plain"], folder, "--budget", 1).stderr
    assert "cannot be read, so any among these images were not left out: dataset 'tiny': no " in said
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    make_tiny_dataset(tmp_path / "data" / "tiny")
    told = answer(finished.names["plain"], folder, "--budget", 100)
    assert told["training_images_left_out"] is True
    assert told["counts"]["training"] == 1
    assert "seen.png" not in {Path(one["image"]).name for one in told["images"]}
    assert "changed.png" in {Path(one["image"]).name for one in told["images"]}


@pytest.mark.parametrize("method", ["plain", "dme+energy"])
def test_lists_of_another_build_leave_nothing_out(finished, folder, tmp_path, monkeypatch, method):
    """They name other images than the run was trained on."""
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    root = make_tiny_dataset(tmp_path / "data" / "tiny")
    train, test = ((root / f"{split}.txt").read_text().splitlines() for split in ("train", "test"))
    (root / "train.txt").write_text("\n".join([*train[1:], test[0]]) + "\n")
    (root / "test.txt").write_text("\n".join([*test[1:], train[0]]) + "\n")
    told = answer(finished.names[method], folder, "--budget", 3)
    assert (told["training_images_left_out"], told["counts"]["training"]) == (False, 0)
    said = call(finished.names[method], folder, "--budget", 3).stderr
    assert f"cannot be read, so any among these images were not left out: dataset 'tiny': the lists in {root}" in said
    assert "are not those that the run was trained on" in said


def test_training_files_of_the_built_in_set_are_none():
    with pytest.raises(DataProblem, match="drawn"):
        training_files(DataSpec(name="glyphs-lt", kind="glyphs"), None)


def test_training_files_of_one_size_are_told_apart(tmp_path):
    for name, content in {"a": b"1234", "b": b"4321", "c": b"1234", "d": b"9999", "e": b"12345"}.items():
        (tmp_path / name).write_bytes(content)
    known = TrainingFiles([tmp_path / "a", tmp_path / "b", tmp_path / "gone"])
    assert [str(tmp_path / name) in known for name in "abcdef"] == [True, True, True, False, False, False]


def test_the_list_holds_the_paths_in_order(finished, folder, tmp_path, all_differ):
    awkward = os.fsdecode(b"caf\xe9 \xf0\x9f\x90\x9d.png")  # no UTF-8
    shutil.move(folder / "07.png", folder / awkward)
    out = tmp_path / "lists" / "next.txt"
    told = answer(finished.names["plain"], folder, "--budget", 30, "--out", out)
    said = call(finished.names["plain"], folder, "--budget", 30, "--out", out).stderr
    assert f"list  {out}" in said.splitlines()
    assert out.read_bytes().split(b"\n")[:-1] == [os.fsencode(one["image"]) for one in told["images"]]
    assert os.fsencode(folder / awkward) in out.read_bytes()
    # What oltr predict takes on stdin.
    done = CliRunner().invoke(
        app, ["predict", finished.names["plain"], "-", "--json", "--workers", "0"], input=out.read_bytes()
    )
    assert json.loads(done.stdout)["counts"]["failed"] == 0


def test_what_to_do_next_keeps_what_is_trained_on(finished, folder):
    """The chosen images alone, or the folder they lie in, would be another dataset."""
    said = call(finished.names["plain"], folder, "--budget", 3).stderr.splitlines()[-1]
    assert said.startswith("next  sort them into class folders next to the training images of 'tiny', and build")
    assert said.endswith("oltr data build --images FOLDER --as-is --out NAME")
    built = _next(DataSpec(name="mine", root="/photos", lists_digest="0"))
    assert built.startswith("sort them into the class folders or the CSV that 'mine' was built from (below /photos),")
    assert built.endswith("repeat its oltr data build command with --force")


def test_a_path_with_a_line_break_is_not_written_into_a_list(finished, folder, tmp_path, all_differ):
    shutil.move(folder / "07.png", folder / "a\nb.png")
    done = call(finished.names["plain"], folder, "--budget", 30, "--out", tmp_path / "next.txt")
    assert isinstance(done.exception, UsageProblem)
    assert not (tmp_path / "next.txt").exists()
    table = call(finished.names["plain"], folder, "--budget", 30).stdout.splitlines()
    assert any(line.endswith(r"a\nb.png") for line in table)


def test_csv_is_read_back(finished, folder):
    shutil.move(folder / "07.png", folder / 'a, "b".png')
    told = answer(finished.names["dme"], folder, "--budget", 30)["images"]
    rows = list(csv.DictReader(io.StringIO(call(finished.names["dme"], folder, "-n", 30, "-f", "csv").stdout)))
    assert [row["image"] for row in rows] == [one["image"] for one in told]
    for row, one in zip(rows, told, strict=True):
        assert float(row["reachability"]) == one["reachability"]
        assert float(row["confidence"]) == one["confidence"]
        assert (row["nearest"], row["label"]) == (one["nearest"], one["label"])
        assert row["unknown"] == str(one["unknown"]).lower()
    plain = list(csv.DictReader(io.StringIO(call(finished.names["plain"], folder, "-n", 2, "-f", "csv").stdout)))
    assert [row["reachability"] for row in plain] == ["", ""]


def test_a_contact_sheet_shows_them(finished, folder, tmp_path):
    sheet = tmp_path / "next.png"
    done = call(finished.names["dme"], folder, "--budget", 4, "--contact-sheet", sheet)
    assert done.exit_code == 0, done.exception
    assert Image.open(sheet).size[0] > 4 * 128
    done = call(finished.names["dme"], folder, "--budget", 4, "--contact-sheet", tmp_path / "next.txt")
    assert isinstance(done.exception, UsageProblem)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--budget", "0"], "budget"), ([], "budget"), (["--budget", "3", "--by", "luck"], "reachability")],
)
def test_what_does_not_fit_is_refused(arguments, says):
    done = call("any/run", "folder", *arguments)
    assert done.exit_code == 2
    assert says in done.stderr


def test_two_forms_at_once_are_refused(finished, folder):
    done = call(finished.names["plain"], folder, "--budget", 3, "--json", "--format", "csv")
    assert isinstance(done.exception, UsageProblem)


def test_what_is_not_finite_has_failed(finished, folder, monkeypatch, all_differ):
    scores = Recogniser.scores

    def spoilt(self, images):
        said = scores(self, images)
        said.confidence[0] = np.nan
        return said

    monkeypatch.setattr(Recogniser, "scores", spoilt)
    told = answer(finished.names["plain"], folder, "--budget", 100, "--batch-size", 64, code=1)
    assert [one["error"] for one in told["failed"]] == ["the network's output for it is not finite"]
    assert "00.png" not in {Path(one["image"]).name for one in told["images"]}
