"""One more class in a trained network, from features alone: exact entries, imprinted rows, and what they cost."""

import numpy as np
import pytest
import torch

from oltr_cli.conformance.methods import BACKBONE, IMAGE_SIZE
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.method import FeatureSet
from oltr_cli.networks.layers import full_precision
from oltr_cli.planning.registry import load_method
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.specs import Recipe
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.imprint import LOSS, Imprinter, predictions
from oltr_cli.training.task import build_method

COUNTS = (40, 20, 10, 5)
DIM = 64
RNG = np.random.default_rng(0)
# Positive features, as after a ReLU: what they have in common is longer than what tells the classes apart.
CENTRES = 3 + RNG.normal(size=(len(COUNTS) + 1, DIM))


def samples(label: int, count: int, seed: int) -> torch.Tensor:
    noise = np.random.default_rng([label, seed]).normal(size=(count, DIM))
    return torch.from_numpy(CENTRES[label] + 0.7 * noise).float()


def features(count: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """``count`` of each old class."""
    parts = [samples(label, count, seed) for label in range(len(COUNTS))]
    return torch.cat(parts), np.repeat(np.arange(len(COUNTS)), count)


def recipe(name: str) -> Recipe:
    spec = DataSpec(name="tiny", image_size=IMAGE_SIZE, eval_resize=IMAGE_SIZE)
    return Recipe(method=name, data=spec, backbone=BACKBONE, params=load_method(name).Params())


def trained(name: str):
    """A network whose classifier separates the classes as a trained one does: rows without what all have in common."""
    network = build_method(load_method(name), recipe(name), COUNTS, 0).eval()
    x, labels = features(30, seed=1)
    if hasattr(network, "prepare_features"):
        network.prepare_features(FeatureSet(x, torch.from_numpy(labels)), FeatureSet(x, torch.from_numpy(labels)))
    rows = torch.from_numpy(CENTRES[:-1] - CENTRES[:-1].mean(axis=0)).float()
    state = network.state_dict()
    for key, value in state.items():
        if value.shape == rows.shape and not key.endswith(("means", "centroids")):
            value.copy_(rows)
        if key.endswith("centroids"):
            value.copy_(torch.from_numpy(CENTRES[:-1]))
        if value.shape == (len(COUNTS),) and key.endswith("bias"):
            value.copy_(-3 * rows.sum(1))
    return network


def validation(network, count: int = 100) -> SavedScores:
    x, labels = features(count, seed=2)
    with torch.inference_mode():
        scores = network.score_features(full_precision(x))
    logits = scores.logits.numpy()
    return SavedScores(logits.argmax(1), scores.confidence.numpy(), labels, logits, x.numpy())


def imprinter(name: str, count: int = 100) -> Imprinter:
    network = trained(name)
    return Imprinter(network, recipe(name), COUNTS, 0, validation(network, count))


@pytest.mark.parametrize(
    "name", ["plain", "crt", "cosine-la", "ldam-drw", "dme", "lws", "tau-norm", "logit-adjustment"]
)
def test_the_new_class_is_known_and_the_old_ones_stay(name):
    adding = imprinter(name)
    assert adding.accuracy_before > 0.95
    network, shift = adding.add(samples(len(COUNTS), 5, seed=3))
    assert 0 <= shift <= 4
    new = predictions(network, samples(len(COUNTS), 100, seed=4))
    assert (new == len(COUNTS)).mean() > 0.9
    assert adding.accuracy_before - adding.accuracy(network) <= LOSS + 1e-9


@pytest.mark.parametrize("name", ["plain", "cosine-la", "dme"])
def test_a_network_in_float64_takes_features_that_are_saved_as_float32(name, float64):
    adding = imprinter(name)
    network, _ = adding.add(samples(len(COUNTS), 5, seed=3))
    assert {value.dtype for value in network.state_dict().values() if value.is_floating_point()} == {torch.float64}
    assert (predictions(network, samples(len(COUNTS), 100, seed=4)) == len(COUNTS)).mean() > 0.9


def test_a_mean_alone_would_take_the_images_of_trained_classes():
    """Why a part of the centre is taken away: with t = 0 the row points where all features do."""
    adding = imprinter("plain")
    x = samples(len(COUNTS), 5, seed=3)
    network, shift = adding.add(x)
    assert shift > 0
    row = network.state_dict()["classifier.weight"][-1]
    mean = torch.nn.functional.normalize(x).mean(dim=0)
    row.copy_(torch.nn.functional.normalize(mean, dim=0) * row.norm())
    assert adding.accuracy(network) < adding.accuracy_before - 0.2


def test_it_is_the_least_part_of_the_centre_that_keeps_the_old_classes():
    adding = imprinter("plain")
    x = samples(len(COUNTS), 5, seed=3)
    network, shift = adding.add(x)
    unit = torch.nn.functional.normalize(x.double())
    known, labels = features(100, seed=2)
    centre = torch.stack([torch.nn.functional.normalize(known[labels == k].double()).mean(0) for k in range(4)]).mean(0)
    length = network.state_dict()["classifier.weight"][:-1].norm(dim=1).mean()

    def row(t):
        return torch.nn.functional.normalize(unit.mean(0) - t * centre, dim=0).float() * length

    torch.testing.assert_close(network.state_dict()["classifier.weight"][-1], row(shift))
    network.state_dict()["classifier.weight"][-1].copy_(row(shift - 0.05))
    assert adding.accuracy_before - adding.accuracy(network) > LOSS


def test_everything_else_of_the_network_stays():
    adding = imprinter("plain")
    before = adding.old.state_dict()
    after = adding.add(samples(len(COUNTS), 5, seed=3))[0].state_dict()
    for name, value in before.items():
        torch.testing.assert_close(after[name][: len(value)] if value.ndim else after[name], value, rtol=0, atol=0)
    torch.testing.assert_close(after["classifier.bias"][-1], before["classifier.bias"].mean())


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_ncm_gets_what_its_own_preparation_computes(metric):
    cls = load_method("ncm")
    own = recipe("ncm").model_copy(update={"params": cls.Params(metric=metric)})
    x, labels = features(30, seed=1)
    new = samples(len(COUNTS), 5, seed=3)
    old = build_method(cls, own, COUNTS, 0).eval()
    old.prepare_features(FeatureSet(x, torch.from_numpy(labels)), FeatureSet(x, torch.from_numpy(labels)))
    network, shift = Imprinter(old, own, COUNTS, 0, validation(old)).add(new)
    both = FeatureSet(torch.cat([x, new]), torch.cat([torch.from_numpy(labels), torch.full((5,), len(COUNTS))]))
    retrained = build_method(cls, own, [*COUNTS, 5], 0).eval()
    retrained.prepare_features(both, both)
    assert shift is None
    for name in ("means", "seen", "origin"):
        torch.testing.assert_close(network.state_dict()[name], retrained.state_dict()[name])


def test_dme_gets_a_centroid():
    new = samples(len(COUNTS), 5, seed=3)
    network, _ = imprinter("dme").add(new)
    torch.testing.assert_close(network.centroid_loss.centroids[-1], new.mean(dim=0))
    assert network.score_features(new).logits.shape == (5, len(COUNTS) + 1)


def test_classes_of_other_sizes_one_after_the_other():
    """Each image is judged by a network made without it, of one image fewer than the last one."""
    adding, new = imprinter("logit-adjustment"), samples(len(COUNTS), 5, seed=3)
    first = {name: value.clone() for name, value in adding.add(new)[0].state_dict().items()}
    adding.add(new[:3])
    again, _ = adding.add(new)
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, first[name], rtol=0, atol=0)
    assert len(again.adjustment) == len(COUNTS) + 1


@pytest.mark.parametrize("name", ["fslwf", "metamodelnet", "model-regression"])
def test_a_method_that_learns_how_classes_relate_says_that_it_cannot(name):
    network = build_method(load_method(name), recipe(name), COUNTS, 0)
    with pytest.raises(UsageProblem, match=f"^{name} cannot take a new class: it learns"):
        Imprinter(network, recipe(name), COUNTS, 0, validation(trained("plain")))


def test_a_method_whose_scores_do_not_follow_from_its_features_is_found_out():
    network = trained("plain")
    val = validation(network)
    network.classifier.weight.data.mul_(-1)
    with pytest.raises(UsageProblem, match="saved scores do not follow from its features"):
        Imprinter(network, recipe("plain"), COUNTS, 0, val)


def test_scores_without_features():
    network = trained("plain")
    val = validation(network)
    bare = SavedScores(val.prediction, val.confidence, val.labels, val.logits)
    with pytest.raises(DataProblem, match="no features"):
        Imprinter(network, recipe("plain"), COUNTS, 0, bare)
