"""FSLwF: its weight generator and episodes against the formulas, one image at a time, and its scores after training."""

import io

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from oltr_cli.method import FeatureSet
from oltr_cli.methods.fslwf import FSLwF, WeightGenerator, _Images
from tests.helpers.frozen_features import COUNTS, TAIL, TEST, TRAIN, VAL, K, accuracy, build, fit, gaussians


def unit(v):
    return v / np.linalg.norm(v)


def naive_weight(generator, shots, memory, hidden=()):
    """The formula for one class: shots and memory are lists of vectors at length 1."""
    phi_avg, phi_att, query, keys = (
        getattr(generator, name).detach().double().numpy() for name in ("phi_avg", "phi_att", "query", "keys")
    )
    gamma, recalled = generator.gamma.item(), []
    seen = [b for b in range(len(memory)) if b not in hidden]
    for z in shots:
        a = np.array([gamma * unit(query @ z) @ unit(keys[b]) for b in seen])
        a = np.exp(a - a.max()) / np.exp(a - a.max()).sum()
        recalled.append(sum(a[i] * memory[b] for i, b in enumerate(seen)))
    return phi_avg * np.mean(shots, axis=0) + phi_att * np.mean(recalled, axis=0)


@pytest.fixture
def generation():
    """A generator far from its first values, images of four new classes (the third has none) and a memory of five."""
    torch.manual_seed(0)
    generator = WeightGenerator(6, 5, 3.0).double()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    z = F.normalize(torch.randn(8, 6, dtype=torch.float64), dim=1)
    memory = F.normalize(torch.randn(5, 6, dtype=torch.float64), dim=1)
    return generator, z, torch.tensor([3, 0, 0, 1, 3, 0, 3, 3]), memory


@pytest.mark.parametrize("hidden", [[], [1], [4, 0, 2]])
def test_generator_equals_the_formula(generation, hidden):
    generator, z, owner, memory = generation
    rows = torch.tensor(hidden) if hidden else None
    made = generator(z, owner, 4, memory, hidden=rows).detach().numpy()
    for new in (0, 1, 3):
        expected = naive_weight(generator, z[owner == new].numpy(), memory.numpy(), hidden)
        assert made[new] == pytest.approx(expected, rel=1e-10)
    assert (made[2] == 0).all()


def test_generator_gradients_are_right(generation):
    generator, z, owner, memory = generation
    inputs = [p.detach().clone().requires_grad_() for p in (*generator.parameters(), z, memory)]
    names = [name for name, _ in generator.named_parameters()]

    def made(*values):
        state = dict(zip(names, values[:-2], strict=True))
        arguments = (values[-2], owner, 4, values[-1], torch.tensor([2]))
        return torch.func.functional_call(generator, state, arguments)

    assert torch.autograd.gradcheck(made, inputs)


def test_hidden_classes_get_no_gradient(generation):
    generator, z, owner, memory = generation
    memory.requires_grad_()
    generator(z, owner, 4, memory, hidden=torch.tensor([2])).sum().backward()
    assert (memory.grad[2] == 0).all()
    assert (generator.keys.grad[2] == 0).all()
    assert (memory.grad[[0, 1, 3, 4]] != 0).all()


def test_draw_takes_each_image_once_and_from_the_right_class():
    labels = torch.tensor([2, 0, 0, 2, 0, 0, 3, 2, 0, 3, 0])  # 6, 0, 3, 2 images
    images = _Images.of(FeatureSet(torch.arange(11.0).unsqueeze(1), labels), 4)
    classes, drawn = torch.tensor([3, 0, 2]), set()
    for seed in range(40):
        torch.manual_seed(seed)
        (shot, owner), (query, asked) = images.draw(classes, shots=2, queries=3)
        # Of two images, one is a shot and one a query; of three, two and one.
        assert torch.bincount(owner).tolist() == [1, 2, 2]
        assert torch.bincount(asked).tolist() == [1, 3, 1]
        both = torch.cat([shot, query])[:, 0].long()
        assert len(both.unique()) == len(both)
        assert torch.equal(labels[both], classes[torch.cat([owner, asked])])
        drawn |= {("shot", int(i)) for i in shot} | {("query", int(i)) for i in query}
    present = [i for i in range(11) if labels[i] in (0, 2, 3)]
    assert drawn == {(kind, i) for kind in ("shot", "query") for i in present}


