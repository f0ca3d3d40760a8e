"""Dynamic meta-embedding and its centroid loss against plain formulas, sample by sample, in float64."""

import copy
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from oltr_cli.method import Setup
from oltr_cli.methods.dme import DME, CentroidLoss, MetaEmbeddingHead, reachability
from oltr_cli.networks.layers import Attention, squash
from oltr_cli.recipe.specs import BackboneSpec

B, K, D = 9, 7, 5


@pytest.fixture
def inputs():
    g = torch.Generator().manual_seed(0)
    direct = torch.randn(B, D, generator=g, dtype=torch.float64)
    centroids = torch.randn(K, D, generator=g, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 3, 6, 6])
    return direct, centroids, labels


def naive_head(head, direct, centroids):
    """Eqs. 1–4 and 6 written out for one sample at a time."""
    hal_w, hal_b = head.hallucinator.weight.detach().numpy(), head.hallucinator.bias.detach().numpy()
    sel_w, sel_b = head.selector.weight.detach().numpy(), head.selector.bias.detach().numpy()
    weights = head.classifier.weight.detach().numpy()
    logits = np.zeros((len(direct), len(centroids)))
    for n, v in enumerate(direct.numpy()):
        o = hal_w @ v + hal_b
        if head.coefficients == "softmax":
            o = np.exp(o - o.max()) / np.exp(o - o.max()).sum()
        v_memory = sum(o[i] * centroids[i].numpy() for i in range(len(centroids)))
        e = np.tanh(sel_w @ v + sel_b) if head.concept_selector else np.ones(len(v))
        gamma = min(math.dist(v, c.numpy()) for c in centroids)
        meta = v + e * v_memory if head.memory else v
        if head.calibrator:
            meta = head.reachability_scale / gamma * meta
        length = math.sqrt((meta**2).sum())
        if head.classifier.form == "paper":
            meta = length**2 / (1 + length**2) * meta / length
        else:
            meta = meta / (1 + length)
        for k, w in enumerate(weights):
            logits[n, k] = head.classifier.scale * meta @ w / math.sqrt((w**2).sum())
    return logits


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"squash": "paper"},
        {"coefficients": "linear"},
        {"reachability_scale": 1.0},
        {"memory": False},
        {"concept_selector": False},
        {"calibrator": False},
        {"scale": 4.0, "memory": False, "calibrator": False},
    ],
)
def test_head_equals_the_formulas(inputs, options):
    direct, centroids, _ = inputs
    torch.manual_seed(1)
    head = MetaEmbeddingHead(D, K, **options).double()
    assert head(direct, centroids).detach().numpy() == pytest.approx(naive_head(head, direct, centroids), rel=1e-12)


def test_head_in_float32_agrees_with_float64(inputs):
    direct, centroids, _ = inputs
    torch.manual_seed(1)
    head = MetaEmbeddingHead(D, K)
    single = head(direct.float(), centroids.float())
    assert single.dtype == torch.float32
    double = head.double()(direct, centroids)
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


def test_head_gradients_are_right_and_spare_the_centroids(inputs):
    direct, centroids, _ = inputs
    torch.manual_seed(1)
    head = MetaEmbeddingHead(D, K).double()
    direct.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: head(v, centroids), (direct,))
    centroids.requires_grad_()
    head(direct, centroids).sum().backward()
    assert centroids.grad is None


def test_a_feature_on_a_centroid_stays_finite(inputs):
    direct, centroids, _ = inputs
    direct = torch.cat([direct, centroids[2:3]]).requires_grad_()
    head = MetaEmbeddingHead(D, K).double()
    logits = head(direct, centroids)
    logits.square().sum().backward()
    assert logits.isfinite().all()
    assert direct.grad.isfinite().all()
    zero = torch.zeros(1, D, dtype=torch.float64, requires_grad=True)
    squash(zero).sum().backward()
    assert zero.grad.isfinite().all()


def test_reachability_is_the_smallest_distance_also_when_far_from_the_origin():
    g = torch.Generator().manual_seed(3)
    centroids = torch.randn(50, 16, generator=g) + 30
    direct = torch.randn(20, 16, generator=g) + 30
    expected = torch.cdist(direct.double(), centroids.double()).amin(dim=1)
    torch.testing.assert_close(reachability(direct, centroids).double(), expected, rtol=1e-4, atol=1e-4)


