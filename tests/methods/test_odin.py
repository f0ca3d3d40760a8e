"""ODIN against its formula with gradients taken sample by sample in float64, under the engine's inference mode."""

import numpy as np
import pytest
import torch
from torch import nn

from oltr_cli.detector import DetectorSetup
from oltr_cli.errors import UsageProblem
from oltr_cli.method import Method, Scores, Setup
from oltr_cli.methods.odin import ODIN, excess_softmax
from oltr_cli.methods.plain import Plain
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.runs.scores import SavedScores

K = 4
STD = (0.2, 0.25, 0.5)


class Smooth(Method):
    """A small network without kinks, so that the sign of a gradient is stable."""

    def __init__(self):
        nn.Module.__init__(self)
        g = torch.Generator().manual_seed(0)
        self.hidden = nn.Linear(3 * 4 * 4, 10)
        self.classifier = nn.Linear(10, K)
        for p in self.parameters():
            nn.init.normal_(p, std=0.4, generator=g)

    def forward(self, images):
        features = self.hidden(images.flatten(1)).tanh()
        return Scores.from_logits(self.classifier(features), features)


def build(**params):
    return ODIN(DetectorSetup((9, 5, 2, 1), STD, ODIN.Params(**params)))


@pytest.fixture
def images():
    return torch.randn(7, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def naive(network, image, temperature, epsilon):
    """S − 1/K of one image in float64; the gradient by central differences."""
    network = network.double()
    x = image.double()[None]

    def logits(x):
        with torch.no_grad():
            features = network.hidden(x.flatten(1)).tanh()
            return network.classifier(features)[0].numpy() / temperature

    def softmax(z):
        return np.exp(z - z.max()) / np.exp(z - z.max()).sum()

    label = logits(x).argmax()
    sign = torch.zeros_like(x)
    for position in np.ndindex(*x.shape):
        step = torch.zeros_like(x)
        step[position] = 1e-4
        up, down = (-np.log(softmax(logits(x + s))[label]) for s in (step, -step))
        sign[position] = float(np.sign(up - down))
    moved = x - epsilon * sign / torch.tensor(STD, dtype=torch.float64).view(1, 3, 1, 1)
    return softmax(logits(moved)).max() - 1 / K


@pytest.mark.parametrize("temperature", [1.0, 1000.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.0014, 0.05])
def test_odin_is_its_formula(images, temperature, epsilon):
    scores = build(temperature=temperature, epsilon=epsilon).score_images(Smooth().eval(), images)
    expected = [naive(Smooth(), image, temperature, epsilon) for image in images]
    np.testing.assert_allclose(scores.confidence.numpy(), expected, rtol=2e-5)


def test_perturbation_raises_the_confidence(images):
    without = build(epsilon=0.0).score_images(Smooth().eval(), images).confidence
    with_it = build(epsilon=0.02).score_images(Smooth().eval(), images).confidence
    assert (with_it > without).all()


def test_logits_and_features_are_those_of_the_image_itself(images):
    network = Smooth().eval()
    scores = build(epsilon=0.5).score_images(network, images)
    with torch.no_grad():
        plain = network(images)
    torch.testing.assert_close(scores.logits, plain.logits)
    torch.testing.assert_close(scores.features, plain.features)
    assert scores.confidence.dtype == torch.float32
    assert not any(t.requires_grad for t in (scores.logits, scores.features, scores.confidence))


@pytest.mark.parametrize("autocast", [False, True])
def test_under_the_engines_inference_mode(autocast):
    """Inference tensors come in, autocast may be on; the weights collect nothing and the images stay as they are."""
    torch.manual_seed(0)
    setup = Setup(BackboneSpec(name="resnet10", stem="small-stride2", width=8), 16, (9, 5, 2, 1), Plain.Params())
    network = Plain(setup).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    detector = build()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        images = torch.randn(5, 3, 16, 16)
        copy = images.clone()
        plain = network(images)
        scores = detector.score_images(network, images)
        alone = [detector.score_images(network, image[None]).confidence[0] for image in images]
    assert torch.equal(images, copy)
    torch.testing.assert_close(scores.logits, plain.logits, rtol=1e-5, atol=1e-5)
    assert scores.confidence.isfinite().all()
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    if not autocast:
        torch.testing.assert_close(torch.stack(alone), scores.confidence, rtol=1e-3, atol=1e-7)


def test_float32_does_not_tie_samples_at_a_high_temperature():
    """5,000 samples at T = 1000: the softmax itself ties many of them, the excess keeps their order."""
    logits = torch.randn(5000, 1000, generator=torch.Generator().manual_seed(0))
    exact = (logits.double() / 1000).softmax(1).amax(1)
    confidence = excess_softmax(logits, 1000.0)
    naive = (logits / 1000).softmax(1).amax(1)
    assert len(naive.unique()) < 4500
    assert len(confidence.unique()) > 4990
    np.testing.assert_allclose(confidence.numpy(), (exact - 1 / 1000).numpy(), rtol=1e-6)
    in_order = confidence[exact.argsort()]
    assert (in_order.diff() >= 0).all()


def test_excess_is_zero_for_equal_logits_and_finite_for_huge_ones():
    logits = torch.tensor([[0.0, 0, 0], [3e38, -3e38, 0], [7, 7, -1e30]])
    assert excess_softmax(logits, 1.0).tolist() == pytest.approx([0, 2 / 3, 1 / 2 - 1 / 3])


def test_candidates_are_the_grid_only_when_asked_for():
    assert build().candidates() == ()
    found = [(c.report()["temperature"], c.report()["epsilon"]) for c in build(tune=True).candidates()]
    assert len(found) == len(set(found)) == 24
    assert (1000.0, 0.0014) in found
    assert (1.0, 0.0) in found
    assert all(c.candidates() == () for c in build(tune=True).candidates())


def test_saved_scores_do_not_suffice():
    scores = SavedScores(np.zeros(1, np.int64), np.ones(1, np.float32), np.zeros(1, np.int64), np.zeros((1, K)))
    with pytest.raises(UsageProblem, match="needs the images"):
        build().score(scores)


def test_a_network_without_gradient_is_named(images):
    class Closed(Smooth):
        @torch.no_grad()
        def forward(self, images):
            return super().forward(images)

    with pytest.raises(UsageProblem, match="Closed"):
        build().score_images(Closed().eval(), images)
