"""What every trained method must do; ``oltr_cli.conformance`` says how to use it.

Each check trains on a few random images of four classes, one of which has a single image.
"""

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import get_args

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from oltr_cli.conformance.exporting import compare_files
from oltr_cli.data.feed.sampling import spread
from oltr_cli.method import FeatureMethod, FeatureSet, Method, Setup
from oltr_cli.networks.backbones import Backbone
from oltr_cli.networks.weights import inherit_state
from oltr_cli.planning.described import method_chain
from oltr_cli.recipe.specs import BackboneSpec, MethodParams
from oltr_cli.runs.scores import are_probabilities

CLASS_COUNTS = (120, 30, 5, 1)
IMAGE_SIZE = 16
BACKBONE = BackboneSpec(name="resnet10", stem="small-stride2", width=8)
TRANSFORMER = BackboneSpec(name="timm/test_vit")  # for methods that adapt its blocks


class RandomData:
    """Some images of every class, for ``Method.prepare``."""

    def __init__(self, seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)
        self.labels = torch.tensor([0] * 9 + [1] * 5 + [2] * 3 + [3])
        self.images = torch.randn(len(self.labels), 3, IMAGE_SIZE, IMAGE_SIZE, generator=g)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.images[:8], self.labels[:8]
        yield self.images[8:], self.labels[8:]


def training_batch(method: Method, data: RandomData) -> tuple[Tensor, Tensor]:
    """Images and labels for ``training_loss``: with outliers among them, labelled −1, if the method uses some."""
    if not method.uses_outliers:
        return data.images, data.labels
    g = torch.Generator().manual_seed(len(data.labels))
    outliers = torch.randn(5, 3, IMAGE_SIZE, IMAGE_SIZE, generator=g)
    order = torch.from_numpy(spread(len(data.labels), len(outliers)))
    labels = torch.cat([data.labels, torch.full((len(outliers),), -1)])
    return torch.cat([data.images, outliers])[order], labels[order]


def build(name: str, seed: int = 0, params: MethodParams | None = None) -> Method:
    """The method with fresh weights, after loading its ancestor's and seeing the data, as the engine does it.

    ``params`` are the method's parameters; default its own defaults.
    """
    parent: dict[str, Tensor] | None = None
    chain = method_chain(name)
    for place, (_, cls) in enumerate(chain, 1):
        torch.manual_seed(seed)
        own = params if params is not None and place == len(chain) else cls.Params()
        method = cls(Setup(TRANSFORMER if cls.adapts_blocks else BACKBONE, IMAGE_SIZE, CLASS_COUNTS, own))
        if parent is not None:
            inherit_state(method, parent, cls.renames)
        method.eval()
        prepare(method, RandomData(seed))
        parent = method.state_dict()
    return method


def shorten(backbone: Backbone) -> None:
    """Put one convolution in the place of the layers, which take most of the seconds of an export."""
    side, _ = backbone.map_size(IMAGE_SIZE)
    step = IMAGE_SIZE // side
    layers = nn.Conv2d(3, backbone.map_channels, step, step).eval()
    backbone.add_module("shortened", layers)
    backbone.compute_map = lambda images: layers(images)  # type: ignore[method-assign]


def choices(params: type[MethodParams]) -> list[MethodParams]:
    """The default parameters, and each other value of every switch or choice, changed one at a time."""
    found = [params()]
    for field, about in params.model_fields.items():
        for value in (True, False) if about.annotation is bool else get_args(about.annotation):
            if isinstance(value, str | bool) and value != getattr(found[0], field):
                with suppress(ValidationError):  # the value does not fit the others
                    found.append(params(**{field: value}))
    return found


def prepare(method: Method, data: RandomData) -> None:
    """Let the method see the data once, as images or as features, which also serve as validation."""
    if isinstance(method, FeatureMethod):
        with torch.no_grad():
            features = FeatureSet(method.backbone(data.images), data.labels)
        method.prepare_features(features, features)
    else:
        method.prepare(data)


def train_steps(method: Method) -> list[dict[str, Tensor]]:
    """Three SGD steps; returns the loss terms of each."""
    if not method.trains:
        return []
    images, labels = training_batch(method, RandomData())
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01)
    method.train()
    history = []
    for step in range(3):
        method.progress = step / 3
        optimizer.zero_grad()
        terms = method.training_loss(images, labels)
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        history.append(terms)
    return history


def check_learns_without_trouble(name: str) -> None:
    """Three steps give finite, named, scalar terms and finite gradients, and change some weight."""
    method = build(name)
    before = {n: p.detach().clone() for n, p in method.named_parameters()}
    for terms in train_steps(method):
        assert terms, "training_loss returned no term"
        for term, value in terms.items():
            assert value.ndim == 0, f"loss term '{term}' has shape {tuple(value.shape)}, not ()"
            assert value.isfinite(), f"loss term '{term}' is {value.item()}"
    for n, p in method.named_parameters():
        assert p.grad is None or p.grad.isfinite().all(), f"gradient of {n} is not finite"
        assert p.isfinite().all(), f"{n} is not finite after three steps"
    moved = any(not torch.equal(before[n], p) for n, p in method.named_parameters())
    assert moved or not method.trains, "no weight changed"


def check_scores_have_the_right_form(name: str) -> None:
    """Logits (B, K), confidence (B,), features (B, D), float and finite; the logits are not probabilities."""
    method = build(name).eval()
    images = RandomData().images
    with torch.no_grad():
        scores = method(images)
    assert scores.logits.shape == (len(images), len(CLASS_COUNTS)), f"logits are {tuple(scores.logits.shape)}"
    assert scores.confidence.shape == (len(images),), f"confidence is {tuple(scores.confidence.shape)}"
    assert scores.features.ndim == 2, f"features are {tuple(scores.features.shape)}"
    assert len(scores.features) == len(images), f"features are {tuple(scores.features.shape)}"
    for part in ("logits", "confidence", "features"):
        assert getattr(scores, part).isfinite().all(), f"{part} are not finite"
    assert not are_probabilities(scores.logits.numpy()), "logits are probabilities; return their logarithm"


