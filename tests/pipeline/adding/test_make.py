"""``oltr add-class`` from command line to run: what it makes, what it leaves alone, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.display import Display
from oltr_cli.data.build.rename import rename_class
from oltr_cli.data.feed.transforms import evaluation_crop
from oltr_cli.data.images import decode_file
from oltr_cli.errors import UsageProblem
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.pipeline.training_scores import score_training_set
from oltr_cli.planning.which_run import differences, parent_of, resolve_run
from oltr_cli.runs.choices import ChosenDetector, ChosenThreshold, TunedThreshold, read_chosen_detector
from oltr_cli.runs.folder import find_runs, run_from_path
from oltr_cli.runs.result import read_result
from oltr_cli.runs.scores import SavedScores
from oltr_cli.runs.trained_on import keys_of, trained_on
from oltr_cli.tables.which_runs import choose_recipe
from tests.helpers.finished_runs import environment, make_finished_runs
from tests.helpers.tiny import write_image

METHODS = {
    "plain": [],
    "ncm": [],
    "cosine-la": [],
    "dme": [],
    "fslwf": [],
    "plain+energy": [],
    "plain+knn": [],
    "plain+odin": [],
}
QUIET = Display(quiet=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("finished")
    patch = environment(home)
    yield make_finished_runs(home, METHODS)
    patch.undo()


@pytest.fixture
def runs(finished, tmp_path, monkeypatch):
    """A copy of the finished runs, in which others may be made."""
    folder = tmp_path / "runs"
    shutil.copytree(finished.runs, folder)
    monkeypatch.setenv("OLTR_RUNS", str(folder))
    return folder


@pytest.fixture
def owls(tmp_path):
    """Six images of a kind that the runs do not know."""
    rng = np.random.default_rng(5)
    files = [tmp_path / "owls" / f"{i}.png" for i in range(6)]
    for file in files:
        write_image(file, 9, rng)
    return files


def oltr(*arguments: object, code: int = 0):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    if code == 0:
        assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
        return done
    assert getattr(done.exception, "exit_code", done.exit_code) == code, f"{done.output}\n{done.exception!r}"
    return done


def add(run, *arguments: object) -> dict:
    return json.loads(oltr("add-class", run, *arguments, "--workers", 0, "--device", "cpu", "--json").stdout)


def refused(run, *arguments: object, code: int = 2) -> str:
    message = str(oltr("add-class", run, *arguments, "--workers", 0, "--device", "cpu", code=code).exception)
    assert "\n" not in message
    return message


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("method", ["plain", "ncm", "cosine-la", "dme"])
def test_a_run_with_the_class_that_predicts_it(runs, finished, owls, method):
    before = content(runs / finished.names[method])
    facts = add(finished.names[method], "owl", *owls)
    assert content(runs / finished.names[method]) == before
    result = read_result(runs / facts["run"])
    old = read_result(runs / finished.names[method])
    assert facts["run"].startswith(f"tiny/{method}/")
    assert facts["run"] != finished.names[method]
    assert result.class_counts == [*old.class_counts, 6]
    assert result.class_names == [*old.class_names, "owl"]
    assert result.starts_from == facts["starts_from"] == old.run
    assert result.epochs == 0
    assert (facts["shift"] is None) == (method == "ncm")
    assert facts["folds"] == 6
    recogniser = Recogniser.load(facts["run"])
    images = torch.stack([evaluation_crop(decode_file(file), recogniser.recipe.data) for file in owls])
    said = recogniser.scores(images)
    assert (said.prediction == 5).mean() >= 0.5
    saved = SavedScores.load(runs / facts["run"] / "scores" / "new_class.npz")
    np.testing.assert_array_equal(said.prediction, saved.prediction)
    np.testing.assert_allclose(said.confidence, saved.confidence, rtol=1e-4, atol=1e-5)
    assert (saved.labels == 5).all()


@pytest.mark.parametrize("method", ["plain", "dme"])
def test_its_scores_are_those_of_its_network(runs, finished, owls, method):
    facts = add(finished.names[method], "owl", *owls)
    recogniser = Recogniser.load(facts["run"])
    files = [Path(file) for file in finished.files("test")]
    images = torch.stack([evaluation_crop(decode_file(file), recogniser.recipe.data) for file in files])
    said, saved = recogniser.scores(images), SavedScores.load(runs / facts["run"] / "scores" / "test.npz")
    np.testing.assert_allclose(said.logits, saved.logits, rtol=1e-3, atol=1e-4)
    old = finished.scores(method, "test")
    np.testing.assert_array_equal(saved.labels, old.labels)
    np.testing.assert_array_equal(saved.paths, old.paths)
    assert facts["old_before"] == pytest.approx((old.prediction == old.labels).mean())
    assert facts["old_after"] == pytest.approx((saved.prediction == old.labels).mean())


def test_the_same_again_is_the_same_run(runs, finished, owls):
    first = add(finished.names["plain"], "owl", *owls)
    made = content(runs / first["run"])
    assert add(finished.names["plain"], "owl", *reversed(owls)) == first
    assert add(finished.names["plain"], "owl", owls[0].parent) == first
    assert content(runs / first["run"]) == made
    other_name, fewer = add(finished.names["plain"], "hawk", *owls), add(finished.names["plain"], "owl", *owls[:5])
    assert len({first["run"], other_name["run"], fewer["run"]}) == 3


@pytest.mark.parametrize("lost", ["result.json", "recipe.toml", "scores/val.npz"])
def test_what_was_not_finished_is_made_again(runs, finished, owls, lost):
    first = add(finished.names["plain"], "owl", *owls)
    folder = runs / first["run"]
    expected = {name: data for name, data in content(folder).items() if name.startswith("scores/")}
    (folder / lost).unlink()
    (folder / "result.json").unlink(missing_ok=True)
    if lost != "recipe.toml":
        with pytest.raises(UsageProblem, match="repeat its oltr add-class command"):
            Recogniser.load(first["run"])
    again = add(finished.names["plain"], "owl", *owls)
    assert again == first
    assert {name: data for name, data in content(folder).items() if name.startswith("scores/")} == expected


def test_names_mean_the_run_of_before_unless_they_say_otherwise(runs, finished, owls):
    facts = add(finished.names["dme"], "owl", *owls)
    assert str(resolve_run("tiny/dme@latest")).endswith(facts["run"])
    assert str(resolve_run(facts["run"].rpartition("/")[2])).endswith(facts["run"])
    one = run_from_path(runs / facts["run"])
    assert parent_of(one).name == finished.names["dme"]
    differing = differences(find_runs(runs, method="dme"))
    assert differing[one]["added.name"] == "owl"


def test_another_class_on_the_run_with_the_first(runs, finished, owls, tmp_path):
    first = add(finished.names["cosine-la"], "owl", *owls)
    rng = np.random.default_rng(6)
    badgers = [tmp_path / f"badger{i}.png" for i in range(3)]
    for file in badgers:
        write_image(file, 14, rng)
    second = add(first["run"], "badger", *badgers)
    result = read_result(runs / second["run"])
    assert result.class_names[-2:] == ["owl", "badger"]
    assert result.class_counts[-2:] == [6, 3]
    assert result.starts_from == first["run"]
    assert "knows it as an image of class 'owl'" in refused(second["run"], "hawk", owls[2])


def test_it_says_what_it_was_trained_on(runs, finished, owls):
    facts = add(finished.names["plain"], "owl", *owls)
    before, after = trained_on(runs / finished.names["plain"]), trained_on(runs / facts["run"])
    assert np.isin(before, after).all()
    assert np.isin(keys_of([str(file.resolve()) for file in owls]), after).all()


def test_tau_is_chosen_again_by_the_same_rules(runs, finished, owls):
    name = finished.names["plain"]
    TunedThreshold(rule="id_quantile:0.9", value=0.123, f_measure_val=0.5).write(runs / name)
    facts = add(name, "owl", *owls)
    val = SavedScores.load(runs / facts["run"] / "scores" / "val.npz")
    tuned = Recogniser.load(facts["run"]).chosen
    assert tuned.chosen_by == "id_quantile:0.9"
    assert tuned.value != 0.123
    assert (val.confidence >= np.float32(tuned.value)).mean() >= 0.9
    own, ncm = read_result(runs / facts["run"]).threshold, add(finished.names["ncm"], "owl", *owls)
    assert own.rule == "fixed:0.1"
    assert read_result(runs / ncm["run"]).threshold.rule == "id_quantile:0.95"


def test_the_detector_that_was_chosen_is_fitted_again(runs, finished, owls):
    name = finished.names["plain"]
    tau = ChosenThreshold(rule="id_quantile:0.95", value=-1e9)
    chosen = ChosenDetector(
        name="knn", params={}, threshold=tau, criterion="AUROC", value=0.9, own_value=0.8, low=0.01, high=0.2
    )
    chosen.write(runs / name)
    facts = add(name, "owl", *owls)
    again = read_chosen_detector(runs / facts["run"])
    said = oltr("add-class", name, "owl", *owls, "--workers", 0, "--device", "cpu").stderr
    assert "oltr predict accepts by knn; the table has what the run's own confidence accepts" in " ".join(said.split())
    assert (again.name, again.threshold.rule) == ("knn", "id_quantile:0.95")
    assert again.threshold.value > -1e9
    assert again.criterion == f"AUROC (chosen for {name})"
    train = SavedScores.load(runs / facts["run"] / "scores" / "train.npz")
    assert (train.labels == 5).sum() == 6
    recogniser = Recogniser.load(facts["run"], by_choice=True)
    images = torch.stack([evaluation_crop(decode_file(file), recogniser.recipe.data) for file in owls])
    old = Recogniser.load(name, by_choice=True)
    assert (recogniser.scores(images).confidence > old.scores(images).confidence).all()  # it has seen these


def test_scores_of_its_training_set_are_made_when_they_are_asked_for(runs, finished, owls):
    name = finished.names["plain"]
    facts = add(name, "owl", *owls)
    expected = SavedScores.load(runs / facts["run"] / "scores" / "train.npz")
    (runs / facts["run"] / "scores" / "train.npz").unlink()
    score_training_set(run_from_path(runs / facts["run"]), QUIET, device="cpu", workers=0)
    again = SavedScores.load(runs / facts["run"] / "scores" / "train.npz")
    for array in ("labels", "logits", "features", "prediction"):
        np.testing.assert_array_equal(getattr(again, array), getattr(expected, array))


def test_commands_take_it(runs, finished, owls, tmp_path):
    facts = add(finished.names["dme"], "owl", *owls)
    shown = json.loads(oltr("evaluate", facts["run"], "--json").stdout)
    assert shown["counts"]["classes"] == 6
    rows = json.loads(oltr("predict", facts["run"], owls[0].parent, "--workers", 0, "--json").stdout)
    assert len(rows["images"] if "images" in rows else rows["rows"]) == 6
    oltr("export", facts["run"], "--to", "hub-folder", "--out", tmp_path / "hub")
    assert Recogniser.load(tmp_path / "hub").class_names[-1] == "owl"
    listed = json.loads(oltr("ls", "runs", "--json").stdout)["runs"]
    assert {row["name"]: row["status"] for row in listed}[facts["run"]] == "done"
    assert "starts from" in str(oltr("rm", finished.names["dme"], "--yes", code=2).exception)
    oltr("rm", facts["run"], "--yes")


def test_a_table_shows_the_run_of_before(runs, finished, owls):
    facts = add(finished.names["dme"], "owl", *owls)
    pairs = [(run, run.result()) for run in find_runs(runs, method="dme")]
    assert len(pairs) == 2
    shown, _ = choose_recipe("dme", pairs, None)
    assert [run.name for run, _ in shown] == [finished.names["dme"]]
    alone, _ = choose_recipe("dme", [pair for pair in pairs if pair[0].name == facts["run"]], None)
    assert [run.name for run, _ in alone] == [facts["run"]]


def test_a_class_that_is_renamed_has_its_new_name_in_both_runs(runs, finished, owls, tmp_path):
    facts = add(finished.names["plain"], "owl", *owls)
    rename_class("tiny", tmp_path, tmp_path, "thing 2", "otter")
    for name in (finished.names["plain"], facts["run"]):
        assert read_result(runs / name).class_names[1:4] == ["thing 1", "otter", "thing 3"]
    assert read_result(runs / facts["run"]).class_names[-1] == "owl"
    with pytest.raises(UsageProblem, match="has a class 'owl' already"):
        rename_class("tiny", tmp_path, tmp_path, "thing 3", "owl")


def test_one_image(runs, finished, owls):
    done = oltr("add-class", finished.names["plain"], "owl", owls[0], "--workers", 0, "--device", "cpu")
    assert "one image alone cannot be left out" in done.stderr
    facts = add(finished.names["plain"], "owl", owls[0])
    assert facts["new_after"] is None
    assert facts["folds"] == 0


def test_many_images_are_judged_in_ten_parts(runs, finished, tmp_path):
    rng = np.random.default_rng(8)
    for i in range(23):
        write_image(tmp_path / "many" / f"{i}.png", 9, rng)
    assert add(finished.names["plain"], "owl", tmp_path / "many")["folds"] == 10


def test_names_that_cannot_be(runs, finished, owls):
    name = finished.names["plain"]
    taken = read_result(runs / name).class_names[2]
    assert f"has a class '{taken}' already" in refused(name, taken, *owls)
    for wrong in ("unknown", " owl", "a\nb", "a  b"):
        assert "a class name has printable characters" in refused(name, wrong, *owls)


def test_images_that_cannot_be(runs, finished, owls, tmp_path):
    name, broken = finished.names["plain"], tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    before = {run.name for run in find_runs(runs)}
    assert "broken.png: " in refused(name, "owl", *owls, broken, code=3)
    assert "nowhere.png: no such file" in refused(name, "owl", *owls, tmp_path / "nowhere.png", code=3)
    assert "is given twice; give each image once" in refused(name, "owl", owls[0], owls[0])
    copy = shutil.copy(owls[1], tmp_path / "copy.png")
    assert f"copy.png: is {owls[1]} again" in refused(name, "owl", *owls, copy)
    assert {run.name for run in find_runs(runs)} == before
    assert len(list((runs / "tiny" / "plain").iterdir())) == 1  # no folder of what was refused


def test_images_of_another_class(runs, finished, owls):
    """While the dataset is there, an image that the run was trained on is recognised by its bytes."""
    dataset = finished.images.parent / "data" / "tiny"
    shutil.copytree(finished.images, dataset)
    try:
        for split in ("train", "val", "test", "open", "open_val"):
            scores = SavedScores.load(runs / finished.names["plain"] / "scores" / f"{split}.npz")
            lines = [f"{path} {label}\n" for path, label in zip(scores.paths, scores.labels, strict=True)]
            (dataset / f"{split}.txt").write_text("".join(lines))
        image = finished.images / "train" / "c1" / "0.png"
        message = refused(finished.names["plain"], "owl", *owls, image)
    finally:
        shutil.rmtree(dataset)
    assert message.startswith(f"{image}: the run was trained on this image as one of another class")
    assert str(dataset / "train" / "c1" / "0.png") in message


def test_methods_and_runs_that_cannot(runs, finished, owls):
    assert "fslwf cannot take a new class: it learns in episodes" in refused(finished.names["fslwf"], "owl", *owls)
    assert "odin needs the images of every split; add the class to tiny/plain/" in refused(
        finished.names["plain+odin"], "owl", *owls
    )


@pytest.mark.parametrize("detector", ["energy", "knn"])
def test_a_run_of_a_detector_is_made_again_on_the_run_with_the_class(runs, finished, owls, detector):
    name = finished.names[f"plain+{detector}"]
    facts = add(name, "owl", *owls)
    assert add(name, "owl", *owls) == facts
    result, old = read_result(runs / facts["run"]), read_result(runs / name)
    under = read_result(runs / result.starts_from)
    assert under.run == add(finished.names["plain"], "owl", *owls)["run"]
    assert under.starts_from == finished.names["plain"]
    assert result.class_names == under.class_names
    assert result.threshold.rule == old.threshold.rule
    assert result.detector.name == detector
    recogniser = Recogniser.load(facts["run"])
    images = torch.stack([evaluation_crop(decode_file(file), recogniser.recipe.data) for file in owls])
    saved = SavedScores.load(runs / facts["run"] / "scores" / "new_class.npz")
    np.testing.assert_allclose(recogniser.scores(images).confidence, saved.confidence, rtol=1e-3, atol=1e-4)


def test_a_csv_of_groups_whose_label_was_replaced(runs, finished, owls, tmp_path):
    file = tmp_path / "groups.csv"
    lines = [f"{owl},{'owl' if i < 4 else 'group-02'}" for i, owl in enumerate(owls)]
    file.write_text("path,label\n" + "\n".join(lines) + "\n")
    assert add(finished.names["plain"], "owl", file)["run"] == add(finished.names["plain"], "owl", *owls[:4])["run"]
    assert "no line path,label has the label 'hawk'" in refused(finished.names["plain"], "hawk", file)
