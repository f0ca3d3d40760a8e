"""The moving average of the weights: its formula, its place in the network, and which weights a run keeps."""

import copy

import numpy as np
import pytest
import torch

from oltr_cli.method import Setup
from oltr_cli.methods.plain import Plain
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.average import WeightAverage
from tests.helpers.outcomes import run_dir


@pytest.fixture
def method():
    torch.manual_seed(0)
    return Plain(Setup(BackboneSpec(name="resnet10", stem="small", width=8), 16, (9, 3, 1), Plain.Params()))


def change(method, seed):
    """Other weights, statistics of batch norm and counts of batches."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in method.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=g))
            else:
                value.fill_(seed)


def test_it_is_the_moving_average_of_weights_and_statistics(method):
    average = WeightAverage(method, 0.25)
    wanted = {name: value.double() for name, value in method.state_dict().items()}
    for number in range(6):
        change(method, number + 1)
        average.update(method)
        decay = min(0.25, (1 + number) / (10 + number))
        for name, value in method.state_dict().items():
            wanted[name] = decay * wanted[name] + (1 - decay) * value.double()
    names = [name for name, value in average.values.items() if value.is_floating_point()]
    assert any("running_var" in name for name in names)
    torch.testing.assert_close({n: average.values[n].double() for n in names}, {n: wanted[n] for n in names})
    counts = [value for name, value in average.values.items() if name not in names]
    assert counts
    assert all(value == 6 for value in counts)


def test_it_takes_the_place_of_the_weights_and_gives_it_back(method):
    average = WeightAverage(method, 0.9)
    change(method, 1)
    average.update(method)
    own, averaged = copy.deepcopy(method.state_dict()), copy.deepcopy(average.values)
    with average.in_place(method):
        assert all(torch.equal(value, averaged[name]) for name, value in method.state_dict().items())
        with torch.no_grad():
            method.classifier.weight.fill_(3)  # as a method may at the end of an epoch
    assert all(torch.equal(value, own[name]) for name, value in method.state_dict().items())
    assert (average.values.pop("classifier.weight") == 3).all()
    assert all(torch.equal(value, averaged[name]) for name, value in average.values.items())


def test_the_average_is_validated_and_scored(oltr, tiny_recipe):
    oltr("run", "plain", "--recipe", tiny_recipe, "--set", "train.ema=0.9", "--set", "train.epochs=1")
    run = run_dir(oltr, "plain")
    last, best = (torch.load(run / name, weights_only=True) for name in ("last.pt", "best.pt"))
    assert last["average"]["updates"] == 5
    assert all(torch.equal(value, last["average"]["values"][name]) for name, value in best["model"].items())
    assert not torch.equal(best["model"]["classifier.weight"], last["model"]["classifier.weight"])
    val = SavedScores.load(run / "scores" / "val.npz")
    weight, bias = (best["model"][f"classifier.{name}"].numpy() for name in ("weight", "bias"))
    np.testing.assert_allclose(val.logits, val.features @ weight.T + bias, atol=1e-2)
    assert best["value"] == last["progress"]["history"][0]["val/closed/overall"]
    assert best["value"] == pytest.approx((val.prediction == val.labels).mean())


def test_an_interrupted_run_without_its_average_is_not_resumed(oltr, tiny_recipe):
    words = ("run", "plain", "--recipe", tiny_recipe, "--set", "train.ema=0.9")
    oltr(*words)
    run = run_dir(oltr, "plain")
    (run / "result.json").unlink()
    for name in ("last.pt", "last.prev.pt"):
        content = torch.load(run / name, weights_only=True)
        del content["average"]
        torch.save(content, run / name)
    done = oltr(*words, check=3)
    assert "cannot resume from it (average of the weights: 'average'); remove" in done.stderr