def test_ms1m_size_fits_in_two_gigabytes():
    """74,500 classes × 512 at batch 128, forward and backward, in a process of its own whose peak can be read."""
    code = """
import _measure, dme_head
before = _measure.peak_mb()
step = dme_head.both_ways(dme_head.ours, batch=128, dim=512, classes=74_500)
step()
print(_measure.peak_mb() - before)
"""
    folder = Path(__file__).parents[2] / "benchmarks"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    assert 100 < float(done.stdout) < 2000


def naive_centroid_loss(direct, centroids, labels, margin=10.0, repel_weight=0.01):
    attract = sum(((v - centroids[y]) ** 2).sum() for v, y in zip(direct, labels, strict=True)) / (2 * len(direct))
    total = 0.0
    for v, y in zip(direct, labels, strict=True):
        for k, c in enumerate(centroids):
            total = total + (0.0 if k == y else ((v - c) ** 2).sum())
    return attract + repel_weight * (margin - total / (len(direct) * len(centroids))).clamp_min(0)


def loss_with(centroids, **options):
    loss = CentroidLoss(K, D, **options).double()
    with torch.no_grad():
        loss.centroids.copy_(centroids)
    return loss


@pytest.mark.parametrize("options", [{}, {"margin": 100.0}, {"margin": 100.0, "repel_weight": 0.5}])
@pytest.mark.parametrize("step", ["normalised", "autograd"])
def test_centroid_loss_equals_the_formula(inputs, options, step):
    direct, centroids, labels = inputs
    loss = loss_with(centroids, step=step, **options)
    expected = naive_centroid_loss(direct, centroids, labels, **options)
    assert loss(direct, labels).item() == pytest.approx(expected.item(), rel=1e-12)


def test_centroid_loss_gradient_for_the_features(inputs):
    direct, centroids, labels = inputs
    direct.requires_grad_()
    loss_with(centroids, margin=100.0)(direct, labels).backward()
    ours = direct.grad.clone()
    direct.grad = None
    naive_centroid_loss(direct, centroids, labels, margin=100.0).backward()
    torch.testing.assert_close(ours, direct.grad, rtol=1e-10, atol=1e-12)


def test_autograd_step_is_the_plain_gradient(inputs):
    direct, centroids, labels = inputs
    loss = loss_with(centroids, step="autograd", margin=100.0)
    loss(direct, labels).backward()
    reference = centroids.clone().requires_grad_()
    naive_centroid_loss(direct, reference, labels, margin=100.0).backward()
    torch.testing.assert_close(loss.centroids.grad, reference.grad, rtol=1e-10, atol=1e-12)


def test_normalised_step_ignores_lambda_and_counts_the_class(inputs):
    """grad c_j = Σ (c_j − v_n) / (1 + n_j) / B for attract, unscaled; λ · 0.01 · ∂repel beside it."""
    direct, centroids, labels = inputs
    weight = 0.01
    loss = loss_with(centroids, margin=100.0)
    (weight * loss(direct, labels)).backward()
    expected = np.zeros((K, D))
    for j in range(K):
        own = [n for n in range(B) if labels[n] == j]
        for n in own:
            expected[j] += (centroids[j] - direct[n]).numpy() / (1 + len(own)) / B
        for n in range(B):  # d repel / d c_j, the margin being open
            if labels[n] != j:
                expected[j] += weight * 0.01 * -2 * (centroids[j] - direct[n]).numpy() / (B * K)
    assert loss.centroids.grad.numpy() == pytest.approx(expected, rel=1e-10)


def test_repel_is_zero_once_centroids_are_far(inputs):
    direct, centroids, labels = inputs
    far = loss_with(centroids * 100)
    assert far(direct, labels).item() == pytest.approx(
        ((direct - centroids[labels] * 100) ** 2).sum().item() / (2 * B), rel=1e-12
    )


def setup(**params):
    counts = (12, 5, 1)
    return Setup(BackboneSpec(name="resnet10", stem="small", width=8), 16, counts, DME.Params(**params))


class _Data:
    def __init__(self, batches):
        self.list = batches

    def batches(self):
        return iter(self.list)


