"""oltr export --to hub-folder: a folder that says what the run says, bit for bit, where the run is not."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.files import read_json
from oltr_cli.data.feed.transforms import evaluation_crop
from oltr_cli.data.images import decode_file
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.inference import hub_folder
from oltr_cli.inference.model_card import model_card
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.runs.scores import SavedScores
from tests.helpers.finished_runs import environment, make_finished_runs

RUNS = {
    "plain": [],
    "dme": [],
    "ncm": [],  # with a mask among its weights
    "dme+energy": [],
    "plain+odin": [],
    "plain+knn": [],
}
PARTS = ("prediction", "confidence", "logits", "features")
FILES = ["README.md", "config.json", "model.safetensors"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("finished")
    patch = environment(home)
    made = make_finished_runs(home, RUNS)
    path = made.path("plain") / "result.json"
    names = ['Käfer "é"\n☃ | *', *read_json(path)["class_names"][1:]]
    path.write_text(json.dumps({**read_json(path), "class_names": names}))
    chosen = {
        "name": "energy",
        "params": {"temperature": 2.0},
        "threshold": {"rule": "id_quantile:0.95", "value": 1.25},
        "criterion": "auroc",
        **dict.fromkeys(("value", "own_value", "low", "high"), 0.5),
    }
    (made.path("ncm") / "detector.json").write_text(json.dumps(chosen))
    yield made
    patch.undo()


def called(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def exported(name, out, *more):
    done = called("export", name, "--to", "hub-folder", "--out", out, "--json", *more)
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def refused(*arguments):
    done = called(*arguments)
    assert isinstance(done.exception, OltrError), (done.output, done.exception)
    return done.exception


@pytest.fixture
def away(monkeypatch, tmp_path):
    """Another machine, which has neither runs nor data."""

    def leave():
        monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "no runs"))
        monkeypatch.setenv("OLTR_DATA", str(tmp_path / "no data"))

    return leave


@pytest.mark.parametrize("method", [m for m in RUNS if m != "plain+knn"])
def test_elsewhere_the_folder_says_what_the_run_says(finished, tmp_path, away, method):
    run = Recogniser.load(finished.names[method], by_choice=True)
    said = exported(finished.names[method], tmp_path / "first")
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == FILES == sorted(said["bytes"])
    (tmp_path / "first").rename(tmp_path / "mödel")
    away()
    again = Recogniser.load(tmp_path / "mödel", by_choice=True)
    files = finished.files("test") + finished.files("open")
    images = torch.stack([evaluation_crop(decode_file(Path(file)), again.recipe.data) for file in files])
    wanted, given = run.scores(images), again.scores(images)
    for part in PARTS:
        np.testing.assert_array_equal(getattr(given, part), getattr(wanted, part), err_msg=part)
    np.testing.assert_array_equal(again.unknown(given), run.unknown(wanted))
    assert (again.chosen, again.class_names, again.class_counts) == (run.chosen, run.class_names, run.class_counts)
    assert again.run.name == run.run.name


def test_predict_prints_the_same_rows_and_other_commands_take_the_folder_too(finished, tmp_path, away):
    name, folder = finished.names["dme+energy"], tmp_path / "hub"
    exported(name, folder)
    of_run = called("predict", name, finished.images, "-f", "csv", "-k", 2, "-q", "--device", "cpu")
    away()
    of_folder = called("predict", folder, finished.images, "-f", "csv", "-k", 2, "-q", "--device", "cpu")
    assert of_run.exit_code == of_folder.exit_code == 0
    assert of_folder.stdout == of_run.stdout
    assert len(of_folder.stdout.splitlines()) > 50
    done = called("embed", folder, finished.images, "--out", tmp_path / "f.npz", "--device", "cpu", "-q")
    assert done.exit_code == 0, done.output
    saved = exported(folder, tmp_path / "copy")
    assert saved["about"]["weights_sha256"] == read_json(folder / "config.json")["weights_sha256"]
    assert "has no saved scores" in str(refused("evaluate", folder))
    assert "has no saved scores" in str(refused("run", "dme", "--from", folder))


def test_a_chosen_detector_goes_along_and_can_be_left_out(finished, tmp_path, away):
    name = finished.names["ncm"]
    assert exported(name, tmp_path / "with")["about"]["threshold"]["value"] == 1.25
    assert exported(name, tmp_path / "without", "--own-confidence")["about"]["detector"] is None
    own = Recogniser.load(name)
    away()
    chosen = Recogniser.load(tmp_path / "with", by_choice=True)
    assert (chosen.detector.name, chosen.detector.setup.params.temperature) == ("energy", 2.0)
    for folder, by_choice in (("with", False), ("without", True)):
        plainly = Recogniser.load(tmp_path / folder, by_choice=by_choice)
        assert (plainly.detector, plainly.chosen) == (None, own.chosen)


def test_the_threshold_is_the_exported_one_or_a_number(finished, tmp_path):
    exported(finished.names["plain"], tmp_path / "hub", "--threshold", "group_quantile:0.5")
    folder = tmp_path / "hub"
    assert Recogniser.load(folder).chosen.by_class is not None
    assert Recogniser.load(folder, threshold=0.3).threshold == 0.3
    assert Recogniser.load(folder, threshold="own").rule == "fixed:0.1"
    for rule in ("val_open", "tuned"):
        with pytest.raises(UsageProblem, match=rf"threshold {rule}: .*hub has no saved scores"):
            Recogniser.load(folder, threshold=rule)


def test_the_weights_are_all_of_the_best_epoch_in_plain_order(finished, tmp_path):
    exported(finished.names["dme"], tmp_path / "hub")
    best = torch.load(finished.path("dme") / "best.pt", weights_only=True)["model"]
    with safe_open(tmp_path / "hub" / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(best)
        assert file.metadata() == {"format": "pt"}
        for name, value in best.items():
            assert torch.equal(file.get_tensor(name), value)


def test_the_folder_says_nothing_of_the_machine(finished, tmp_path):
    exported(finished.names["plain"], tmp_path / "hub")
    for file in (tmp_path / "hub").iterdir():
        assert str(finished.runs.parent).encode() not in file.read_bytes()
    # A file of weights is known by its name alone.
    run = Recogniser.load(finished.names["plain"])
    backbone = run.recipe.backbone.model_copy(update={"weights": "/home/somebody/net.pth"})
    run.recipe = run.recipe.model_copy(update={"backbone": backbone})
    assert hub_folder._config(run, "").recipe["backbone"]["weights"] == "net.pth"
    assert "`net.pth`" in model_card(run, "hub")
    assert "somebody" not in model_card(run, "hub")


@pytest.mark.parametrize("method", ["plain", "dme+energy"])
def test_the_card_has_the_metadata_of_the_hub_and_the_runs_own_figures(finished, tmp_path, method):
    exported(finished.names[method], tmp_path / "hub")
    text = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    empty, front, body = text.split("---\n", 2)
    about = yaml.safe_load(front)
    assert empty == ""
    assert about["library_name"] == "oltr"
    assert about["pipeline_tag"] == "image-classification"
    assert about["datasets"] == ["tiny"]
    assert "license" not in about
    assert set(method.split("+")) < set(about["tags"])
    (of_index,) = about["model-index"]
    (result,) = of_index["results"]
    said = {metric["name"]: metric["value"] for metric in result["metrics"]}
    metrics = read_json(finished.path(method) / "result.json")["metrics"]
    assert said["closed-set accuracy, overall"] == metrics["closed/overall"]
    assert said["F-measure"] == metrics["open/f_measure"]
    assert said["AUROC"] == metrics["open/auroc"]
    assert f"| AUROC | {metrics['open/auroc']:.3f} |" in body
    assert "| few | < 20 | 4 |" in body
    assert ("id_quantile:0.95" if method == "dme+energy" else "fixed:0.1") in body
    assert ('Käfer "é"\\\\n☃ \\| \\*' in body) == (method == "plain")


def test_the_figures_are_those_at_the_exported_threshold(finished, tmp_path):
    said = exported(finished.names["plain"], tmp_path / "hub", "--threshold", 0.9)
    text = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    known = finished.scores("plain", "test")
    right = (known.prediction == known.labels) & (known.confidence >= np.float32(0.9))
    assert said["about"]["threshold"]["value"] == 0.9
    assert f"| open-set accuracy, overall | {100 * right.mean():.1f} % |" in text


def test_without_saved_scores_the_figures_are_those_of_the_result(finished, tmp_path, away):
    exported(finished.names["plain"], tmp_path / "hub", "--threshold", 0.9)
    away()
    exported(tmp_path / "hub", tmp_path / "copy")
    text = (tmp_path / "copy" / "README.md").read_text(encoding="utf-8")
    assert "by the run's own confidence and threshold at τ = 0.1" in text


def test_a_detector_that_was_fitted_is_refused(finished, tmp_path):
    problem = refused("export", finished.names["plain+knn"], "--to", "hub-folder", "--out", tmp_path / "hub")
    assert isinstance(problem, UsageProblem)
    assert f"oltr export {finished.names['plain']} --to hub-folder" in str(problem)
    assert not (tmp_path / "hub").exists()


def test_an_existing_folder_is_kept_unless_forced_and_then_only_three_files_change(finished, tmp_path):
    folder = tmp_path / "hub"
    exported(finished.names["plain"], folder)
    (folder / ".gitattributes").write_text("mine")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    problem = refused("export", finished.names["dme"], "--to", "hub-folder", "--out", folder)
    assert isinstance(problem, UsageProblem)
    assert "--force" in str(problem)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    exported(finished.names["dme"], folder, "--force")
    assert Recogniser.load(folder).run.method == "dme"
    assert (folder / ".gitattributes").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub"]
    (tmp_path / "a file").write_text("")
    assert "is a file" in str(
        refused("export", finished.names["dme"], "--to", "hub-folder", "--out", tmp_path / "a file")
    )


def test_a_folder_that_says_something_else_is_not_put_in_place(finished, tmp_path, monkeypatch):
    real = hub_folder.save

    def shifted(entries, metadata):
        return real(
            {name: value + 1 if value.is_floating_point() else value for name, value in entries.items()}, metadata
        )

    monkeypatch.setattr(hub_folder, "save", shifted)
    problem = refused("export", finished.names["plain"], "--to", "hub-folder", "--out", tmp_path / "hub")
    assert "are not the run's; not written" in str(problem)
    assert list(tmp_path.iterdir()) == []


def damaged(what, folder):
    weights, config = folder / "model.safetensors", folder / "config.json"
    content = read_json(config)
    if what == "one bit":
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    elif what == "pointer":
        weights.write_text("version https://git-lfs.github.com/spec/v1\n")
    elif what == "pipe":
        weights.unlink()
        os.mkfifo(weights)
    elif what == "no config":
        config.unlink()
    elif what == "no weights":
        weights.unlink()
    elif what == "cut short":
        config.write_bytes(config.read_bytes()[:-40])
    elif what == "by hand":
        config.write_text(config.read_text().replace('"fixed:0.1"', '"fixed:0.2"'))
    elif what == "of others":
        config.write_text('{"model_type": "vit"}')
    elif what == "later":
        config.write_text(json.dumps({**content, "format_version": 2}))
    elif what == "names":
        config.write_text(json.dumps({**content, "class_names": ["one"]}))
    elif what == "no threshold":
        config.write_text(json.dumps({k: v for k, v in content.items() if k != "threshold"}))
    elif what == "recipe":
        content["recipe"]["backbone"]["width"] = "wide"
        config.write_text(json.dumps(content))
    elif what == "another network":
        content["recipe"]["backbone"]["width"] = 16
        config.write_text(json.dumps(content))
    elif what == "detector":
        config.write_text(json.dumps({**content, "detector": "knn"}))


@pytest.mark.parametrize(
    ("what", "file", "said"),
    [
        ("one bit", "model.safetensors", "SHA-256 differs"),
        ("pointer", "model.safetensors", "git lfs"),
        ("pipe", "model.safetensors", "not a regular file"),
        ("no config", "config.json", "missing; download the whole folder"),
        ("no weights", "model.safetensors", "missing; download the whole folder"),
        ("cut short", "config.json", "damaged"),
        ("by hand", "config.json", "remove its digest"),
        ("of others", "config.json", "not of a model that oltr exported"),
        ("later", "config.json", "update oltr"),
        ("names", "config.json", "1 class names for 5 classes"),
        ("no threshold", "config.json", "threshold: Field required"),
        ("recipe", "config.json", r"backbone\.width"),
        ("another network", "model.safetensors", "does not fit"),
        ("detector", "config.json", "names the detector knn"),
    ],
)
def test_a_damaged_folder_is_named_and_not_used(finished, tmp_path, what, file, said):
    exported(finished.names["plain"], tmp_path / "hub")
    damaged(what, tmp_path / "hub")
    with pytest.raises(DataProblem, match=said) as caught:
        Recogniser.load(tmp_path / "hub", by_choice=True)
    assert str(tmp_path / "hub" / file) in str(caught.value)


def test_a_change_on_purpose_is_taken_without_its_digest(finished, tmp_path):
    exported(finished.names["plain"], tmp_path / "hub")
    config = tmp_path / "hub" / "config.json"
    content = read_json(config)
    content["class_names"][1] = "beetle"
    config.write_text(json.dumps(content))
    assert Recogniser.load(tmp_path / "hub").class_names[1] == "beetle"


def test_a_run_in_a_folder_with_a_config_is_still_a_run(finished, tmp_path):
    shutil.copytree(finished.runs, tmp_path / "runs")
    run = tmp_path / "runs" / finished.names["plain"]
    (run / "config.json").write_text("{}")
    assert isinstance(Recogniser.load(run).scores(torch.zeros(1, 3, 16, 16, dtype=torch.uint8)), SavedScores)