def test_all_images_of_some_classes():
    labels = torch.tensor([2, 0, 0, 2, 0, 3, 3])
    images = _Images.of(FeatureSet(torch.arange(7.0).unsqueeze(1), labels), 4)
    features, owner = images.all(torch.tensor([3, 1, 2]))
    assert features[:, 0].tolist() == [5, 6, 0, 3]
    assert owner.tolist() == [0, 0, 2, 2]


def prepared(counts=COUNTS, train=TRAIN, progress=0.0, **params):
    method = build(FSLwF, counts, **params)
    method.eval().prepare_features(train, VAL)
    method.train()
    method.progress = progress
    return method


def far_from_its_beginning(method):
    """Weights of no special values, so that nothing cancels out in a comparison."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if not name.startswith("backbone"):
                parameter.mul_(1 + 0.3 * torch.randn_like(parameter))
    method.stale = True
    return method


def test_scores_equal_the_formula():
    method = far_from_its_beginning(prepared())
    base = method.base_weights.detach().double().numpy()
    memory = [unit(w) for w in base]
    z_train, z = (np.array([unit(v) for v in s.features.double().numpy()]) for s in (TRAIN, TEST))
    weights = memory + [
        unit(naive_weight(method.generator, z_train[TRAIN.labels.numpy() == k], memory)) for k in range(8, K)
    ]
    expected = [[method.scale.item() * v @ w for w in weights] for v in z[:20]]
    scores = method.eval().score_features(TEST.features[:20])
    assert scores.logits.detach().numpy() == pytest.approx(np.array(expected), rel=1e-4, abs=1e-4)
    assert torch.equal(scores.features, TEST.features[:20])


def test_classes_keep_their_places_when_base_and_novel_alternate():
    counts = (3, 40, 1, 30, 5)
    train, test = gaussians(counts, 1, spread=0.2), gaussians((5,) * 5, 2, spread=0.2)
    method = prepared(counts, train)
    assert method.base.tolist() == [1, 3]
    prediction = method.eval().score_features(test.features).logits.argmax(dim=1)
    assert (prediction == test.labels).float().mean() > 0.9


def test_base_classes_have_more_images_than_the_bound():
    assert build(FSLwF, (21, 20, 19)).base.tolist() == [0]
    assert build(FSLwF, (21, 20, 19), base_above=19).base.tolist() == [0, 1]


def test_base_weights_begin_at_class_means():
    method = prepared()
    z = F.normalize(TRAIN.features, dim=1)
    for row in range(8):
        torch.testing.assert_close(method.base_weights[row].detach(), z[TRAIN.labels == row].mean(dim=0))


def test_first_part_is_cross_entropy_among_base_classes():
    method = far_from_its_beginning(prepared(progress=0.49))
    rows = torch.cat([(TRAIN.labels == k).nonzero()[:2, 0] for k in (0, 9, 3, 11, 7)])
    loss = method.feature_loss(TRAIN.features[rows], TRAIN.labels[rows])["cross_entropy"]
    loss.backward()
    expected = []
    for i in rows:
        y, z = TRAIN.labels[i].item(), unit(TRAIN.features[i].double().numpy())
        if y < 8:
            logits = np.array(
                [method.scale.item() * z @ unit(w) for w in method.base_weights.detach().double().numpy()]
            )
            expected.append(np.log(np.exp(logits).sum()) - logits[y])
    assert len(expected) == 6
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-4)
    assert method.base_weights.grad.abs().sum() > 0
    assert all(p.grad is None for p in method.generator.parameters())


def test_an_episode_equals_the_formula(monkeypatch):
    """Fake novel classes are not remembered, have generated weights, and are asked about images they never showed."""
    method = far_from_its_beginning(prepared(progress=0.5, shots=(5,)))
    seen = {}
    draw = _Images.draw

    def watched(self, classes, shots, queries):
        seen["classes"], seen["drawn"] = classes, draw(self, classes, shots, queries)
        return seen["drawn"]

    monkeypatch.setattr(_Images, "draw", watched)
    rows = torch.cat([(TRAIN.labels == k).nonzero()[:2, 0] for k in (0, 9, 2, 3, 11, 5, 7)])
    torch.manual_seed(1)
    loss = method.feature_loss(TRAIN.features[rows], TRAIN.labels[rows])["cross_entropy"]
    loss.backward()

    fake = seen["classes"].tolist()
    (shot, owner), (query, asked) = seen["drawn"]
    assert len(fake) == 2  # half of the five base classes
    assert set(fake) < {0, 2, 3, 5, 7}
    assert torch.bincount(owner).tolist() == [5, 5]
    assert torch.bincount(asked).tolist() == [2, 2]  # as many as the batch has of a class
    memory = [unit(w) for w in method.base_weights.detach().double().numpy()]
    weights = list(memory)
    for place, k in enumerate(fake):
        shots = [unit(v) for v in shot[owner == place].double().numpy()]
        weights[k] = unit(naive_weight(method.generator, shots, memory, hidden=fake))
    questions = [(v, fake[p]) for v, p in zip(query, asked.tolist(), strict=True)]
    questions += [(TRAIN.features[i], TRAIN.labels[i].item()) for i in rows if TRAIN.labels[i] < 8]
    questions = questions[:4] + [(v, y) for v, y in questions[4:] if y not in fake]
    expected = []
    for v, y in questions:
        logits = np.array([method.scale.item() * unit(v.double().numpy()) @ w for w in weights])
        expected.append(np.log(np.exp(logits).sum()) - logits[y])
    assert len(expected) == 4 + 6
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-4)
    for name, parameter in method.named_parameters():
        assert name.startswith("backbone") or (parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0), name


def test_fake_novel_classes_change_from_step_to_step():
    method = prepared()
    row, chosen = torch.arange(8).repeat_interleave(4), set()
    for seed in range(60):
        torch.manual_seed(seed)
        fake = method._fake_novel(row)
        assert len(fake.unique()) == len(fake) == 4
        chosen |= set(fake.tolist())
    assert chosen == set(range(8))


def test_long_tail_is_learnt_and_the_generator_is_what_balances_it():
    """With base classes alone in the loss, generated weights win over learnt ones; episodes put that right."""
    method = prepared()
    fit(method, TRAIN)
    hits = accuracy(method)
    assert hits[:8].mean() > 0.95
    assert hits[TAIL].mean() > 0.9
    without = prepared(base_share=1.0)
    fit(without, TRAIN)
    assert accuracy(without)[:8].mean() < hits[:8].mean() - 0.05


def test_saved_weights_score_alike_without_the_training_set():
    method = prepared()
    fit(method, TRAIN, steps=6)
    assert method.stale  # the last step moved the generator
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    expected = method.eval().score_features(TEST.features).logits
    bare = build(FSLwF)
    bare.load_state_dict(state)
    assert torch.equal(bare.eval().score_features(TEST.features).logits, expected)
    # One that looked at other images first must not generate from them what it was given.
    other = prepared(train=gaussians(COUNTS, 9))
    other.load_state_dict(state)
    assert torch.equal(other.eval().score_features(TEST.features).logits, expected)


def test_a_resumed_run_ends_in_the_same_bits():
    """Stopped within the second part: weights loaded after a new look at the data, the same steps follow."""

    def steps(method, optimizer, which):
        for step in which:
            torch.manual_seed(step)
            method.train()
            method.progress = step / 10
            optimizer.zero_grad()
            method.feature_loss(TRAIN.features[step * 60 : step * 60 + 60], TRAIN.labels[step * 60 : step * 60 + 60])[
                "cross_entropy"
            ].backward()
            optimizer.step()

    def head(method):
        return torch.optim.SGD(method.parts()["classifier"], 0.1)

    whole = prepared()
    steps(whole, head(whole), range(10))
    begun = prepared()
    steps(begun, head(begun), range(7))
    resumed = prepared()
    resumed.load_state_dict(begun.state_dict())
    steps(resumed, head(resumed), range(7, 10))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_novel_weights_follow_training_also_after_validation():
    method = prepared(progress=0.6)
    optimizer = torch.optim.SGD(method.parts()["classifier"], 0.1)
    previous = None
    for _ in range(3):
        with torch.inference_mode():
            logits = method.eval().score_features(TEST.features)
        assert previous is None or not torch.equal(logits.logits[:, 8:], previous)
        previous = logits.logits[:, 8:].clone()
        method.train()
        method.feature_loss(TRAIN.features[:64], TRAIN.labels[:64])["cross_entropy"].backward()
        optimizer.step()


@pytest.mark.parametrize("progress", [0.0, 0.9])
@pytest.mark.parametrize(
    ("counts", "labels"),
    [
        ((30, 40, 3, 1), [2, 2, 3, 3]),  # no base class in the batch
        ((30, 40, 3, 1), [1, 1, 1, 1]),  # one class
        ((30, 2, 3, 1), [0, 0, 2, 3]),  # one base class at all: none can be spared
        ((9, 2, 3, 1), [0, 0, 2, 3]),  # all classes novel
        ((30, 40, 50, 60), [0, 1, 2, 3]),  # no novel class
    ],
)
def test_batches_and_tails_of_every_kind(counts, labels, progress):
    train = gaussians(counts, 1)
    method = prepared(counts, train, progress)
    labels = torch.tensor(labels)
    rows = torch.cat([(train.labels == k).nonzero()[:1, 0] for k in labels])
    loss = method.feature_loss(train.features[rows], labels)["cross_entropy"]
    loss.backward()
    assert loss.ndim == 0
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())
    scores = method.eval().score_features(train.features)
    assert scores.logits.shape == (len(train.labels), 4)
    assert scores.logits.isfinite().all()


def test_missing_images_and_features_of_zeros():
    """Images that could not be decoded have no features: a base class is left with one, a novel one with none."""
    keep = (TRAIN.labels != 7) & (TRAIN.labels != 10)
    keep[(TRAIN.labels == 7).nonzero()[0, 0]] = True
    features, labels = TRAIN.features[keep].clone(), TRAIN.labels[keep]
    features[labels == 2] = 0
    method = prepared(train=FeatureSet(features, labels), progress=0.9, fake_share=1.0)
    assert (method.base_weights.norm(dim=1) > 0).all()
    for seed in range(5):
        torch.manual_seed(seed)
        fake = method._fake_novel(torch.tensor([7, 2, 3]))
        assert 7 not in fake  # nothing would be left to ask about
        rows = torch.cat([(labels == k).nonzero()[:1, 0] for k in (7, 2, 3)])
        method.feature_loss(features[rows], labels[rows])["cross_entropy"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())
    scores = method.eval().score_features(features)
    assert scores.logits.isfinite().all()
    assert (scores.logits[:, 10] == 0).all()


def test_episodes_need_the_training_features():
    method = build(FSLwF)
    method.progress = 0.9
    with pytest.raises(RuntimeError, match="prepare_features"):
        method.feature_loss(TRAIN.features[:8], TRAIN.labels[:8])


def test_half_precision_features():
    method = prepared(progress=0.9)
    loss = method.feature_loss(TRAIN.features[:64].half() * 100, TRAIN.labels[:64])["cross_entropy"]
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    large = method.eval().score_features(TEST.features.half() * 100).logits  # squares beyond half precision
    torch.testing.assert_close(large, method.score_features(TEST.features).logits, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "bad", [{"shots": []}, {"shots": [1, 0]}, {"base_share": 1.5}, {"fake_share": 0}, {"gamma": 0}]
)
def test_parameters_have_bounds(bad):
    with pytest.raises(ValidationError):
        FSLwF.Params(**bad)
