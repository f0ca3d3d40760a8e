"""Model regression and MetaModelNet: small classifiers against naive least squares, and whether the tail gains."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from oltr_cli.method import FeatureSet, Setup
from oltr_cli.methods._model_space import ModelSpace
from oltr_cli.methods._small_classifiers import SmallClassifiers, whitening
from oltr_cli.methods.metamodelnet import Chain, MetaModelNet, ResidualBlock
from oltr_cli.methods.model_regression import ModelRegression, RegressionNetwork
from oltr_cli.recipe.specs import BackboneSpec

METHODS = [ModelRegression, MetaModelNet]
COUNTS = (9, 6, 4, 1)


def features_of(counts, dim=6, seed=0, apart=2.0):
    g = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=g)]
    means = torch.randn(len(counts), dim, generator=g, dtype=torch.float64) * apart
    return means[labels] + torch.randn(len(labels), dim, generator=g, dtype=torch.float64), labels


def naive_masses(labels, c, positives):
    """Mass and target of every sample for the classifier of class c, written out sample by sample."""
    classes = sorted(set(labels))
    mass, target = np.zeros(len(labels)), -np.ones(len(labels))
    for n, label in enumerate(labels):
        if label != c:
            mass[n] = 0.5 / (len(classes) - 1) / labels.count(label)
        elif n in positives:
            mass[n], target[n] = 0.5 / len(positives), 1
    return mass, target


def naive_classifier(z, labels, c, positives, ridge):
    """argmin Σ_n m_n (θᵀz_n − t_n)² + λ‖θ‖² as one least-squares problem."""
    mass, target = naive_masses(labels, c, positives)
    root = np.sqrt(mass)
    a = np.concatenate([root[:, None] * z, math.sqrt(ridge) * np.eye(z.shape[1])])
    b = np.concatenate([root * target, np.zeros(z.shape[1])])
    return np.linalg.lstsq(a, b, rcond=None)[0]


def test_classifiers_on_all_images_are_the_least_squares_solution():
    z, labels = features_of(COUNTS)
    ours = SmallClassifiers(z, labels, 4, 0.3).on_all_images(torch.tensor([2, 0, 3, 1]))
    listed = labels.tolist()
    for theta, c in zip(ours.numpy(), (2, 0, 3, 1), strict=True):
        positives = [n for n, label in enumerate(listed) if label == c]
        np.testing.assert_allclose(theta, naive_classifier(z.numpy(), listed, c, positives, 0.3), rtol=1e-9, atol=1e-12)
        mass, target = naive_masses(listed, c, positives)
        theirs = Ridge(alpha=0.3, fit_intercept=False).fit(z.numpy(), target, sample_weight=mass)
        np.testing.assert_allclose(theta, theirs.coef_, rtol=1e-9, atol=1e-12)


def test_each_sampled_classifier_is_that_of_some_k_images():
    z, labels = features_of(COUNTS)
    listed = labels.tolist()
    classes, shots, repeats = torch.tensor([1, 0]), (1, 8), (4, 3)
    ours = SmallClassifiers(z, labels, 4, 0.3).sampled(classes, shots, repeats, torch.Generator().manual_seed(0))
    assert [tuple(theta.shape) for theta in ours] == [(2, 4, 6), (2, 3, 6)]
    for i, c in enumerate((1, 0)):
        own = [n for n, label in enumerate(listed) if label == c]
        single = np.stack([naive_classifier(z.numpy(), listed, c, [n], 0.3) for n in own])
        for theta in ours[0][i].numpy():  # one of the class's one-shot classifiers
            assert np.abs(single - theta).max(1).min() < 1e-10
        # Eight of nine images leave one out; a class of six gives all it has.
        sets = [[n for n in own if n != out] for out in own] if c == 0 else [own]
        eight = np.stack([naive_classifier(z.numpy(), listed, c, chosen, 0.3) for chosen in sets])
        for theta in ours[1][i].numpy():
            assert np.abs(eight - theta).max(1).min() < 1e-10
    assert len(torch.unique(ours[0][1], dim=0)) > 1, "all draws are of one image"


def test_batches_of_classes_change_nothing(monkeypatch):
    z, labels = features_of(COUNTS)
    small, classes = SmallClassifiers(z, labels, 4, 0.3), torch.arange(4)
    whole = small.on_all_images(classes)
    monkeypatch.setattr("oltr_cli.methods._small_classifiers._BLOCK", 1)
    torch.testing.assert_close(small.on_all_images(classes), whole, rtol=1e-10, atol=1e-12)
    four = small.sampled(classes, (16,), (2,), torch.Generator().manual_seed(0))[0]
    torch.testing.assert_close(four, whole[:, None].expand(-1, 2, -1), rtol=1e-8, atol=1e-10)


def test_whitening_against_its_formula():
    x, labels = features_of(COUNTS)
    whiten = whitening(x, labels, 0.2)
    mean = np.mean([x[labels == c].numpy().mean(0) for c in range(4)], axis=0)
    cov = np.mean(
        [(x[labels == c].numpy() - mean).T @ (x[labels == c].numpy() - mean) / COUNTS[c] for c in range(4)], 0
    )
    shrunk = cov + 0.2 * np.trace(cov) / 6 * np.eye(6)
    np.testing.assert_allclose(whiten.mean, mean, atol=1e-12)
    np.testing.assert_allclose(whiten.matrix.numpy() @ shrunk @ whiten.matrix.numpy(), np.eye(6), atol=1e-10)
    theta = torch.randn(3, 7, dtype=torch.float64)
    weight, bias = whiten.on_features(theta)
    torch.testing.assert_close(x @ weight.T + bias, whiten(x) @ theta.T)


@pytest.mark.parametrize("features", [torch.ones(6, 4), torch.zeros(6, 4), torch.eye(6, 4) * 1e4])
def test_features_without_full_rank_are_no_trouble(features):
    labels = torch.tensor([0, 0, 0, 0, 1, 2])
    space = ModelSpace(4, (4, 1, 1), 2)
    space.prepare(features, labels, 0.3, 4.0)
    assert space(features).isfinite().all()
    assert space.log_gain.isfinite().all()


def prepared_space(head_images=100, heads=(120, 110, 130), tail=(7, 5, 1), **options):
    counts = (*heads, *tail)
    x, labels = features_of(counts)
    space = ModelSpace(6, counts, head_images, **options).double()
    space.prepare(x, labels, 0.3, 1.0)
    return space, x, labels


def test_a_quarter_is_held_out_and_no_classifier_saw_it():
    space, x, labels = prepared_space()
    assert space._held_counts.tolist() == [30, 27, 32, 1, 1, 0]
    z = whitening(x, labels, 0.3)(x)
    rows = {tuple(row) for row in z.tolist()}
    held, rest = ({tuple(row) for row in part.tolist()} for part in (space._held, space._z_rest))
    assert held | rest == rows
    assert not held & rest
    for c in range(6):  # and the labels went with them
        own = {tuple(row) for row in z[labels == c].tolist()}
        assert {tuple(row) for row in space._held[space._held_labels == c].tolist()} <= own
        assert {tuple(row) for row in space._z_rest[space._labels_rest == c].tolist()} <= own


def test_drawn_classifiers_belong_to_their_class_and_level():
    space, _, _ = prepared_space(head_images=9, heads=(12, 11, 12), repeats=16)
    assert (space.levels, space.deepest) == (4, 3)
    small = SmallClassifiers(space._z_rest, space._labels_rest, 6, 1.0)
    pools = small.sampled(torch.arange(3), (1, 2, 4, 8), (16, 8, 4, 2), torch.Generator().manual_seed(1))
    for first in (0, 2, 3):
        drawn = space.draw(first)
        assert drawn.level.min() >= first
        assert set(drawn.head.tolist()) == {0, 1, 2}
        pairs = list(zip(drawn.episode.tolist(), drawn.head.tolist(), strict=True))
        assert len(pairs) == len(set(pairs)) >= 64
        torch.testing.assert_close(drawn.target, space.theta[:3][drawn.head])
        for theta, level, head in zip(drawn.theta, drawn.level, drawn.head, strict=True):
            gap = (pools[level][head] / space.unit - theta).abs().amax(1)
            assert gap.min() < 1e-10, "not one of its class's classifiers at this level"


def test_a_class_too_small_for_a_shot_is_never_drawn_at_it():
    space, _, _ = prepared_space(head_images=9, heads=(40, 9, 40))  # 30, 7 and 30 images are left
    drawn = space.draw(3)
    assert set(drawn.head.tolist()) == {0, 2}
    drawn = space.draw()
    assert drawn.level[drawn.head == 1].max() <= 2


def cross_entropy(logits, label):
    return -(logits[label] - logits.max() - math.log(np.exp(logits - logits.max()).sum()))


def test_losses_against_loops():
    space, _, _ = prepared_space(head_images=4, heads=(5, 4, 6), tail=(2, 3, 1), classifiers=3)
    assert space._held_counts.tolist() == [1, 1, 1, 1, 1, 0]  # no choice is left to the draw
    with torch.no_grad():
        space.log_gain.copy_(torch.tensor([0.3, -0.2]))
        space.offset.copy_(torch.tensor([0.5, 0.1]))
    torch.manual_seed(0)
    drawn = space.draw()
    generated, tail = torch.randn_like(drawn.theta), torch.randn(3, 7, dtype=torch.float64)
    labels = torch.tensor([0, 0, 2, 3, 4, 5])
    ours = {name: term.item() for name, term in space.losses(drawn, generated, tail, labels).items()}

    difference = (generated - drawn.target).numpy()
    assert ours["squared_error"] == pytest.approx((difference**2).sum() / difference.size)
    factor = float(space.scale * space.unit)
    rivals, held, first = space._rivals.numpy(), space._held.numpy(), space._held_first
    each = []
    for episode in range(int(drawn.episode.max()) + 1):
        theta = rivals[:3].copy()
        for s in range(len(generated)):
            if drawn.episode[s] == episode:
                theta[drawn.head[s]] = generated[s].numpy()
        each += [cross_entropy(factor * theta @ held[first[y]], y) for y in (0, 0, 2)]
    assert ours["cross_entropy"] == pytest.approx(np.mean(each))
    gain, offset = math.e**0.3, 0.5  # of the class with one image
    gains, offsets = (math.e**-0.2, math.e**-0.2, gain), (0.1, 0.1, offset)
    each = []
    for y in (0, 0, 2, 3, 4):
        logits = factor * rivals @ held[first[y]]
        for i in range(3):
            logits[3 + i] = factor * gains[i] * tail[i].numpy() @ held[first[y]] + offsets[i]
        each.append(cross_entropy(logits, y))
    assert ours["calibration"] == pytest.approx(np.mean(each))

    tail.requires_grad_()
    space.losses(drawn, generated, tail, labels)["calibration"].backward()
    assert tail.grad is None, "the map learns from the tail"


def test_the_written_classifier_scores_as_theta_does():
    space, x, labels = prepared_space()
    with torch.no_grad():
        space.log_gain.normal_()
        space.offset.normal_()
    tail = torch.randn(3, 7, dtype=torch.float64)
    space.write(tail)
    z = whitening(x, labels, 0.3)(x)
    factor = space.scale * space.unit
    expected = factor * z @ space.theta.T
    level = torch.tensor([2, 2, 0])
    expected[:, 3:] = factor * (z @ tail.T) * space.log_gain[level].exp() + space.offset[level]
    torch.testing.assert_close(space(x), expected)
    torch.testing.assert_close(space(x.half()), expected, rtol=0.1, atol=0.1)


def test_the_mlp_against_its_formula_and_its_gradient():
    torch.manual_seed(0)
    net = RegressionNetwork(5, 4, 0.1, 0.5).double().eval()
    theta = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.equal(net(theta), theta), "does not start as the identity"
    nn.init.normal_(net.layers[-1].weight)
    assert len(net.layers) == 4
    for row, ours in zip(theta.detach().numpy(), net(theta).detach().numpy(), strict=True):
        x = row
        for i, layer in enumerate(net.layers):
            x = layer.weight.detach().numpy() @ x + layer.bias.detach().numpy()
            x = x if i == 3 else np.where(x > 0, x, 0.1 * x)
        np.testing.assert_allclose(ours, row + x, rtol=1e-12)
    assert torch.autograd.gradcheck(net, theta)


def randomised_chain(blocks=3, dim=4):
    torch.manual_seed(0)
    chain = Chain(dim, blocks, 0.1, 0.0).double()
    for block in chain.blocks:
        for p in block.parameters():
            nn.init.normal_(p)
    return chain


def naive_block(block, rows):
    """Batch-norm over the rows, leaky ReLU, linear, and the rows themselves."""
    normed = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + block.norm.eps)
    x = normed * block.norm.weight.detach().numpy() + block.norm.bias.detach().numpy()
    x = np.where(x > 0, x, 0.1 * x)
    return rows + x @ block.linear.weight.detach().numpy().T + block.linear.bias.detach().numpy()


def test_the_chain_against_its_recursion():
    chain = randomised_chain()
    theta = torch.randn(6, 4, dtype=torch.float64)
    level = torch.tensor([2, 0, 1, 0, 2, 1])
    expected = theta.numpy().copy()
    for i, block in enumerate(chain.blocks):
        rows = [s for s in range(6) if level[s] <= i]
        expected[rows] = naive_block(block, expected[rows])
    np.testing.assert_allclose(chain(theta, level).detach(), expected, rtol=1e-9)
    chain.eval()
    alone = torch.cat([chain(theta[s : s + 1], level[s : s + 1]) for s in range(6)])
    torch.testing.assert_close(alone, chain(theta, level))  # after training, a row does not depend on the others
    assert torch.autograd.gradcheck(lambda t: chain(t, level), theta.clone().requires_grad_())


def test_a_block_starts_as_the_identity_and_takes_one_classifier():
    block = ResidualBlock(4, 0.1, 0.5).train()
    for rows in (1, 3):
        theta = torch.randn(rows, 4)
        assert torch.equal(block(theta), theta)
    same = torch.ones(3, 4, requires_grad=True)  # no variance at all
    block(same).sum().backward()
    assert same.grad.isfinite().all()


def long_tail(seed, heads=40, tails=20, dim=64, rank=12):
    """Class means in a low-rank subspace, noise everywhere: what a head can teach the tail is the subspace."""
    g = torch.Generator().manual_seed(seed)
    counts = [120] * heads + [(2, 3, 5, 8)[i % 4] for i in range(tails)]
    means = torch.randn(len(counts), rank, generator=g) @ torch.randn(rank, dim, generator=g) / rank**0.5 * 1.2
    spread = 1.3 * (torch.rand(dim, generator=g) + 0.7)

    def sample(numbers):
        labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(numbers))
        return FeatureSet(means[labels] + spread * torch.randn(len(labels), dim, generator=g), labels)

    return tuple(counts), sample(counts), sample([40] * len(counts)), sample([400] * len(counts))


def build(cls, counts, train, **params):
    method = cls(Setup(BackboneSpec(name="resnet10", stem="small-stride2", width=8), 16, counts, cls.Params(**params)))
    method.eval()
    method.prepare_features(train, train)
    return method.eval()


def take_steps(method, train, steps, lr=0.1):
    optimizer = torch.optim.SGD(method.parts()["classifier"], lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    method.train()
    for step in range(steps):
        method.progress = step / steps
        torch.manual_seed(step)
        labels = torch.randperm(len(method.setup.class_counts))[:32].repeat_interleave(4)
        terms = method.feature_loss(train.features[: len(labels)], labels)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        schedule.step()
    return method.eval()


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_tail_gains_and_the_head_keeps_its_classifiers(cls, seed):
    counts, train, test, plenty = long_tail(seed)
    torch.manual_seed(seed)
    method = build(cls, counts, train)
    tail = torch.tensor(counts) < 100
    space = method.space

    def accuracies():
        logits = method.score_features(test.features).logits
        right = logits.argmax(1) == test.labels
        of_tail = tail[test.labels]
        among = logits[of_tail].masked_fill(~tail, -math.inf).argmax(1) == test.labels[of_tail]
        share = tail[logits.argmax(1)].float().mean().item()
        return [r.float().mean().item() for r in (right, right[of_tail], among)], share

    # What the tail's classifiers would be, had they 400 images each, in the same whitened space.
    z = torch.nn.functional.pad((plenty.features - space.mean) @ space.matrix, (0, 1), value=1.0)
    ideal = SmallClassifiers(z, plenty.labels, len(counts), 4.0).on_all_images(tail.nonzero().squeeze(1)) / space.unit
    few_shot = space.theta[tail]
    (overall, in_tail, among), _ = accuracies()
    head_weight = space.weight[~tail].clone()
    take_steps(method, train, 200)
    (overall_after, in_tail_after, among_after), share = accuracies()
    generated = method.evaluated(few_shot)
    assert (generated - ideal).square().mean() < 0.9 * (few_shot - ideal).square().mean()
    assert in_tail_after > in_tail + 0.05
    assert among_after > among + 0.02  # the directions, not only the calibration
    assert overall_after > overall + 0.01
    assert share < 0.4  # a third of the classes, and as much of the test set: not favoured
    assert torch.equal(space.weight[~tail], head_weight)


@pytest.mark.parametrize("cls", METHODS)
def test_no_gradient_of_the_calibration_reaches_the_map(cls):
    counts, train, _, _ = long_tail(0, heads=6, tails=4)
    method = build(cls, counts, train).train()
    method.feature_loss(train.features[:8], torch.tensor([6, 7, 8, 9] * 2))["calibration"].backward()
    network = method.chain if cls is MetaModelNet else method.network
    assert all(p.grad is None for p in network.parameters())
    assert method.space.offset.grad.abs().sum() > 0
    assert network.training, "left in evaluation"


def test_blocks_open_from_the_last_to_the_first():
    counts, train, _, _ = long_tail(0, heads=6, tails=4)  # 90 of 120 images left: up to 64 shots
    method = build(MetaModelNet, counts, train)
    seen = []
    for method.progress in torch.linspace(0, 1, 101).tolist():
        seen.append(method.first_block())
    assert seen[0] == 6
    assert seen[50:] == [0] * 51
    assert sorted(seen, reverse=True) == seen
    assert set(seen) == set(range(7))
    method.progress = 0.0
    method.train().feature_loss(train.features, train.labels)["squared_error"].backward()
    moved = [block.linear.weight.grad is not None for block in method.chain.blocks]
    assert moved == [False] * 6 + [True]


@pytest.mark.parametrize("cls", METHODS)
def test_without_a_head_class_the_classifiers_stay(cls):
    counts = (5, 4, 1, 1)
    x, labels = features_of(counts, dim=64)
    train = FeatureSet(x.float(), labels)
    method = build(cls, counts, train)
    before = method.score_features(train.features).logits
    small = SmallClassifiers(whitening(x.float(), labels, 0.3)(x.float()), labels, 4, 4.0).on_all_images(
        torch.arange(4)
    )
    expected = 8 * whitening(x.float(), labels, 0.3)(x.float()) @ small.T
    torch.testing.assert_close(before, expected, rtol=1e-3, atol=1e-4)
    take_steps(method, train, 5)  # weight decay alone
    assert torch.equal(method.score_features(train.features).logits, before)


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("label", [0, 1, 2])
def test_one_head_class_and_batches_of_one_class(cls, label):
    counts = (20, 3, 1)
    x, labels = features_of(counts, dim=64)
    train = FeatureSet(x.float(), labels)
    method = build(cls, counts, train, head_images=16).train()
    batch = torch.full((4,), label)
    for method.progress in (0.0, 0.3, 1.0):
        total = torch.stack(list(method.feature_loss(train.features[:4], batch).values())).sum()
        total.backward()
        assert total.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


@pytest.mark.parametrize("cls", METHODS)
def test_a_saved_state_scores_the_same_in_a_method_that_saw_no_data(cls):
    counts, train, test, _ = long_tail(0, heads=6, tails=4)
    method = take_steps(build(cls, counts, train), train, 20)
    other = cls(method.setup)
    other.load_state_dict(method.state_dict())
    other.eval()
    assert torch.equal(method.score_features(test.features).logits, other.score_features(test.features).logits)


@pytest.mark.parametrize("cls", METHODS)
def test_going_on_from_a_checkpoint_gives_the_same_bits(cls):
    counts, train, test, _ = long_tail(0, heads=6, tails=4)
    method = take_steps(build(cls, counts, train), train, 5)
    other = build(cls, counts, train)
    other.load_state_dict(method.state_dict())
    ends = [take_steps(m, train, 5).score_features(test.features).logits for m in (method, other)]
    assert torch.equal(*ends)
