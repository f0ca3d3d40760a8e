"""A finished run at work on images: what it saved, again, without its dataset; its threshold; its explanations."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from oltr_cli.base.files import read_json
from oltr_cli.conformance.methods import BACKBONE, CLASS_COUNTS, IMAGE_SIZE
from oltr_cli.data.feed.transforms import evaluation_crop
from oltr_cli.data.images import decode_file
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.method import Method, Setup
from oltr_cli.methods.dme import DME, reachability
from oltr_cli.runs.scores import SavedScores
from tests.helpers.finished_runs import environment, make_finished_runs

DETECTORS = (
    *("msp", "maxlogit", "energy", "knn", "mahalanobis", "vim", "openmax", "odin"),
    *("gen", "react", "kl-matching", "combined"),  # of the logits; with the classifier; with val; with parts
)
RUNS = {
    "plain": [],
    "crt": [],
    "dme": [],
    **{f"plain+{detector}": [] for detector in DETECTORS},
    "plain+odin": ["detector.tune=true"],
    "dme+energy": [],
    "dme+odin": [],
    "crt+openmax": [],
    "crt+odin": [],
    "crt+nci": [],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("finished")
    patch = environment(home)
    yield make_finished_runs(home, RUNS)
    patch.undo()


@pytest.fixture
def copied(finished, tmp_path, monkeypatch):
    """A copy of the runs that a test may damage."""
    runs = tmp_path / "runs"
    shutil.copytree(finished.runs, runs)
    monkeypatch.setenv("OLTR_RUNS", str(runs))
    return lambda method: runs / finished.names[method]


def crops(files: list[str], recogniser: Recogniser) -> torch.Tensor:
    return torch.stack([evaluation_crop(decode_file(Path(file)), recogniser.recipe.data) for file in files])


@pytest.mark.parametrize("method", RUNS)
def test_says_of_an_image_what_the_run_saved_of_it(finished, method):
    recogniser = Recogniser.load(finished.names[method])
    assert recogniser.run.method == method
    for split in ("test", "open"):
        saved = finished.scores(method, split)
        made = recogniser.scores(crops(finished.files(split), recogniser))
        np.testing.assert_array_equal(made.prediction, saved.prediction)
        np.testing.assert_allclose(made.confidence, saved.confidence, rtol=1e-5, atol=1e-5)
        assert (made.labels == -1).all()


@pytest.mark.parametrize("method", ["dme", "crt", "plain+openmax", "plain+odin", "plain+knn"])
def test_a_batch_of_one_says_the_same(finished, method):
    recogniser = Recogniser.load(finished.names[method])
    images = crops(finished.files("test"), recogniser)
    whole = recogniser.scores(images)
    single = [recogniser.scores(image[None]) for image in images]
    np.testing.assert_array_equal(np.concatenate([s.prediction for s in single]), whole.prediction)
    confidence = np.concatenate([s.confidence for s in single])
    np.testing.assert_allclose(confidence, whole.confidence, rtol=1e-4, atol=1e-5)


def test_parameters_that_a_detector_chose_are_taken_over(finished):
    recogniser = Recogniser.load(finished.names["plain+odin"])
    said = json.loads((finished.path("plain+odin") / "result.json").read_text())["detector"]["params"]
    assert recogniser.detector.setup.params.temperature == said["temperature"]
    assert recogniser.detector.setup.params.epsilon == said["epsilon"]
    assert not recogniser.detector.setup.params.tune
    assert recogniser.threshold_facts["detector"] == "odin"
    assert "detector" not in Recogniser.load(finished.path("plain")).threshold_facts


def test_names_and_counts_are_the_results(finished):
    recogniser = Recogniser.load(finished.path("dme"))  # a folder does as well as a name
    assert recogniser.class_names == [f"thing {i}" for i in range(5)]
    assert recogniser.class_counts == [24, 12, 6, 2, 1]
    assert not recogniser.network.training


def test_the_threshold_is_the_tuned_one_then_the_runs_own_and_a_given_one_first(copied):
    path = copied("dme")
    assert (Recogniser.load(path).threshold, Recogniser.load(path).rule) == (0.1, "fixed:0.1")
    (path / "threshold.json").write_text('{"rule": "val_open", "value": 0.4}')
    assert (Recogniser.load(path).threshold, Recogniser.load(path).rule) == (0.4, "tuned, by val_open")
    assert Recogniser.load(path, threshold="tuned").threshold == 0.4
    assert (Recogniser.load(path, threshold="own").threshold, Recogniser.load(path, threshold="own").rule) == (
        0.1,
        "fixed:0.1",
    )
    assert (Recogniser.load(path, threshold=-2).threshold, Recogniser.load(path, threshold=-2).rule) == (
        -2.0,
        "fixed:-2.0",
    )
    assert Recogniser.load(path, threshold="0.25").threshold == 0.25
    assert Recogniser.load(path, threshold="fixed:0.3").rule == "fixed:0.3"
    assert Recogniser.load(path, threshold="-27.3").threshold == -27.3


def test_a_rule_chooses_from_the_validation_scores_of_the_run(finished):
    val = finished.scores("dme+energy", "val")
    tau = Recogniser.load(finished.names["dme+energy"], threshold="id_quantile:0.8").threshold
    assert (val.confidence >= np.float32(tau)).mean() >= 0.8
    assert (val.confidence > np.float32(tau)).mean() < 0.8
    own = Recogniser.load(finished.names["dme+energy"])
    assert own.rule == "id_quantile:0.95"


def test_a_rule_by_class_rejects_by_the_threshold_of_the_predicted_class(finished):
    val = finished.scores("plain", "val")
    recogniser = Recogniser.load(finished.names["plain"], threshold="class_quantile:0.5")
    assert recogniser.threshold_facts.keys() == {"rule", "value", "by_class"}
    predicted, sizes = np.unique(val.prediction, return_counts=True)
    assert (sizes >= 2).any(), "some class needs a quantile of its own"
    for label in predicted[sizes >= 2]:
        mine = np.sort(val.confidence[val.prediction == label])
        assert recogniser.chosen.by_class[label] == mine[len(mine) // 2]
    known = ~recogniser.unknown(val)
    expected = [
        c >= np.float32(recogniser.chosen.by_class[p]) for p, c in zip(val.prediction, val.confidence, strict=True)
    ]
    assert known.tolist() == expected


@pytest.mark.parametrize(
    ("threshold", "word"),
    [
        ("nan", "finite"),
        ("inf", "finite"),
        ("oracle_test", "labels of the test"),
        ("val_opne", "val_open"),
        ("tuned", "no tuned"),
    ],
)
def test_a_threshold_that_is_none_is_refused(finished, threshold, word):
    with pytest.raises(UsageProblem, match=word):
        Recogniser.load(finished.names["dme"], threshold=threshold)


def test_a_confidence_exactly_at_the_threshold_is_known(finished):
    recogniser = Recogniser.load(finished.names["dme"], threshold=0.1)
    below, at = np.nextafter(np.float32(0.1), np.float32(0)), np.float32(0.1)
    scores = SavedScores(np.zeros(3, int), np.array([below, at, 0.2], np.float32), np.full(3, -1))
    assert recogniser.unknown(scores).tolist() == [True, False, False]


def test_a_run_that_is_not_finished_is_refused_with_the_command_that_finishes_it(copied, tmp_path, monkeypatch):
    path = copied("dme+energy")
    (path / "result.json").unlink()
    with pytest.raises(UsageProblem, match=r"finish it first, with the command that started it$"):
        Recogniser.load(path)  # of a recipe file; none is called tiny
    (tmp_path / "data" / "tiny").mkdir(parents=True)
    (tmp_path / "data" / "tiny" / "recipe.toml").write_text('[data]\nname = "tiny"\n')
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    with pytest.raises(UsageProblem, match="oltr run dme --detector energy --dataset tiny"):
        Recogniser.load(path)


def _drop(key):
    def change(path):
        content = read_json(path / "result.json")
        del content[key]
        (path / "result.json").write_text(json.dumps(content))

    return change


def _other_width(path):
    _edit(path, lambda text: text.replace("width = 8", "width = 16"))


def _other_digest(path):
    text = (path / "recipe.toml").read_text()
    (path / "recipe.toml").write_text(text.replace("width = 8", "width = 9"))


def _edit(path, change):
    """Change the recipe of a run on purpose: without its digest."""
    text, _, _ = (path / "recipe.toml").read_text().rpartition("# digest")
    assert change(text) != text
    (path / "recipe.toml").write_text(change(text))


def _no_model(path):
    torch.save({"epoch": 1}, path / "best.pt")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda path: (path / "best.pt").unlink(), "best.pt"),
        (lambda path: (path / "best.pt").write_bytes(b"PK half of it"), "best.pt"),
        (_no_model, "best.pt"),
        (_other_width, "best.pt"),
        (
            _other_digest,
            r"recipe\.toml: is damaged, or changed by hand; restore it or, .*, remove its digest, the last",
        ),
        (lambda path: _edit(path, lambda text: text + "\n[extra]\nx = 1\n"), "extra"),
        (_drop("class_counts"), "class_counts"),
        (_drop("threshold"), r"result\.json: is damaged \(threshold"),
    ],
)
def test_damage_is_named(copied, damage, named):
    path = copied("dme")
    damage(path)
    with pytest.raises(DataProblem, match=named):
        Recogniser.load(path)


def test_training_scores_that_are_gone_are_named_where_a_detector_needs_them(copied):
    (copied("plain") / "scores" / "train.npz").unlink()
    with pytest.raises(DataProblem, match=r"train\.npz.*openmax is fitted to it\. To make it: oltr tune detector"):
        Recogniser.load(copied("plain+openmax"))
    Recogniser.load(copied("plain+energy"))  # which learns nothing from them


def test_only_a_method_that_explains_has_something_to_say(finished):
    for method, says in (("plain", False), ("dme", True), ("dme+energy", True)):
        recogniser = Recogniser.load(finished.names[method])
        scores = recogniser.scores(crops(finished.files("open")[:2], recogniser))
        assert (recogniser.explain(scores, 3) is not None) is says
        assert (type(recogniser.network).explain is not Method.explain) is says


def explained(batch=7, **params):
    """DME with weights and centroids far from any structure, features of it, and what it says of them."""
    torch.manual_seed(3)
    method = DME(Setup(BACKBONE, IMAGE_SIZE, CLASS_COUNTS, DME.Params(**params)))
    with torch.no_grad():
        method.centroid_loss.centroids.normal_()
        method.head.hallucinator.weight.normal_()
        v = torch.randn(batch, method.backbone.feature_dim) * 3
        return method, v, method.explain(v, 3)


@pytest.mark.parametrize("coefficients", ["softmax", "linear"])
def test_dme_explains_by_distances_and_coefficients(coefficients):
    """Recomputed in float64, sample by sample and class by class."""
    method, v, said = explained(coefficients=coefficients)
    centroids = method.centroid_loss.centroids.double().tolist()
    weight, bias = method.head.hallucinator.weight.double().tolist(), method.head.hallucinator.bias.double().tolist()
    for row, x in enumerate(v.double().tolist()):
        far = [sum((a - b) ** 2 for a, b in zip(x, c, strict=True)) ** 0.5 for c in centroids]
        order = sorted(range(len(far)), key=far.__getitem__)[:3]
        assert said.nearest[row].tolist() == order
        np.testing.assert_allclose(said.distances[row], [far[i] for i in order], rtol=1e-5)
        np.testing.assert_allclose(said.reachability[row], min(far), rtol=1e-5)
        o = [sum(a * b for a, b in zip(x, w, strict=True)) + k for w, k in zip(weight, bias, strict=True)]
        if coefficients == "softmax":
            o = (np.exp(np.array(o) - max(o)) / np.exp(np.array(o) - max(o)).sum()).tolist()
        largest = sorted(range(len(o)), key=lambda i, o=o: -abs(o[i]))[:3]
        assert said.infused[row].tolist() == largest
        np.testing.assert_allclose(said.coefficients[row], [o[i] for i in largest], rtol=1e-4, atol=1e-7)


def test_an_explanation_has_at_most_all_classes_and_no_memory_where_there_is_none():
    method, v, said = explained(memory=False)
    assert said.infused is None
    assert said.coefficients is None
    with torch.no_grad():
        assert method.explain(v, 99).nearest.shape == (7, len(CLASS_COUNTS))
        assert method.explain(v[:0], 3).nearest.shape == (0, 3)


def test_a_feature_on_a_centroid_is_at_distance_zero():
    method, _, _ = explained()
    with torch.no_grad():
        said = method.explain(method.centroid_loss.centroids, 2)
    assert said.nearest[:, 0].tolist() == list(range(len(CLASS_COUNTS)))
    assert (said.reachability == 0).all()


def test_reachability_is_the_one_that_the_network_divides_by(finished):
    recogniser = Recogniser.load(finished.names["dme"])
    scores = recogniser.scores(crops(finished.files("test"), recogniser))
    said = recogniser.explain(scores, 3)
    with torch.no_grad():
        gamma = reachability(torch.from_numpy(scores.features), recogniser.network.centroid_loss.centroids)
    np.testing.assert_allclose(said.reachability, gamma, rtol=1e-5)


def test_a_network_whose_error_says_nothing_is_one_line(copied, monkeypatch):
    def load_best(*_):
        raise NotImplementedError

    monkeypatch.setattr("oltr_cli.inference.rebuilding.load_best", load_best)
    copied("plain")
    with pytest.raises(DataProblem, match=r"best.pt: does not hold the network of plain \(NotImplementedError\)"):
        Recogniser.load("tiny/plain/")
