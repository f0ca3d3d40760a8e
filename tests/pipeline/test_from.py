"""``oltr run --from RUN``: weights of a finished run for other images and other classes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from oltr_cli.base.display import Display
from oltr_cli.data.feed.opening import open_dataset
from oltr_cli.data.feed.transforms import evaluation_crop
from oltr_cli.data.lists.list_file import read_list
from oltr_cli.data.store.split import from_store
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.pipeline.make import make_runs
from oltr_cli.pipeline.seen import record_trained_on
from oltr_cli.planning.plan import plan
from oltr_cli.planning.registry import load_method
from oltr_cli.planning.which_run import differences, resolve_run
from oltr_cli.recipe.data import DataSpec
from oltr_cli.runs.checkpoint import load_best
from oltr_cli.runs.folder import find_runs
from oltr_cli.runs.trained_on import keys_of, trained_on
from oltr_cli.training import first_weights
from tests.helpers.finished_runs import environment
from tests.helpers.in_process import oltr_here
from tests.helpers.tiny import TINY_RECIPE, make_tiny_dataset, write_image

NAMES = ["ant", "bee", "cat", "dog", "eel"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The tiny dataset with named classes, and finished runs of plain, dme and dme+energy on it."""
    folder = tmp_path_factory.mktemp("from")
    patch = environment(folder)
    make_tiny_dataset(folder / "data" / "tiny")
    name_classes(folder, NAMES)
    recipe_of(folder).write_text(TINY_RECIPE)
    train(folder, "dme+energy")
    yield folder
    patch.undo()


@pytest.fixture
def lists(home):
    """The folder of the lists, which get back their content afterwards."""
    folder = home / "data" / "tiny"
    before = {path: path.read_bytes() for path in folder.glob("*.txt")}
    yield folder
    for path, content in before.items():
        path.write_bytes(content)


def recipe_of(home):
    return home / "data" / "tiny" / "recipe.toml"


def name_classes(home, names):
    lines = [f"{label:06d} {name}\n" for label, name in enumerate(names)]
    (home / "data" / "tiny" / "classes.txt").write_text("".join(lines))


def relabel(lists, labels):
    """Give label ``labels[k]`` to the images of k."""
    for split in ("train", "val", "test"):
        names, old = read_list(lists / f"{split}.txt")
        lines = [f"{name} {labels[label]}\n" for name, label in zip(names, old, strict=True)]
        (lists / f"{split}.txt").write_text("".join(lines))


def train(home, method, start=None, sets=()):
    planned = plan(method, str(recipe_of(home)), list(sets), 0, start)
    return make_runs(planned, device="cpu", workers=0, track=False, display=Display(quiet=True)), planned[-1].run


def the_run(method):
    return next(run for run in find_runs() if run.method == method)


def given_weights(home, monkeypatch, method, start):
    """The weights that a run from ``start`` begins with, and the run, trained."""
    given = {}
    inherit = first_weights.inherit_state

    def seen(module, state, mapping=None):
        report = inherit(module, state, mapping)
        given.update({name: value.clone() for name, value in module.state_dict().items()})
        return report

    with monkeypatch.context() as patch:
        patch.setattr(first_weights, "inherit_state", seen)
        result, run = train(home, method, start)
    return given, result, run


def test_weights_of_classes_follow_their_names(home, lists, monkeypatch):
    order = [3, 0, 4, 2, 1]  # the new label of each class
    relabel(lists, order)
    name_classes(home, [NAMES[order.index(label)] for label in range(5)])
    start = the_run("dme")
    old = load_best(start)["model"]
    given, result, run = given_weights(home, monkeypatch, "dme", start)
    for name in ("head.classifier.weight", "head.hallucinator.weight", "head.hallucinator.bias"):
        assert torch.equal(given[name][order], old[name])
    assert torch.equal(given["backbone.conv1.weight"], old["backbone.conv1.weight"])
    assert result.starts_from == start.name
    assert result.epochs_total == start.result().epochs_total + 2
    assert run.hash != start.hash
    assert differences([start, run])[run]["--from"] == start.name
    assert resolve_run("tiny/dme") == start.path  # of the recipe as it is now


def test_a_new_class_starts_at_its_mean_and_a_removed_one_is_dropped(home, lists, monkeypatch):
    rng = np.random.default_rng(1)
    relabel(lists, [0, 1, 2, 3, 4])
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        names, labels = read_list(lists / f"{split}.txt")
        kept = [f"{name} {label - (label > 1)}\n" for name, label in zip(names, labels, strict=True) if label != 1]
        for number in range(count):
            write_image(lists / split / "fox" / f"{number}.png", 9, rng)
            kept.append(f"{split}/fox/{number}.png 4\n")
        (lists / f"{split}.txt").write_text("".join(kept))
    name_classes(home, ["ant", "cat", "dog", "eel", "fox"])
    start = the_run("plain")
    old = load_best(start)["model"]
    given, _, _ = given_weights(home, monkeypatch, "plain", start)
    assert torch.equal(given["classifier.weight"][:4], old["classifier.weight"][[0, 2, 3, 4]])
    torch.testing.assert_close(given["classifier.bias"][4], old["classifier.bias"].mean())

    recogniser = Recogniser.load(start.path)
    dataset = open_dataset(recogniser.recipe.data)
    crops = [
        evaluation_crop(dataset.splits["train"].image(i), recogniser.recipe.data)
        for i in range(len(dataset.splits["train"]))
    ]
    features = recogniser.scores(torch.stack(crops)).features.astype(np.float64)
    new = features[dataset.splits["train"].labels == 4].mean(0)
    with np.load(start.scores("val")) as val:
        centre = np.mean([val["features"][val["labels"] == k].mean(0, dtype=np.float64) for k in range(5)], 0)
    row = (new - centre) / np.linalg.norm(new - centre) * old["classifier.weight"].double().norm(dim=1).mean().item()
    np.testing.assert_allclose(given["classifier.weight"][4].numpy(), row, rtol=1e-4, atol=1e-5)