def test_prepare_makes_class_means():
    torch.manual_seed(0)
    method = DME(setup(attention="none")).eval()
    images, labels = torch.randn(18, 3, 16, 16), torch.tensor([0] * 12 + [1] * 5 + [2])
    order = torch.randperm(18)
    images, labels = images[order], labels[order]
    method.prepare(_Data([(images[:7], labels[:7]), (images[7:], labels[7:])]))
    with torch.no_grad():
        v = method.direct(images)
    for k in range(3):
        torch.testing.assert_close(method.centroid_loss.centroids[k], v[labels == k].mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ["none", "modulated"])
def test_recentre_makes_class_means_of_the_present_features(attention):
    """Against a sum over samples in float64, after a step that moved features and centroids; class 3 has no sample."""
    torch.manual_seed(0)
    counts = (6, 3, 1, 2)
    method = DME(Setup(BackboneSpec(name="resnet10", stem="small", width=8), 16, counts, recentring(attention)))
    images, labels = torch.randn(10, 3, 16, 16), torch.tensor([0, 1, 0, 2, 0, 0, 1, 0, 1, 0])
    data = _Data([(images[:4], labels[:4]), (images[4:], labels[4:])])
    method.eval()
    method.prepare(data)
    before = method.centroid_loss.centroids.clone()
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    sum(method.training_loss(images, labels).values()).backward()
    optimizer.step()
    with torch.no_grad():
        method.end_epoch(data)
        exact = copy.deepcopy(method).double()
        v = exact.direct(images.double()).numpy()
    expected = np.zeros((4, v.shape[1]))
    for n, label in enumerate(labels.tolist()):
        expected[label] += v[n] / labels.tolist().count(label)
    assert method.centroid_loss.centroids.detach().numpy() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert not torch.allclose(before[:3], method.centroid_loss.centroids[:3], rtol=1e-3, atol=1e-4)
    assert method.centroid_loss.centroids.requires_grad


def recentring(attention, recentre=True):
    return DME.Params(attention=attention, recentre=recentre)


@pytest.mark.parametrize("recentre", [None, False])
def test_without_recentre_an_epoch_ends_as_it_is(recentre):
    method = DME(setup(recentre=recentre))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.end_epoch(None)  # the training set is not even looked at
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())


@pytest.mark.parametrize("extra_fc", [False, True])
def test_without_attention_pooled_features_will_do(extra_fc):
    torch.manual_seed(0)
    method = DME(setup(attention="none", extra_fc=extra_fc)).eval()
    assert not method.needs_map
    images, labels = torch.randn(6, 3, 16, 16), torch.tensor([0, 0, 1, 1, 2, 2])
    with torch.no_grad():
        kept = method.backbone.feature_map(images).mean((2, 3), keepdim=True)
        expected = method(images), method.training_loss(images, labels)
        with method.backbone.taking("pooled"):
            scores, terms = method(kept), method.training_loss(kept, labels)
            method.prepare(_Data([(kept, labels)]))
    torch.testing.assert_close(scores.logits, expected[0].logits)
    torch.testing.assert_close(terms, expected[1])


@pytest.mark.parametrize("attention", ["none", "spatial", "modulated"])
@pytest.mark.parametrize("extra_fc", [False, True])
def test_every_parameter_belongs_to_one_part(attention, extra_fc):
    method = DME(setup(attention=attention, extra_fc=extra_fc))
    listed = [id(p) for parameters in method.parts().values() for p in parameters]
    assert sorted(listed) == sorted(id(p) for p in method.parameters())
    assert set(method.parts()) == {"features", "classifier", "centroids"}


def test_loss_terms_and_target():
    torch.manual_seed(0)
    images, labels = torch.randn(6, 3, 16, 16), torch.tensor([0, 0, 1, 1, 2, 2])
    direct = DME(setup(**{"lambda": 0.5}, attention="none")).eval()
    terms = direct.training_loss(images, labels)
    assert set(terms) == {"cross_entropy", "centroid"}
    v = direct.direct(images)
    assert terms["centroid"].item() == pytest.approx(0.5 * direct.centroid_loss(v, labels).item(), rel=1e-6)
    meta = DME(setup(loss_target="meta", attention="none")).eval()
    meta.load_state_dict(direct.state_dict())
    embedded = meta.head.embed(v, meta.centroid_loss.centroids)
    expected = 0.01 * meta.centroid_loss(embedded, labels).item()
    assert meta.training_loss(images, labels)["centroid"].item() == pytest.approx(expected, rel=1e-5)