def check_scores_follow_from_features(name: str) -> None:
    """``score_features`` gives what ``forward`` does, unless ``no_new_class`` says why it need not."""
    method = build(name).eval()
    if method.no_new_class:
        return
    with torch.no_grad():
        whole = method(RandomData().images)
        again = method.score_features(whole.features)
    for part in ("logits", "confidence"):
        close = torch.allclose(getattr(again, part), getattr(whole, part), rtol=1e-3, atol=1e-4)
        assert close, f"score_features gives other {part} than forward; override it, or set no_new_class to the reason"


def check_scores_do_not_depend_on_the_batch(name: str) -> None:
    """One image at a time gives the same as all at once."""
    method = build(name)
    train_steps(method)
    method.eval()
    images = RandomData().images
    with torch.no_grad():
        whole = method(images)
        single = [method(image[None]) for image in images]
    for part in ("logits", "confidence", "features"):
        joined = torch.cat([getattr(s, part) for s in single])
        torch.testing.assert_close(joined, getattr(whole, part), rtol=1e-3, atol=1e-4)


def check_saving_and_loading_changes_nothing(name: str) -> None:
    """A trained state, written and read like a checkpoint, gives bit-equal scores in a freshly built method."""
    method = build(name)
    train_steps(method)
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    other = build(name, seed=1)
    other.load_state_dict(torch.load(file, weights_only=True))
    images = RandomData(2).images
    with torch.no_grad():
        a, b = method.eval()(images), other.eval()(images)
    for part in ("logits", "confidence", "features"):
        assert torch.equal(getattr(a, part), getattr(b, part)), f"{part} changed by saving and loading"


def check_needs_map_says_what_is_needed(name: str) -> None:
    """What is saved of a frozen backbone suffices for all choices: maps with ``needs_map``, otherwise their means.

    Each choice of ``Params`` (a switch, or one word of several) is tried separately.
    """
    for params in choices(method_chain(name)[-1][1].Params):
        method = build(name, params=params).eval()
        images, labels = training_batch(method, RandomData())
        with torch.no_grad():
            expected = _outcome(method, images, labels)
            backbone = method.backbone
            needed = backbone.feature_map if method.needs_map else backbone.compute_pooled
            kept = needed(images)
            with method.backbone.taking("maps" if method.needs_map else "pooled"):
                found = _outcome(method, kept, labels)
        for part, value in expected.items():
            close = torch.allclose(found[part], value, rtol=1e-3, atol=1e-4)
            assert close, f"needs_map is {method.needs_map}, and {part} differ from those of images, with {params!r}"


def _outcome(method: Method, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Scores and loss terms by name."""
    scores = method(images)
    torch.manual_seed(0)  # for random numbers in the method
    terms = method.training_loss(images, labels) if method.trains else {}
    return {"logits": scores.logits, "confidence": scores.confidence, "features": scores.features, **terms}


def check_it_can_be_exported(name: str) -> None:
    """The files that ``oltr export`` writes give the method's scores, for one image and for many."""
    method = build(name).eval()
    if not method.adapts_blocks:
        shorten(method.backbone)
    compare_files(name, method, None)


def check_every_parameter_has_one_part(name: str) -> None:
    """``parts`` lists each parameter once, so that the learning rates of a recipe apply to all of them."""
    method = build(name)
    listed = [id(p) for parameters in method.parts().values() for p in parameters]
    missing = [n for n, p in method.named_parameters() if id(p) not in listed]
    assert not missing, f"parts() leaves out {', '.join(missing)}"
    assert len(listed) == len(set(listed)), "parts() lists a parameter twice"


def check_a_batch_of_one_class_is_no_trouble(name: str) -> None:
    """Class-aware batches may contain the only image of a class several times."""
    method = build(name).train()
    if not method.trains:
        return
    data = RandomData()
    images, labels = data.images[-1:].repeat(4, 1, 1, 1), data.labels[-1:].repeat(4)
    total = torch.stack(list(method.training_loss(images, labels).values())).sum()
    total.backward()
    assert total.isfinite(), f"loss is {total.item()}"
    for n, p in method.named_parameters():
        assert p.grad is None or p.grad.isfinite().all(), f"gradient of {n} is not finite"


def check_outliers_matter_and_may_be_absent(name: str) -> None:
    """With ``uses_outliers`` the loss depends on the images labelled −1; a process's share of a batch may have none."""
    method = build(name).eval()
    if not method.uses_outliers:
        return
    assert not isinstance(method, FeatureMethod), "a FeatureMethod gets no outliers; leave out uses_outliers"
    images, labels = training_batch(method, RandomData())
    is_outlier = labels == -1

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        torch.manual_seed(0)
        return torch.stack(list(method.training_loss(images, labels).values())).sum()

    with torch.no_grad():
        changed = torch.where(is_outlier.view(-1, 1, 1, 1), images.flip(3) + 1, images)
        assert loss(changed, labels) != loss(images, labels), "other outliers give the same loss"
        assert loss(images[~is_outlier], labels[~is_outlier]).isfinite(), "the loss without an outlier is not finite"


def check_same_seed_same_weights(name: str) -> None:
    """Building uses only torch's seeded generator."""
    first, again = build(name, seed=3).state_dict(), build(name, seed=3).state_dict()
    for key, value in first.items():
        assert torch.equal(value, again[key]), f"{key} differs between two builds with one seed"
