"""Lifted and range loss: the equations pair by pair, their gradients, and batches that lack pairs or classes."""

import math

import pytest
import torch
from torch.nn import functional as F

from oltr_cli.method import Setup
from oltr_cli.methods.lifted import Lifted, lifted_loss
from oltr_cli.methods.range import Range, range_terms
from oltr_cli.recipe.specs import BackboneSpec

D = 5
LABELS = torch.tensor([4, 0, 0, 4, 0, 7, 0, 7, 7, 2])  # 4, 3, 2 and 1 samples a class, not in order


def features(scale=1.0, seed=0, number=10):
    g = torch.Generator().manual_seed(seed)
    return scale * torch.randn(number, D, generator=g, dtype=torch.float64)


def naive_lifted(v, labels, margin):
    pairs, total = 0, 0.0
    for i in range(len(v)):
        for j in range(i + 1, len(v)):
            if labels[i] != labels[j]:
                continue
            pairs += 1
            inside = 0.0
            for end in (i, j):
                for k in range(len(v)):
                    if labels[k] != labels[end]:
                        inside += math.exp(margin - math.dist(v[end], v[k]))
            if inside > 0:
                total += max(0.0, math.log(inside) + math.dist(v[i], v[j])) ** 2
    return total / (2 * pairs) if pairs else 0.0


def naive_range(v, labels, k, margin):
    v = [x.tolist() for x in v]
    classes = sorted(set(labels.tolist()))
    intra, means = 0.0, []
    for c in classes:
        own = [x for x, y in zip(v, labels.tolist(), strict=True) if y == c]
        distances = sorted((math.dist(a, b) for n, a in enumerate(own) for b in own[n + 1 :]), reverse=True)[:k]
        if distances:
            intra += len(distances) / sum(1 / d for d in distances)
        means.append([sum(column) / len(own) for column in zip(*own, strict=True)])
    squared = [math.dist(a, b) ** 2 for n, a in enumerate(means) for b in means[n + 1 :]]
    return intra, max(0.0, margin - min(squared)) if squared else 0.0


@pytest.mark.parametrize(("scale", "margin"), [(1.0, 5.0), (1.0, 0.0), (10.0, 5.0), (0.01, 1.0)])
def test_lifted_equals_the_formula(scale, margin):
    v = features(scale)
    assert lifted_loss(v, LABELS, margin).item() == pytest.approx(naive_lifted(v, LABELS, margin), rel=1e-12)


def test_lifted_clips_pairs_that_are_close_enough():
    """Two tight classes far apart: every J is below 0."""
    v = features(0.01, number=6) + torch.tensor([0, 0, 0, 50, 50, 50])[:, None]
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    assert lifted_loss(v, labels).item() == 0
    mixed = labels[torch.tensor([0, 3, 1, 4, 2, 5])]
    assert lifted_loss(v, mixed).item() == pytest.approx(naive_lifted(v, mixed, 5.0), rel=1e-12)


def test_lifted_agrees_with_pytorch_metric_learning():
    """Its mean over ordered pairs of J²/2 is our sum over unordered ones divided by 2|P|."""
    pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import LiftedStructureLoss

    other = LiftedStructureLoss(neg_margin=5, pos_margin=0, distance=LpDistance(normalize_embeddings=False))
    for scale in (0.3, 1.0, 10.0):
        ours, theirs = features(scale).requires_grad_(), features(scale).requires_grad_()
        first, second = lifted_loss(ours, LABELS), other(theirs, LABELS)
        torch.testing.assert_close(first, second, rtol=1e-9, atol=0)
        first.backward()
        second.backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("k", [1, 2, 3, 100])
@pytest.mark.parametrize("margin", [0.0, 5.0, 200.0])
def test_range_equals_the_formula(k, margin):
    for seed in range(5):
        v = features(2.0, seed)
        intra, inter = range_terms(v, LABELS, k, margin)
        expected = naive_range(v, LABELS, k, margin)
        assert (intra.item(), inter.item()) == pytest.approx(expected, rel=1e-12)