def naive_attention(attention, f):
    """Eq. 5 for one image, cell by cell."""
    b, c, h, w = f.shape
    out = np.zeros(f.shape)
    cells = h * w
    for n in range(b):
        x = f[n].reshape(c, cells).numpy()
        scores = attention.cells.linear.weight.detach().numpy() @ f[n].reshape(-1).numpy()
        scores = scores + attention.cells.linear.bias.detach().numpy()
        ma = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        sa = x
        if attention.self_attention is not None:
            block = attention.self_attention
            theta, phi, g = (
                m.weight.detach().numpy()[:, :, 0, 0] @ x + m.bias.detach().numpy()[:, None]
                for m in (block.theta, block.phi, block.g)
            )
            mixed = np.zeros((g.shape[0], cells))
            for i in range(cells):
                a = np.array([theta[:, i] @ phi[:, j] for j in range(cells)])
                a = np.exp(a - a.max()) / np.exp(a - a.max()).sum()
                mixed[:, i] = sum(a[j] * g[:, j] for j in range(cells))
            sa = block.out.weight.detach().numpy()[:, :, 0, 0] @ mixed
        out[n] = (x + ma[None, :] * sa).reshape(c, h, w)
    return out


@pytest.mark.parametrize("kind", ["spatial", "modulated"])
@pytest.mark.parametrize("map_size", [(2, 2), (3, 4), (1, 1)])
def test_attention_equals_the_formula(kind, map_size):
    torch.manual_seed(0)
    attention = Attention(kind, 6, map_size).double()
    if attention.self_attention is not None:
        torch.nn.init.normal_(attention.self_attention.out.weight)
    f = torch.randn(3, 6, *map_size, dtype=torch.float64)
    assert attention(f).detach().numpy() == pytest.approx(naive_attention(attention, f), rel=1e-10)


def test_attention_of_the_code_starts_at_random_and_equals_the_formula():
    """N(0, 2 / channels out) in all four convolutions, biases 0: of 2,048 weights the deviation is within a tenth."""
    torch.manual_seed(0)
    attention = Attention("modulated", 64, (2, 3), "code").double()
    block = attention.self_attention
    for conv, out in ((block.theta, 32), (block.phi, 32), (block.g, 32), (block.out, 64)):
        weights = conv.weight.detach().numpy()
        assert math.sqrt((weights**2).mean()) == pytest.approx(math.sqrt(2 / out), rel=0.1)
        assert abs(weights.mean()) < 0.1 * math.sqrt(2 / out)
        assert conv.bias is None or not conv.bias.any()
    f = torch.randn(3, 64, 2, 3, dtype=torch.float64)
    expected = naive_attention(attention, f)
    assert attention(f).detach().numpy() == pytest.approx(expected, rel=1e-10)
    assert abs(expected - f.numpy()).max() > 0.1, "it does not start as identity"


@pytest.mark.parametrize("init", ["zero", None])
def test_attention_init_zero_is_what_it_is_unset(init):
    torch.manual_seed(0)
    expected = DME(setup())
    torch.manual_seed(0)
    method = DME(setup(attention_init=init))
    assert method.setup.params == expected.setup.params
    assert all(torch.equal(value, method.state_dict()[name]) for name, value in expected.state_dict().items())
    torch.manual_seed(0)
    at_random = DME(setup(attention_init="code"))
    f = torch.randn(2, at_random.backbone.map_channels, *at_random.attention.cells.map_size)
    torch.testing.assert_close(method.attention(f), f)
    assert not torch.allclose(at_random.attention(f), f, atol=1e-2)


@pytest.mark.parametrize("attention", ["none", "spatial"])
def test_attention_init_is_of_modulated_attention(attention):
    with pytest.raises(ValueError, match=f"attention_init=code is for attention=modulated, not for {attention}"):
        DME.Params(attention=attention, attention_init="code")
    assert DME.Params(attention=attention, attention_init="zero").attention_init is None


def test_modulated_attention_starts_as_identity_and_knows_its_map():
    attention = Attention("modulated", 8, (2, 2))
    f = torch.randn(2, 8, 2, 2)
    torch.testing.assert_close(attention(f), f)
    with pytest.raises(ValueError, match="built for"):
        attention(torch.randn(2, 8, 3, 3))