def test_two_classes_of_one_name_are_refused(home, lists):
    name_classes(home, [NAMES[0], *NAMES[:4]])
    with pytest.raises(DataProblem, match=rf"two classes are called '{NAMES[0]}', and --from knows classes by their"):
        train(home, "dme", the_run("dme"))


def test_an_earlier_stage_starts_and_the_others_follow(home):
    planned = plan("crt", str(recipe_of(home)), [], 0, the_run("plain"))
    assert [p.run.method for p in planned] == ["plain", "crt"]
    assert (planned[0].parent, planned[1].parent) == (the_run("plain"), planned[0].run)
    assert planned[0].continues
    assert not planned[1].continues


def test_a_run_is_not_tested_on_images_that_its_start_has_seen(home, lists):
    (lists / "test.txt").write_text((lists / "test.txt").read_text() + "train/c0/3.png 0\n")
    train_list = (lists / "train.txt").read_text()
    (lists / "train.txt").write_text(train_list.replace("train/c0/3.png 0\n", ""))
    with pytest.raises(DataProblem, match=r"was trained on 1 image of test \(train/c0/3\.png\)"):
        train(home, "dme", the_run("dme"))
    (the_run("dme").path / "trained_on.npz").write_bytes(b"?")
    with pytest.raises(DataProblem, match=r"trained_on\.npz: is damaged"):
        trained_on(the_run("dme").path)


@pytest.mark.parametrize("store_side", [None, 16])
def test_images_of_a_store_are_recorded_by_their_files(tmp_path, monkeypatch, store_side):
    monkeypatch.setenv("OLTR_CACHE", str(tmp_path / "cache"))
    make_tiny_dataset(tmp_path / "tiny")
    spec = DataSpec(name="tiny", root=str(tmp_path / "tiny"), image_size=12, eval_resize=12, store_side=store_side)
    dataset = open_dataset(spec)
    if store_side is not None:
        dataset = from_store(dataset, Display(quiet=True))
    first, second = (SimpleNamespace(path=tmp_path / name, name=name) for name in ("first", "second"))
    for run in (first, second):
        run.path.mkdir()
    plain = load_method("plain")
    assert record_trained_on(SimpleNamespace(run=first, parent=None, continues=False, cls=plain), dataset) == ""
    files = [f"{(tmp_path / 'tiny').resolve()}/{name}" for name in dataset.splits["train"].names]
    np.testing.assert_array_equal(trained_on(first.path), np.unique(keys_of(files)))
    tested_again = replace(dataset, splits={**dataset.splits, "test": dataset.splits["train"]})
    with pytest.raises(DataProblem, match=r"first was trained on [0-9]+ images of test"):
        record_trained_on(SimpleNamespace(run=second, parent=first, continues=True, cls=plain), tested_again)


@pytest.mark.parametrize(
    ("method", "start", "sets", "problem"),
    [
        ("plain", "dme", [], "it is a run of dme; plain starts from one of plain"),
        ("dme", "dme+energy", [], "it is a run of dme\\+energy; dme starts from one of dme or plain"),
        ("dme", "dme", ["backbone.weights=torchvision"], r"the weights are those of this run.*; leave one of them out"),
        ("dme", "dme", ["backbone.width=16"], r"another backbone \(width\); try --set backbone\.width=8"),
    ],
)
def test_runs_that_cannot_be_a_start(home, method, start, sets, problem):
    with pytest.raises(UsageProblem, match=problem):
        plan(method, str(recipe_of(home)), sets, 0, the_run(start))


def test_a_head_on_saved_features_and_an_unfinished_run_cannot_be_a_start(home):
    _, run = train(home, "crt")
    with pytest.raises(UsageProblem, match="give a run of plain"):
        plan("crt", str(recipe_of(home)), [], 0, run)
    unfinished = plan("plain", str(recipe_of(home)), ["train.epochs=1"], 5)[0].run
    with pytest.raises(UsageProblem, match="it is new; finish it first"):
        plan("plain", str(recipe_of(home)), [], 0, unfinished)


def test_the_same_command_again_shows_the_run_it_made(home):
    recipe = recipe_of(home)
    recipe.write_text(recipe.read_text().replace("epochs = 3", "epochs = 1"))
    words = ("run", "plain", "--dataset", "tiny", "--from", "tiny/plain@latest")
    code, made, _ = oltr_here(*words, "--device", "cpu", "--workers", "0", "--no-track", "--json")
    assert code == 0
    assert oltr_here(*words, "--json")[1] == made
    assert resolve_run("tiny/plain").name in made  # of the recipe as it is now


def test_names_that_were_edited_are_pointed_out(home, lists):
    name_classes(home, ["ant", "BEE", "cat", "dog", "eel"])
    again = oltr_here("run", "plain", "--dataset", "tiny", "--set", "train.epochs=3", "--no-track")
    assert again[0] == 0
    assert "classes.txt has other names for 1 class than tiny/plain/" in again[2]
    assert "such as 'BEE' instead of 'bee'; " in again[2]
    assert "oltr data rename tiny bee BEE" in again[2]