def test_range_acts_on_the_widest_pairs_and_the_nearest_means_alone():
    v = torch.tensor([[0.0], [1.0], [5.0], [20.0], [21.0], [40.0]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    intra, inter = range_terms(v, labels, k=1, margin=400.0)
    assert intra.item() == pytest.approx(5 + 1)  # 0–5 and 20–21
    assert inter.item() == pytest.approx(400 - 18.5**2)  # 2 and 20.5
    (of_intra,) = torch.autograd.grad(intra, v, retain_graph=True)
    assert of_intra.flatten().tolist() == pytest.approx([-1, 0, 1, -1, 1, 0])
    (of_inter,) = torch.autograd.grad(inter, v)
    assert of_inter.flatten().tolist() == pytest.approx([37 / 3, 37 / 3, 37 / 3, -37 / 2, -37 / 2, 0])


LOSSES = {
    "lifted": lambda v, y: lifted_loss(v, y),
    "intra": lambda v, y: range_terms(v, y)[0],
    "inter": lambda v, y: range_terms(v, y, margin=200.0)[1],
}


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


def test_gradients_are_right(loss):
    v = features(2.0).requires_grad_()
    assert loss(v, LABELS).item() > 0
    assert torch.autograd.gradcheck(lambda x: loss(x, LABELS), (v,))


def test_order_of_samples_and_names_of_classes_do_not_matter(loss):
    v = features(2.0)
    order = torch.randperm(len(v), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(v[order], 100 - LABELS[order]), loss(v, LABELS), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "labels",
    [[3], [3, 3], [3, 3, 3, 3], [0, 1], [0, 1, 2, 3], [0, 0, 1]],
    ids=["one sample", "one pair", "one class", "two singles", "no pair", "a single beside a pair"],
)
@pytest.mark.parametrize("coincide", [False, True])
def test_small_batches_stay_finite(loss, labels, coincide):
    """Also when all features are the same: a class with one image comes as that image several times."""
    v = torch.ones(len(labels), D, dtype=torch.float64) if coincide else features(number=len(labels))
    v.requires_grad_()
    value = loss(v, torch.tensor(labels))
    (value + 0 * v.sum()).backward()
    assert value.isfinite()
    assert v.grad.isfinite().all()


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_a_batch_of_one_class_meets_no_nan_on_the_way_back(loss):
    v = features(number=4).requires_grad_()
    with torch.autograd.detect_anomaly():
        (loss(v, torch.zeros(4, dtype=torch.int64)) + 0 * v.sum()).backward()


def test_what_is_missing_counts_nothing():
    v = features(number=4).requires_grad_()
    one_class, no_pair = torch.zeros(4, dtype=torch.int64), torch.arange(4)
    assert range_terms(v, one_class)[1].item() == 0
    for value in (lifted_loss(v, one_class), lifted_loss(v, no_pair), range_terms(v, no_pair)[0]):
        assert value.item() == 0
        (gradient,) = torch.autograd.grad(value, v)
        assert (gradient == 0).all()


def large_batch():
    """More than the 25 samples from which on cdist goes by a matrix product; three features twice, one four times."""
    v = features(3.0, number=40)
    labels = torch.arange(40) // 4
    v[1], v[5], v[9] = v[0], v[4], v[8]
    v[36:] = v[36]
    return v, labels


def test_large_batches_equal_the_formulas():
    v, labels = large_batch()
    v = v + 1e-3 * features(number=40, seed=1)  # 1/D of the naive form has no guard
    assert lifted_loss(v, labels).item() == pytest.approx(naive_lifted(v, labels, 5.0), rel=1e-10)
    terms = [term.item() for term in range_terms(v, labels, 2, 200.0)]
    assert terms == pytest.approx(naive_range(v, labels, 2, 200.0), rel=1e-10)


def test_large_batches_in_float32_agree_with_float64_also_far_from_the_origin(loss):
    v, labels = large_batch()
    far = (v.float() + 10_000).requires_grad_()
    exact = far.detach().double().requires_grad_()
    single, double = loss(far, labels), loss(exact, labels)
    assert single.item() == pytest.approx(double.item(), rel=1e-4)
    single.backward()
    double.backward()
    assert (far.grad - exact.grad).norm() < 1e-3 * exact.grad.norm()


def test_a_large_batch_of_one_image_stays_finite(loss):
    for number_of_classes in (1, 2, 40):
        v = torch.full((40, D), 7.3).requires_grad_()
        value = loss(v, torch.arange(40) % number_of_classes)
        (value + 0 * v.sum()).backward()
        assert value.isfinite()
        assert v.grad.abs().max() < 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision_is_computed_in_float32(loss, dtype):
    """Squared lengths of 10⁶ are beyond float16."""
    v = features(500.0).to(dtype)
    value = loss(v, LABELS)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(v.double(), LABELS).item(), rel=1e-5)


def test_autocast_changes_nothing(loss):
    v = features(3.0).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(v, LABELS)
    torch.testing.assert_close(inside, loss(v, LABELS), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("cls", "params", "expected"),
    [
        (Lifted, {"weight": 0.3, "margin": 2.0}, lambda v, y: {"lifted": 0.3 * lifted_loss(v, y, 2.0)}),
        (
            Range,
            {"weight": 0.3, "alpha": 2.0, "beta": 5.0, "k": 1, "margin": 900.0},
            lambda v, y: dict(zip(("intra", "inter"), _scaled(range_terms(v, y, 1, 900.0), 0.6, 1.5), strict=True)),
        ),
    ],
)
def test_terms_are_weighted_and_named(cls, params, expected):
    torch.manual_seed(0)
    backbone = BackboneSpec(name="resnet10", stem="small", width=8)
    method = cls(Setup(backbone, 16, (12, 5, 1), cls.Params(**params))).eval()
    images, labels = torch.randn(6, 3, 16, 16), torch.tensor([0, 0, 1, 1, 2, 2])
    v = method.backbone(images)
    terms = method.training_loss(images, labels)
    cross_entropy = F.cross_entropy(method.classifier(v), labels)
    wanted = {"cross_entropy": cross_entropy, **expected(v, labels)}
    assert list(terms) == list(wanted)
    for name, value in wanted.items():
        assert value.item() > 0
        torch.testing.assert_close(terms[name], value, rtol=1e-6, atol=1e-7)


def _scaled(values, *factors):
    return [value * factor for value, factor in zip(values, factors, strict=True)]
